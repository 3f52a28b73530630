"""Reference numbers for the tests: two tiny random GPT-2s, computed by Hugging Face transformers in PyTorch.

Writes tests/fixtures/oracle/gpt2_a and gpt2_b: config.json and model.safetensors as save_pretrained leaves them (float32),
and reference.safetensors with what these weights give in float64 (reference.py says what is in it). The C tests read the
files; they need no Python. Batches: `short` (T below n_positions, some positions not counted) and `full` (T = n_positions,
every position counted, rows and targets cut from one circle of B T tokens).

    python tests/oracle/export_gpt2.py [directory]
"""
from transformers import GPT2Config, GPT2LMHeadModel

import reference

COMMON = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)
# Sizes that are no multiples of a vector's width, nor of each other.
MODELS = {
    "gpt2_a": (1, 9, GPT2Config(
        n_layer=2, n_embd=24, n_head=3, n_positions=13, vocab_size=37, n_inner=52, activation_function="gelu_new",
        tie_word_embeddings=True, **COMMON)),
    "gpt2_b": (2, 7, GPT2Config(
        n_layer=3, n_embd=20, n_head=5, n_positions=11, vocab_size=41, n_inner=None, activation_function="gelu",
        tie_word_embeddings=False, **COMMON)),
}


def export(directory, seed, short_context, config):
    model, generator = reference.model_new(seed, GPT2LMHeadModel, config)
    model = reference.model_save(model, directory)
    out = {}
    batch, targets, labels = reference.shifted(generator, short_context, config.vocab_size)
    loss = reference.reference_of_batch(model, "short", batch, targets, out)
    reference.check_own_loss(model, batch, labels, loss)
    batch, targets = reference.circle_of(generator, config.n_positions, config.vocab_size)
    reference.reference_of_batch(model, "full", batch, targets, out)
    reference.reference_of_adamw(model, batch, targets, out)
    reference.reference_save(directory, model, out)


if __name__ == "__main__":
    reference.export_all(MODELS, export)
