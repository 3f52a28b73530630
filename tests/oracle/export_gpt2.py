"""Reference numbers for the tests: two tiny random GPT-2s, computed by Hugging Face transformers in PyTorch.

Writes tests/fixtures/oracle/gpt2_a and gpt2_b: config.json and model.safetensors as save_pretrained leaves them (float32),
and reference.safetensors with what these weights give in float64. The C tests read the files; they need no Python.

    python tests/oracle/export_gpt2.py [directory]

reference.safetensors (names of tensors are those of the model file without "transformer."; F64 is stored as F32, and where
that is too coarse as two F32, the value's nearest and what is left):
    <batch>.input_ids, <batch>.targets   I64 (B, T): targets[b, t] is predicted from inputs 0..t; -100: not counted
    <batch>.logits                       F32 (B, T, V)
    <batch>.loss                         F32 (2): mean cross-entropy over the counted positions
    <batch>.gradient.<tensor>            F32, of that loss
  for the batches `short` (T below n_positions, some positions not counted) and `full` (T = n_positions, every position
  counted, rows and targets cut from one circle of B T tokens);
    adamw.losses, adamw.norms            F32 (10, 2): loss and gradient norm before clipping, of each of 10 steps on `full`
    adamw.<tensor>.w, .m                 F32: weights and first moment after these steps
"""
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

IGNORED = -100
ROWS = 3
STEPS = 10
COMMON = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
# Sizes that are no multiples of a vector's width, nor of each other.
MODELS = {
    "gpt2_a": (1, 9, dict(n_layer=2, n_embd=24, n_head=3, n_positions=13, vocab_size=37, n_inner=52,
                          activation_function="gelu_new", tie_word_embeddings=True)),
    "gpt2_b": (2, 7, dict(n_layer=3, n_embd=20, n_head=5, n_positions=11, vocab_size=41, n_inner=None,
                          activation_function="gelu", tie_word_embeddings=False)),
}


def model_new(seed, sizes):
    """Every tensor random, norms and biases too, so that no term of a gradient is zero by its initial value."""
    config = GPT2Config(**sizes, **COMMON)
    config._attn_implementation = "eager"
    model = GPT2LMHeadModel(config).float().eval()
    generator = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = ".ln_" in name and name.endswith(".weight")
            values = float(is_gain) + 0.25 * generator.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values))
    return model, generator


def batch_short(generator, context, vocabulary):
    """Labels as transformers takes them (shifted inside the model), then as positions: targets[t] = labels[t + 1]."""
    inputs = torch.from_numpy(generator.integers(0, vocabulary, (ROWS, context)))
    labels = inputs.clone()
    labels[0, :3] = IGNORED          # a prompt
    labels[1, -2:] = IGNORED         # padding
    labels[2, 4] = IGNORED           # one in the middle
    labels[2, 6] = (labels[2, 6] + 5) % vocabulary     # not the next input
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    return inputs, targets, labels


def batch_full(generator, context, vocabulary):
    circle = torch.from_numpy(generator.integers(0, vocabulary, ROWS * context))
    return circle.view(ROWS, context), circle.roll(-1).view(ROWS, context).contiguous()


def loss_of(model, inputs, targets):
    logits = model(input_ids=inputs).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    return logits, loss


def pairs(values):
    """float64 as two float32: together good to about 1e-14."""
    exact = torch.as_tensor(values, dtype=torch.float64)
    high = exact.float()
    return torch.stack([high, (exact - high.double()).float()], dim=-1)


def short_name(name):
    return name.removeprefix("transformer.").removeprefix("model.")


def reference_of_batch(model, prefix, inputs, targets, out):
    model.zero_grad()
    logits, loss = loss_of(model, inputs, targets)
    loss.backward()
    out[f"{prefix}.input_ids"] = inputs.contiguous()
    out[f"{prefix}.targets"] = targets
    out[f"{prefix}.logits"] = logits.detach().float()
    out[f"{prefix}.loss"] = pairs(loss.detach())
    for name, parameter in model.named_parameters():
        out[f"{prefix}.gradient.{short_name(name)}"] = parameter.grad.float()
    return loss.item()


def reference_of_adamw(model, inputs, targets, out):
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
         {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}],
        lr=1e-4, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        _, loss = loss_of(model, inputs, targets)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, 1.0).item())
        losses.append(loss.item())
        optimizer.step()
    out["adamw.losses"], out["adamw.norms"] = pairs(losses), pairs(norms)
    for name, parameter in model.named_parameters():
        out[f"adamw.{short_name(name)}.w"] = parameter.detach().float()
        out[f"adamw.{short_name(name)}.m"] = optimizer.state[parameter]["exp_avg"].float()
    return losses, norms


def export(directory, seed, short_context, sizes):
    model, generator = model_new(seed, sizes)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    model = model.double()
    vocabulary, positions = sizes["vocab_size"], sizes["n_positions"]
    out = {}
    inputs, targets, labels = batch_short(generator, short_context, vocabulary)
    loss = reference_of_batch(model, "short", inputs, targets, out)
    # transformers computes its own loss in float32 whatever the model's dtype: the same number, less exactly.
    assert abs(model(input_ids=inputs, labels=labels).loss.item() - loss) < 1e-6
    inputs, targets = batch_full(generator, positions, vocabulary)
    reference_of_batch(model, "full", inputs, targets, out)
    losses, norms = reference_of_adamw(model, inputs, targets, out)
    assert min(norms) > 1.0, "the clip must bite"
    save_file(out, directory / "reference.safetensors")
    for path in directory.iterdir():
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{directory.name}: loss {loss:.6f} (short), {losses[0]:.6f} to {losses[-1]:.6f} (full, {STEPS} steps), "
          f"norm {norms[0]:.3f}, largest logit {out['full.logits'].abs().max().item():.2f}, {size} bytes")


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracle"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, (seed, short_context, sizes) in MODELS.items():
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        export(directory, seed, short_context, sizes)


if __name__ == "__main__":
    main()
