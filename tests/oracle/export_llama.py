"""Reference numbers for the tests: tiny random llama, mistral and qwen2 models, two of each, as export_gpt2.py makes them for
GPT-2. Besides its batches `short` and `full` there is `padded`: the tokens of `full` with
    padded.attention_mask                I64 (B, T): 0 at the ends of rows 1 and 2, where nothing is counted either

    python tests/oracle/export_llama.py [directory]
"""
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

import reference

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
    "mistral_b": (15, 7, MistralForCausalLM, MistralConfig(
        num_hidden_layers=3, hidden_size=30, num_attention_heads=15, num_key_value_heads=5, intermediate_size=47,
        max_position_embeddings=17, vocab_size=35, sliding_window=4, rope_theta=500.0, tie_word_embeddings=True, **COMMON)),
    "qwen2_a": (14, 9, Qwen2ForCausalLM, Qwen2Config(
        num_hidden_layers=2, hidden_size=42, num_attention_heads=3, num_key_value_heads=3, intermediate_size=29,
        max_position_embeddings=15, vocab_size=39, rope_theta=1e6, tie_word_embeddings=True,
        rope_scaling=dict(rope_type="dynamic", factor=2.0), **COMMON)),
    "qwen2_b": (16, 8, Qwen2ForCausalLM, Qwen2Config(
        num_hidden_layers=3, hidden_size=28, num_attention_heads=7, num_key_value_heads=1, intermediate_size=51,
        max_position_embeddings=19, vocab_size=45, use_sliding_window=True, sliding_window=4, max_window_layers=0,
        tie_word_embeddings=False, **COMMON)),
}


def stay_in_double(model):
    """transformers rounds to float32 inside its norms and its softmax, whatever the model's dtype: not here. Its rotary
    angles stay in float32, as they are in every run of it."""
    plain = torch.nn.functional.softmax
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None: plain(
        x, dim=dim, dtype=None if x.dtype == torch.float64 else dtype)
    reference.norms_stay_in_double(model, "RMSNorm")
    return lambda: setattr(torch.nn.functional, "softmax", plain)


def export(directory, seed, short_context, kind, config):
    model, generator = reference.model_new(seed, kind, config)
    model = reference.model_save(model, directory)
    restore = stay_in_double(model)
    out = {}
    batch, targets, labels = reference.shifted(generator, short_context, config.vocab_size)
    loss = reference.reference_of_batch(model, "short", batch, targets, out)
    reference.check_own_loss(model, batch, labels, loss)
    batch, targets = reference.circle_of(generator, config.max_position_embeddings, config.vocab_size)
    reference.reference_of_batch(model, "full", batch, targets, out)
    mask = reference.ends_masked(batch["input_ids"], (0, 1, 3))
    reference.reference_of_batch(model, "padded", {**batch, "attention_mask": mask},
                                 targets.masked_fill(mask == 0, reference.IGNORED), out)
    reference.reference_of_adamw(model, batch, targets, out)
    restore()
    reference.reference_save(directory, model, out)


if __name__ == "__main__":
    reference.export_all(MODELS, export)
