"""Reference numbers for the tests: two tiny random T5s, as export_gpt2.py makes them for GPT-2.

Writes tests/fixtures/oracle/t5_a (tied head, relu) and t5_b (head of its own, gated-gelu). Targets and logits are the
decoder's. Each batch has
    <batch>.input_ids, <batch>.decoder_input_ids           I64 (B, T), (B, T2)
    <batch>.attention_mask, <batch>.decoder_attention_mask I64, of `padded` alone: 0 at the ends of rows, where nothing is
                                                           counted either
Batches: `short`, some positions not counted; `full`, the encoder's row as long as the model takes them; `padded`.

    python tests/oracle/export_t5.py [directory]
"""
import torch
from transformers import T5Config, T5ForConditionalGeneration

import reference
from reference import IGNORED, ROWS

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


def stay_in_double(model):
    """transformers rounds to float32 inside its norms and before its softmax, whatever the model's dtype: not here."""
    plain = torch.Tensor.float
    torch.Tensor.float = lambda x: x if x.dtype == torch.float64 else plain(x)
    reference.norms_stay_in_double(model, "T5LayerNorm")
    return lambda: setattr(torch.Tensor, "float", plain)


def batch_new(generator, lengths, vocabulary):
    draw = lambda length: torch.from_numpy(generator.integers(0, vocabulary, (ROWS, length)))
    return {"input_ids": draw(lengths[0]), "decoder_input_ids": draw(lengths[1])}, draw(lengths[1])


def export(directory, seed, short, full, config):
    deviation = lambda name: 0.6 if name == "shared.weight" else 0.2
    model, generator = reference.model_new(seed, T5ForConditionalGeneration, config, deviation)
    model = reference.model_save(model, directory)
    out = {}
    batch, targets = batch_new(generator, short, config.vocab_size)
    targets[0, :2], targets[2, 3] = IGNORED, IGNORED
    plain = reference.loss_of(model, batch, targets)[1].item()
    restore = stay_in_double(model)
    loss = reference.reference_of_batch(model, "short", batch, targets, out)
    assert abs(loss - plain) < 1e-5 * plain, "only rounding may change"
    batch, targets = batch_new(generator, full, config.vocab_size)
    reference.reference_of_batch(model, "full", batch, targets, out)
    mask = reference.ends_masked(batch["input_ids"], (0, 2, 5))
    decoder_mask = reference.ends_masked(targets, (4, 0, 1))
    padded = {**batch, "attention_mask": mask, "decoder_attention_mask": decoder_mask}
    reference.reference_of_batch(model, "padded", padded, targets.masked_fill(decoder_mask == 0, IGNORED), out)
    reference.reference_of_adamw(model, batch, targets, out)
    restore()
    reference.reference_save(directory, model, out)


if __name__ == "__main__":
    reference.export_all(MODELS, export)
