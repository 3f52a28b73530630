"""Reference numbers for the tests: two tiny random BERTs, as export_gpt2.py makes them for GPT-2.

Writes tests/fixtures/oracle/bert_a (BertForMaskedLM) and bert_b (BertForPreTraining, which has a pooler and a next-sentence
head: they take no part in the loss, their gradients are zeros and AdamW leaves them alone); names of tensors are those of
the model file without "bert.". Targets are tokens at their own positions, about a third of them counted, the others -100.
Besides the batches `short` and `full` of export_gpt2.py, which have one token type, there are
    typed.token_type_ids                 I64 (B, T): `full` with types
    padded.attention_mask                I64 (B, T): `typed` with 0 at the ends of rows 1 and 2, where nothing is counted
    padded.token_type_ids

    python tests/oracle/export_bert.py [directory]
"""
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

from export_gpt2 import IGNORED, ROWS, STEPS, pairs

# No token of these vocabularies is padding by itself: transformers would not train its row.
COMMON = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=None)
# Odd head counts, sizes that are no multiples of a vector's width, nor of each other.
MODELS = {
    "bert_a": (21, 9, BertForMaskedLM, BertConfig(
        num_hidden_layers=2, hidden_size=24, num_attention_heads=3, intermediate_size=52, max_position_embeddings=13,
        vocab_size=37, type_vocab_size=2, **COMMON)),
    "bert_b": (22, 7, BertForPreTraining, BertConfig(
        num_hidden_layers=3, hidden_size=15, num_attention_heads=5, intermediate_size=29, max_position_embeddings=11,
        vocab_size=41, type_vocab_size=3, hidden_act="gelu_new", layer_norm_eps=1e-5, **COMMON)),
}


def model_new(seed, kind, config):
    """Every tensor random, norms and biases too, so that no term of a gradient is zero by its initial value."""
    config._attn_implementation = "eager"
    model = kind(config).float().eval()
    generator = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = name.endswith("LayerNorm.weight")
            values = float(is_gain) + 0.25 * generator.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values))
    return model, generator


def batch_new(generator, context, vocabulary):
    inputs = torch.from_numpy(generator.integers(0, vocabulary, (ROWS, context)))
    targets = torch.from_numpy(generator.integers(0, vocabulary, (ROWS, context)))
    counted = torch.from_numpy(generator.random((ROWS, context)) < 0.33)
    counted[:, 0] = True
    return inputs, targets.masked_fill(~counted, IGNORED)


def loss_of(model, batch, targets):
    out = model(**batch)
    logits = out.logits if "logits" in out else out.prediction_logits
    return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def tensors_of(model):
    return [(name.removeprefix("bert."), parameter) for name, parameter in model.named_parameters()]


def reference_of_batch(model, name, batch, targets, out):
    model.zero_grad()
    logits, loss = loss_of(model, batch, targets)
    loss.backward()
    for part, values in batch.items():
        out[f"{name}.{part}"] = values.clone()
    out[f"{name}.targets"] = targets.clone()
    out[f"{name}.logits"] = logits.detach().float()
    out[f"{name}.loss"] = pairs(loss.detach())
    for tensor, parameter in tensors_of(model):
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        out[f"{name}.gradient.{tensor}"] = gradient.float()
    return loss.item()


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
    out["adamw.losses"], out["adamw.norms"] = pairs(losses), pairs(norms)
    for tensor, parameter in tensors_of(model):
        state = optimizer.state.get(parameter, {})
        out[f"adamw.{tensor}.w"] = parameter.detach().float()
        out[f"adamw.{tensor}.m"] = state.get("exp_avg", torch.zeros_like(parameter)).float()
    return losses, norms


def export(directory, seed, short_context, kind, config):
    model, generator = model_new(seed, kind, config)
    model.save_pretrained(directory)
    model = model.double()
    out = {}
    inputs, targets = batch_new(generator, short_context, config.vocab_size)
    loss = reference_of_batch(model, "short", {"input_ids": inputs}, targets, out)
    if kind is BertForMaskedLM:
        assert abs(model(input_ids=inputs, labels=targets).loss.item() - loss) < 1e-6 * max(1, loss)
    inputs, targets = batch_new(generator, config.max_position_embeddings, config.vocab_size)
    reference_of_batch(model, "full", {"input_ids": inputs}, targets, out)
    types = torch.from_numpy(generator.integers(0, config.type_vocab_size, tuple(inputs.shape)))
    typed = {"input_ids": inputs, "token_type_ids": types}
    reference_of_batch(model, "typed", typed, targets, out)
    mask = torch.ones_like(inputs)
    mask[1, -1:], mask[2, -3:] = 0, 0
    reference_of_batch(model, "padded", {**typed, "attention_mask": mask}, targets.masked_fill(mask == 0, IGNORED), out)
    losses, norms = reference_of_adamw(model, {"input_ids": inputs}, targets, out)
    assert min(norms) > 1.0, "the clip must bite"
    save_file(out, directory / "reference.safetensors")
    for path in directory.iterdir():
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{directory.name}: {len(tensors_of(model))} tensors, loss {loss:.6f} (short), {losses[0]:.6f} to "
          f"{losses[-1]:.6f} (full), norm {norms[0]:.3f}, largest logit {out['full.logits'].abs().max().item():.2f}, "
          f"{size} bytes")


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracle"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, (seed, short_context, kind, config) in MODELS.items():
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        export(directory, seed, short_context, kind, config)


if __name__ == "__main__":
    main()
