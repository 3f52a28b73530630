"""Hessian-vector products for the tests, by PyTorch's double backward in float64, of one model of each kind of network.

Writes tests/fixtures/oracle/<model>/hessian.safetensors beside what the other scripts made, from its weights and batches:
    direction.<tensor>     F32, normal numbers: the same in every run
    product.<tensor>       F32: H direction, H the Hessian of the mean loss over the counted positions of a batch
The batch is in the file's metadata. Names of tensors are those of reference.safetensors.

    python tests/oracle/export_hessian.py [directory]
"""
import numpy
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, GPT2LMHeadModel, LlamaForCausalLM, MixtralForCausalLM, T5ForConditionalGeneration

import export_llama
import export_mixtral
import export_t5
import reference
from reference import short_name, single

# Batches with padding where there is one: masks, types and a decoder's side take part.
MODELS = {
    "gpt2_a": (GPT2LMHeadModel, "short", lambda model: lambda: None),
    "llama_a": (LlamaForCausalLM, "padded", export_llama.stay_in_double),
    "mixtral_a": (MixtralForCausalLM, "padded", export_mixtral.prepare),
    "bert_a": (BertForMaskedLM, "padded", lambda model: lambda: None),
    "t5_a": (T5ForConditionalGeneration, "padded", export_t5.stay_in_double),
}


def loss_of(model, stored, batch):
    known = ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids", "decoder_attention_mask")
    parts = {name: stored[f"{batch}.{name}"] for name in known if f"{batch}.{name}" in stored}
    return reference.trained(model, reference.loss_of(model, parts, stored[f"{batch}.targets"])[1])


def gradients_of(loss, parameters, **options):
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True, **options)


def moved_gradients(model, parameters, directions, step, loss):
    """Gradients at the weights moved by step times the direction."""
    with torch.no_grad():
        for parameter, direction in zip(parameters, directions):
            parameter.add_(direction, alpha=step)
    gradients = gradients_of(loss(), parameters)
    with torch.no_grad():
        for parameter, direction in zip(parameters, directions):
            parameter.sub_(direction, alpha=step)
    return gradients


def export(directory, kind, batch, prepare):
    stored = load_file(directory / "reference.safetensors")
    model = kind.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32).double().eval()
    restore = prepare(model)
    names, parameters = zip(*model.named_parameters())
    generator = numpy.random.default_rng(61)
    directions = [single(torch.from_numpy(generator.standard_normal(tuple(p.shape)))).double() for p in parameters]
    loss = lambda: loss_of(model, stored, batch)
    gradients = gradients_of(loss(), parameters, create_graph=True)
    for name, gradient in zip(names, gradients):
        expected = stored[f"{batch}.gradient.{short_name(name)}"]
        assert (gradient - expected).norm() <= 1e-6 * expected.norm() + 1e-12, f"another gradient: {name}"
    products = gradients_of(sum((g * d).sum() for g, d in zip(gradients, directions)), parameters)
    step = 1e-6
    ahead = moved_gradients(model, parameters, directions, step, loss)
    behind = moved_gradients(model, parameters, directions, -step, loss)
    whole = lambda tensors: torch.cat([tensor.flatten() for tensor in tensors])
    difference = (whole(ahead) - whole(behind)) / (2 * step) - whole(products)
    residual = (difference.norm() / whole(products).norm()).item()
    assert residual < 1e-6, f"not the derivative of the gradient: {residual}"
    restore()
    out = {f"direction.{short_name(name)}": single(d) for name, d in zip(names, directions)}
    out |= {f"product.{short_name(name)}": single(p) for name, p in zip(names, products)}
    save_file(out, directory / "hessian.safetensors", metadata={"batch": batch})
    (directory / "hessian.safetensors").chmod(0o644)
    print(f"{directory.name}: batch {batch}, {len(names)} tensors, |H direction| {whole(products).norm().item():.4f}, differences "
          f"within {residual:.1e}, {(directory / 'hessian.safetensors').stat().st_size} bytes")


if __name__ == "__main__":
    reference.export_all(MODELS, export)
