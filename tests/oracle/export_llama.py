"""Reference numbers for the tests: tiny random llama, mistral and qwen2 models, as export_gpt2.py makes them for GPT-2.

Writes tests/fixtures/oracle/llama_a, llama_b, mistral_a and qwen2_a; names of tensors are those of the model file without
"model.". Besides the batches `short` and `full` of export_gpt2.py there is `padded`: the tokens of `full` with
    padded.attention_mask                I64 (B, T): 0 at the ends of rows 1 and 2, where nothing is counted either

    python tests/oracle/export_llama.py [directory]
"""
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from export_gpt2 import IGNORED, batch_full, batch_short, reference_of_adamw, reference_of_batch, short_name

COMMON = dict(bos_token_id=None, eos_token_id=None, rms_norm_eps=1e-5)
# The llama3 scaling meets all three of its cases: a wave that stays, one between, one that is divided.
# Heads that do not fill the width, odd head counts, sizes that are no multiples of a vector's width, nor of each other.
MODELS = {
    "llama_a": (11, 9, LlamaForCausalLM, LlamaConfig(
        num_hidden_layers=2, hidden_size=20, num_attention_heads=9, num_key_value_heads=3, head_dim=6, intermediate_size=45,
        max_position_embeddings=13, vocab_size=37, attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
        rope_theta=300.0, rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=0.1, high_freq_factor=1.2,
                                            original_max_position_embeddings=8), **COMMON)),
    "llama_b": (12, 7, LlamaForCausalLM, LlamaConfig(
        num_hidden_layers=3, hidden_size=30, num_attention_heads=5, num_key_value_heads=1, intermediate_size=28,
        max_position_embeddings=11, vocab_size=41, tie_word_embeddings=True,
        rope_scaling=dict(rope_type="linear", factor=2.5), **COMMON)),
    "mistral_a": (13, 10, MistralForCausalLM, MistralConfig(
        num_hidden_layers=2, hidden_size=26, num_attention_heads=6, num_key_value_heads=2, head_dim=10, intermediate_size=39,
        max_position_embeddings=14, vocab_size=43, sliding_window=5, tie_word_embeddings=False, **COMMON)),
    "qwen2_a": (14, 9, Qwen2ForCausalLM, Qwen2Config(
        num_hidden_layers=2, hidden_size=42, num_attention_heads=3, num_key_value_heads=3, intermediate_size=29,
        max_position_embeddings=15, vocab_size=39, rope_theta=1e6, tie_word_embeddings=True,
        rope_scaling=dict(rope_type="dynamic", factor=2.0), **COMMON)),
}


def norm_in_double(self, hidden):
    variance = hidden.pow(2).mean(-1, keepdim=True)
    return self.weight * (hidden * torch.rsqrt(variance + self.variance_epsilon))


def stay_in_double(model):
    """transformers rounds to float32 inside its norms and its softmax, whatever the model's dtype: not here. Its rotary
    angles stay in float32, as they are in every run of it."""
    plain = torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None: plain(
        x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = norm_in_double.__get__(module)
    return lambda: setattr(torch.nn.functional, "softmax", plain)


def model_new(seed, kind, config):
    """Every tensor random, norms and biases too, so that no term of a gradient is zero by its initial value."""
    config._attn_implementation = "eager"
    model = kind(config).float().eval()
    generator = numpy.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = float("norm" in name) + 0.25 * generator.standard_normal(tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(values))
    return model, generator


def reference_of_padded(model, inputs, targets, out):
    mask = torch.ones_like(inputs)
    mask[1, -1:], mask[2, -3:] = 0, 0
    targets = targets.masked_fill(mask == 0, IGNORED)
    plain = model.forward
    model.forward = lambda input_ids: plain(input_ids=input_ids, attention_mask=mask)
    reference_of_batch(model, "padded", inputs.clone(), targets, out)
    model.forward = plain
    out["padded.attention_mask"] = mask


def export(directory, seed, short_context, kind, config):
    model, generator = model_new(seed, kind, config)
    model.save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    model = model.double()
    restore = stay_in_double(model)
    vocabulary, positions = config.vocab_size, config.max_position_embeddings
    out = {}
    inputs, targets, labels = batch_short(generator, short_context, vocabulary)
    loss = reference_of_batch(model, "short", inputs, targets, out)
    # transformers computes its own loss in float32 whatever the model's dtype: the same number, less exactly.
    own = model(input_ids=inputs, labels=labels).loss.item()
    assert abs(own - loss) < 1e-6 * max(1, loss), (own, loss)
    inputs, targets = batch_full(generator, positions, vocabulary)
    reference_of_batch(model, "full", inputs, targets, out)
    reference_of_padded(model, inputs, targets, out)
    losses, norms = reference_of_adamw(model, inputs, targets, out)
    restore()
    assert min(norms) > 1.0, "the clip must bite"
    save_file(out, directory / "reference.safetensors")
    for path in directory.iterdir():
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in directory.iterdir())
    print(f"{directory.name}: {len({short_name(n) for n, _ in model.named_parameters()})} tensors, loss {loss:.6f} (short), "
          f"{losses[0]:.6f} to {losses[-1]:.6f} (full), norm {norms[0]:.3f}, largest logit "
          f"{out['full.logits'].abs().max().item():.2f}, {size} bytes")


def main():
    default = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracle"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, (seed, short_context, kind, config) in MODELS.items():
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        export(directory, seed, short_context, kind, config)


if __name__ == "__main__":
    main()
