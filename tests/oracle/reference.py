"""What the exporters share: random models, what is computed from them, and the files it goes to.

reference.safetensors of every fixture (names of tensors are those of the model file without "transformer.", "model." or
"bert."; F64 is stored as F32, and where that is too coarse as two F32, the value's nearest and what is left):
    <batch>.<part>, <batch>.targets      I64 (B, T): what the model is called with (input_ids …), and what it
                                         should predict at each position; -100: not counted
    <batch>.logits                       F32 (B, T, V)
    <batch>.loss                         F32 (2): mean cross-entropy over the counted positions
    <batch>.gradient.<tensor>            F32, of that loss; zeros of a tensor that takes no part
    adamw.losses, adamw.norms            F32 (10, 2): loss and gradient norm before clipping, of each of 10 steps on `full`
    adamw.<tensor>.w, .m                 F32: weights and first moment after these steps
Which batches there are, each exporter says.
"""
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file

IGNORED = -100
ROWS = 3
STEPS = 10


def short_name(name):
    return name.removeprefix("transformer.").removeprefix("model.").removeprefix("bert.")


def tensors_of(model):
    return [(short_name(name), parameter) for name, parameter in model.named_parameters()]


def single(tensor):
    """As F32. Not float(), which export_t5.py's stay_in_double changes."""
    return tensor.detach().to(torch.float32).contiguous()


def pairs(values):
    """float64 as two float32: together good to about 1e-14."""
    exact = torch.as_tensor(values, dtype=torch.float64)
    high = exact.to(torch.float32)
    return torch.stack([high, (exact - high.double()).to(torch.float32)], dim=-1)


def model_new(seed, kind, config, deviation=lambda name: 0.25):
    """Every tensor random, norms and biases too, so that no term of a gradient is zero by its initial value."""
    config._attn_implementation = "eager"
    model = kind(config).to(torch.float32).eval()
    generator = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = name.endswith("weight") and ("ln_" in name or "norm" in name.lower())
            values = float(is_gain) + deviation(name) * generator.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values))
    return model, generator


def model_save(model, directory):
    """config.json and model.safetensors as save_pretrained leaves them (float32); the model goes on in float64."""
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    return model.double()


def norm_in_double(self, hidden):
    """An RMS norm without transformers' rounding to float32."""
    variance = hidden.pow(2).mean(-1, keepdim=True)
    return self.weight * (hidden * torch.rsqrt(variance + self.variance_epsilon))


def norms_stay_in_double(model, suffix):
    for module in model.modules():
        if type(module).__name__.endswith(suffix):
            module.forward = norm_in_double.__get__(module)


def circle_of(generator, context, vocabulary):
    """A batch that the trainer can read from a file: rows and targets cut from one circle of B T tokens."""
    circle = torch.from_numpy(generator.integers(0, vocabulary, ROWS * context))
    return {"input_ids": circle.view(ROWS, context)}, circle.roll(-1).view(ROWS, context).contiguous()


def shifted(generator, context, vocabulary):
    """Labels as transformers takes them (shifted inside the model), then as positions: targets[t] = labels[t + 1]."""
    inputs = torch.from_numpy(generator.integers(0, vocabulary, (ROWS, context)))
    labels = inputs.clone()
    labels[0, :3] = IGNORED          # a prompt
    labels[1, -2:] = IGNORED         # padding
    labels[2, 4] = IGNORED           # one in the middle
    labels[2, 6] = (labels[2, 6] + 5) % vocabulary     # not the next input
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    return {"input_ids": inputs}, targets, labels


def ends_masked(inputs, cuts):
    """Ones; of row b the last cuts[b] are padding."""
    mask = torch.ones_like(inputs)
    for row, cut in enumerate(cuts):
        mask[row, mask.shape[1] - cut:] = 0
    return mask


def loss_of(model, batch, targets):
    out = model(**batch)
    logits = out.logits if "logits" in out else out.prediction_logits
    return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def trained(model, loss):
    """What is differentiated: the loss, and where a model has one its load balance (export_mixtral.py)."""
    return loss + model.weighted_balance() if hasattr(model, "weighted_balance") else loss


def reference_of_batch(model, name, batch, targets, out):
    model.zero_grad()
    logits, loss = loss_of(model, batch, targets)
    trained(model, loss).backward()
    for part, values in batch.items():
        out[f"{name}.{part}"] = values.clone()
    out[f"{name}.targets"] = targets.clone()
    out[f"{name}.logits"] = single(logits)
    out[f"{name}.loss"] = pairs(loss.detach())
    for tensor, parameter in tensors_of(model):
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        out[f"{name}.gradient.{tensor}"] = single(gradient)
    return loss.item()


def check_own_loss(model, batch, labels, loss):
    """transformers computes its own loss in float32 whatever the model's dtype: the same number, less exactly."""
    own = model(**batch, labels=labels).loss.item()
    assert abs(own - loss) < 1e-6 * max(1, loss), (own, loss)


def reference_of_adamw(model, batch, targets, out):
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
         {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}],
        lr=1e-4, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        _, loss = loss_of(model, batch, targets)
        trained(model, loss).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, 1.0).item())
        losses.append(loss.item())
        optimizer.step()
    assert min(norms) > 1.0, "the clip must bite"
    out["adamw.losses"], out["adamw.norms"] = pairs(losses), pairs(norms)
    for tensor, parameter in tensors_of(model):
        state = optimizer.state.get(parameter, {})
        out[f"adamw.{tensor}.w"] = single(parameter)
        out[f"adamw.{tensor}.m"] = single(state.get("exp_avg", torch.zeros_like(parameter)))


def loss_in(out, name, index=()):
    high, low = out[name][index].double()
    return (high + low).item()


def reference_save(directory, model, out):
    save_file(out, directory / "reference.safetensors")
    for path in directory.iterdir():
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{directory.name}: {len(tensors_of(model))} tensors, loss {loss_in(out, 'short.loss'):.6f} (short), "
          f"{loss_in(out, 'adamw.losses', 0):.6f} to {loss_in(out, 'adamw.losses', -1):.6f} (full, {STEPS} steps), norm "
          f"{loss_in(out, 'adamw.norms', 0):.3f}, largest logit {out['full.logits'].abs().max().item():.2f}, {size} bytes")


def export_all(models, export):
    """export(directory, *entry) for each entry, below the directory that the command line names."""
    torch.set_num_threads(1)        # sums in one order, whatever the machine
    default = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracle"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, entry in models.items():
        export(root / name, *entry)
