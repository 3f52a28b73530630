"""Reference numbers for the tests: two tiny random BERTs, as export_gpt2.py makes them for GPT-2.

Writes tests/fixtures/oracle/bert_a (BertForMaskedLM) and bert_b (BertForPreTraining, which has a pooler and a next-sentence
head: they take no part in the loss, their gradients are zeros and AdamW leaves them alone). Targets are tokens at their own
positions, about a third of them counted. Besides the batches `short` and `full` of export_gpt2.py, which have one token type,
there are
    typed.token_type_ids                 I64 (B, T): `full` with types
    padded.attention_mask                I64 (B, T): `typed` with 0 at the ends of rows 1 and 2, where nothing is counted
    padded.token_type_ids

    python tests/oracle/export_bert.py [directory]
"""
import torch
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining

import reference
from reference import IGNORED, ROWS

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


def batch_new(generator, context, vocabulary):
    inputs = torch.from_numpy(generator.integers(0, vocabulary, (ROWS, context)))
    targets = torch.from_numpy(generator.integers(0, vocabulary, (ROWS, context)))
    counted = torch.from_numpy(generator.random((ROWS, context)) < 0.33)
    counted[:, 0] = True
    return {"input_ids": inputs}, targets.masked_fill(~counted, IGNORED)


def export(directory, seed, short_context, kind, config):
    model, generator = reference.model_new(seed, kind, config)
    model = reference.model_save(model, directory)
    out = {}
    batch, targets = batch_new(generator, short_context, config.vocab_size)
    loss = reference.reference_of_batch(model, "short", batch, targets, out)
    if kind is BertForMaskedLM:
        reference.check_own_loss(model, batch, targets, loss)
    batch, targets = batch_new(generator, config.max_position_embeddings, config.vocab_size)
    reference.reference_of_batch(model, "full", batch, targets, out)
    inputs = batch["input_ids"]
    types = torch.from_numpy(generator.integers(0, config.type_vocab_size, tuple(inputs.shape)))
    typed = {**batch, "token_type_ids": types}
    reference.reference_of_batch(model, "typed", typed, targets, out)
    mask = reference.ends_masked(inputs, (0, 1, 3))
    reference.reference_of_batch(model, "padded", {**typed, "attention_mask": mask}, targets.masked_fill(mask == 0, IGNORED), out)
    reference.reference_of_adamw(model, batch, targets, out)
    reference.reference_save(directory, model, out)


if __name__ == "__main__":
    reference.export_all(MODELS, export)
