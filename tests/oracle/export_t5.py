"""Reference numbers for the tests: two tiny random T5s, as export_gpt2.py makes them for GPT-2.

Writes tests/fixtures/oracle/t5_a (tied head, relu) and t5_b (head of its own, gated-gelu); names of tensors are those of the
model file. Targets and logits are the decoder's. Each batch has
    <batch>.input_ids, <batch>.decoder_input_ids           I64 (B, T), (B, T2)
    <batch>.attention_mask, <batch>.decoder_attention_mask I64, of `padded` alone: 0 at the ends of rows, where nothing is
                                                           counted either
Batches: `short`, some positions not counted; `full`, the encoder's row as long as the model takes them; `padded`.

    python tests/oracle/export_t5.py [directory]
"""
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file
from transformers import T5Config, T5ForConditionalGeneration

from export_gpt2 import IGNORED, ROWS, STEPS

COMMON = dict(dropout_rate=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)
# Heads that do not fill the width, odd head counts, stacks of different depth, rows that reach the logarithmic buckets.
MODELS = {
    "t5_a": (31, (9, 6), (13, 12), T5Config(
        num_layers=2, num_decoder_layers=3, d_model=24, d_kv=7, d_ff=52, num_heads=3, vocab_size=37, n_positions=13,
        relative_attention_num_buckets=10, relative_attention_max_distance=9, feed_forward_proj="relu",
        tie_word_embeddings=True, **COMMON)),
    "t5_b": (32, (7, 11), (19, 17), T5Config(
        num_layers=2, d_model=20, d_kv=6, d_ff=27, num_heads=5, vocab_size=41, n_positions=19,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, layer_norm_epsilon=1e-5, **COMMON)),
}


def norm_in_double(self, hidden):
    variance = hidden.pow(2).mean(-1, keepdim=True)
    return self.weight * (hidden * torch.rsqrt(variance + self.variance_epsilon))


def stay_in_double(model):
    """transformers rounds to float32 inside its norms and before its softmax, whatever the model's dtype: not here."""
    plain = torch.Tensor.float
    torch.Tensor.float = lambda x: x if x.dtype == torch.float64 else plain(x)
    for module in model.modules():
        if type(module).__name__ == "T5LayerNorm":
            module.forward = norm_in_double.__get__(module)


def model_new(seed, config):
    """Every tensor random, norms too, so that no term of a gradient is zero by its initial value."""
    model = T5ForConditionalGeneration(config).to(torch.float32).eval()
    generator = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            deviation = 0.6 if name == "shared.weight" else 0.2
            values = float("layer_norm" in name) + deviation * generator.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values))
    return model, generator


def batch_new(generator, lengths, vocabulary):
    draw = lambda length: torch.from_numpy(generator.integers(0, vocabulary, (ROWS, length)))
    return {"input_ids": draw(lengths[0]), "decoder_input_ids": draw(lengths[1])}, draw(lengths[1])


def loss_of(model, batch, targets):
    logits = model(**batch).logits
    return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def single(tensor):
    return tensor.detach().to(torch.float32).contiguous()


def reference_of_batch(model, name, batch, targets, out):
    model.zero_grad()
    logits, loss = loss_of(model, batch, targets)
    loss.backward()
    for part, values in batch.items():
        out[f"{name}.{part}"] = values.clone()
    out[f"{name}.targets"] = targets.clone()
    out[f"{name}.logits"] = single(logits)
    out[f"{name}.loss"] = numbers(loss.detach())
    for tensor, parameter in model.named_parameters():
        out[f"{name}.gradient.{tensor}"] = single(parameter.grad)
    return loss.item()


def numbers(values):
    """As pairs() of export_gpt2.py: float64 as two float32."""
    exact = torch.as_tensor(values, dtype=torch.float64)
    high = exact.to(torch.float32)
    return torch.stack([high, (exact - high.double()).to(torch.float32)], dim=-1)


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
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, 1.0).item())
        losses.append(loss.item())
        optimizer.step()
    out["adamw.losses"], out["adamw.norms"] = numbers(losses), numbers(norms)
    for tensor, parameter in model.named_parameters():
        out[f"adamw.{tensor}.w"] = single(parameter)
        out[f"adamw.{tensor}.m"] = single(optimizer.state[parameter]["exp_avg"])
    return losses, norms


def export(directory, seed, short, full, config):
    model, generator = model_new(seed, config)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    model = model.double()
    out = {}
    batch, targets = batch_new(generator, short, config.vocab_size)
    targets[0, :2], targets[2, 3] = IGNORED, IGNORED
    plain = loss_of(model, batch, targets)[1].item()
    stay_in_double(model)
    loss = reference_of_batch(model, "short", batch, targets, out)
    assert abs(loss - plain) < 1e-5 * plain, "only rounding may change"
    batch, targets = batch_new(generator, full, config.vocab_size)
    reference_of_batch(model, "full", batch, targets, out)
    mask, decoder_mask = torch.ones_like(batch["input_ids"]), torch.ones_like(targets)
    mask[1, -2:], mask[2, -5:], decoder_mask[0, -4:], decoder_mask[2, -1:] = 0, 0, 0, 0
    padded = {**batch, "attention_mask": mask, "decoder_attention_mask": decoder_mask}
    reference_of_batch(model, "padded", padded, targets.masked_fill(decoder_mask == 0, IGNORED), out)
    losses, norms = reference_of_adamw(model, batch, targets, out)
    assert min(norms) > 1.0, "the clip must bite"
    save_file(out, directory / "reference.safetensors")
    for path in directory.iterdir():
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{directory.name}: {len(list(model.parameters()))} tensors, loss {loss:.6f} (short), {losses[0]:.6f} to "
          f"{losses[-1]:.6f} (full, {STEPS} steps), norm {norms[0]:.3f}, largest logit "
          f"{out['full.logits'].abs().max().item():.2f}, {size} bytes")


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracle"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, sizes in MODELS.items():
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        export(directory, *sizes)


if __name__ == "__main__":
    main()
