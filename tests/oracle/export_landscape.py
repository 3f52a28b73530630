"""Curvature of networks small enough for their whole Hessian, by PyTorch's double backward in float64.

Writes tests/fixtures/oracle/<family>_tiny: config.json and model.safetensors as save_pretrained leaves them, and
reference.safetensors with one batch `full` as reference.py describes it (input_ids, targets, loss; T5: its decoder's) and
    landscape.hessian          F32 (n, 2), pairs: all eigenvalues of the Hessian of the mean loss, largest first
    landscape.preconditioned   F32 (1, 2): the largest of D^-1/2 H D^-1/2, D = |g| + 1e-8: Adam's at its first step
    landscape.moments          F32 (1, 2): the same with D = sqrt(0.01 + g^2) + 1e-8: another second moment
    landscape.trace            F32 (1, 2)
    landscape.ntk              F32 (1, 2): the largest eigenvalue of J J^T / n, J the Jacobian of the logits of the n counted
                               positions
The batch of gpt2_tiny and llama_tiny is cut from one circle of B T tokens, so that a sequential sampler reads it at every step.

    python tests/oracle/export_landscape.py [directory]
"""
import torch
from transformers import (BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MixtralConfig,
                          MixtralForCausalLM, T5Config, T5ForConditionalGeneration)

import export_llama
import export_mixtral
import export_t5
import reference
from reference import IGNORED, pairs

NOTHING = lambda model: lambda: None
MODELS = {
    "gpt2_tiny": (71, GPT2LMHeadModel, NOTHING, GPT2Config(
        n_layer=2, n_embd=6, n_head=2, n_positions=7, vocab_size=11, n_inner=10, activation_function="gelu_new",
        tie_word_embeddings=True, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0)),
    "llama_tiny": (72, LlamaForCausalLM, export_llama.stay_in_double, LlamaConfig(
        num_hidden_layers=2, hidden_size=6, num_attention_heads=3, num_key_value_heads=1, head_dim=4, intermediate_size=9,
        max_position_embeddings=7, vocab_size=11, tie_word_embeddings=False, attention_dropout=0.0)),
    "mixtral_tiny": (73, MixtralForCausalLM, export_mixtral.prepare, MixtralConfig(
        num_hidden_layers=2, hidden_size=6, num_attention_heads=3, num_key_value_heads=1, head_dim=4, intermediate_size=5,
        num_local_experts=3, num_experts_per_tok=2, router_aux_loss_coef=0.02, max_position_embeddings=7, vocab_size=11,
        tie_word_embeddings=False, attention_dropout=0.0, sliding_window=None)),
    "bert_tiny": (74, BertForMaskedLM, NOTHING, BertConfig(
        num_hidden_layers=1, hidden_size=6, num_attention_heads=2, intermediate_size=9, max_position_embeddings=7, vocab_size=11,
        type_vocab_size=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, pad_token_id=None)),
    "t5_tiny": (75, T5ForConditionalGeneration, export_t5.stay_in_double, T5Config(
        num_layers=1, num_decoder_layers=1, d_model=6, d_kv=3, d_ff=9, num_heads=2, vocab_size=11, n_positions=7,
        relative_attention_num_buckets=6, relative_attention_max_distance=5, feed_forward_proj="relu", tie_word_embeddings=True,
        dropout_rate=0.0, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)),
}


def batch_of(kind, generator, config):
    context = 7
    if kind is T5ForConditionalGeneration:
        return export_t5.batch_new(generator, (context, 5), config.vocab_size)
    batch, targets = reference.circle_of(generator, context, config.vocab_size)
    if kind is BertForMaskedLM:
        counted = torch.from_numpy(generator.random(tuple(targets.shape)) < 0.4)
        counted[:, 0] = True
        targets = targets.masked_fill(~counted, IGNORED)
    return batch, targets


def flat(tensors, parameters):
    """Tensors that take no part have no gradient."""
    return torch.cat([(torch.zeros_like(p) if t is None else t).flatten() for t, p in zip(tensors, parameters)])


def rows_of(vector, parameters):
    """The derivative of every element of a vector."""
    return torch.stack([flat(torch.autograd.grad(x, parameters, retain_graph=True, allow_unused=True), parameters) for x in vector])


def largest(matrix):
    return torch.linalg.eigvalsh(matrix)[-1:]


def curvature(model, batch, targets, out):
    parameters = list(model.parameters())
    logits, loss = reference.loss_of(model, batch, targets)
    gradient = flat(torch.autograd.grad(reference.trained(model, loss), parameters, create_graph=True, allow_unused=True), parameters)
    hessian = rows_of(gradient, parameters)
    assert (hessian - hessian.T).norm() <= 1e-9 * hessian.norm()
    hessian = (hessian + hessian.T) / 2
    gradient = gradient.detach()
    logits = reference.loss_of(model, batch, targets)[0][targets != IGNORED]
    jacobian = rows_of(logits.flatten(), parameters)
    out["full.loss"] = pairs(loss.detach())
    out["landscape.hessian"] = pairs(torch.linalg.eigvalsh(hessian).flip(0))
    for name, second in (("preconditioned", gradient ** 2), ("moments", 0.01 + gradient ** 2)):
        scale = (second.sqrt() + 1e-8).rsqrt()
        out[f"landscape.{name}"] = pairs(largest(scale[:, None] * hessian * scale))
    out["landscape.trace"] = pairs(hessian.trace()[None])
    out["landscape.ntk"] = pairs(largest(jacobian @ jacobian.T / len(logits)))


def export(directory, seed, kind, prepare, config):
    deviation = lambda name: 0.6 if name == "shared.weight" else 0.4
    model, generator = reference.model_new(seed, kind, config, deviation)
    model = reference.model_save(model, directory)
    batch, targets = batch_of(kind, generator, config)
    out = {f"full.{part}": values.clone() for part, values in batch.items()} | {"full.targets": targets.clone()}
    restore = prepare(model)
    curvature(model, batch, targets, out)
    restore()
    reference.save_file(out, directory / "reference.safetensors")
    for path in directory.iterdir():
        path.chmod(0o644)
    value = lambda name: reference.loss_in(out, f"landscape.{name}", 0)
    print(f"{directory.name}: {len(out['landscape.hessian'])} parameters, loss {reference.loss_in(out, 'full.loss'):.4f}, largest "
          + ", ".join(f"{name} {value(name):.6g}" for name in ("hessian", "preconditioned", "moments", "trace", "ntk"))
          + f", second {reference.loss_in(out, 'landscape.hessian', 1):.6g}, lowest {reference.loss_in(out, 'landscape.hessian', -1):.6g}")


if __name__ == "__main__":
    reference.export_all(MODELS, export)
