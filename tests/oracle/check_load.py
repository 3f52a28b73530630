"""Does what `lag` writes load into Hugging Face transformers and PyTorch, and does it mean the same there?

    python tests/oracle/check_load.py [--lag ./lag] DIRECTORY...

For each directory, of any family: from_pretrained of the class that config.json names finds no missing, unexpected or
mismatched key; its logits in float64 and those of `lag logits` agree within 2e-5 of the largest, for whole rows and for padded
ones (bert with token types, t5 with a decoder's side); of causal models the mean loss of `lag eval` agrees within 1e-5 (what
the denoising objectives hide is drawn by lag, and checked by its own tests); where there is an optimizer.safetensors it names
the model file by its hash, and load_optimizer (the lines that docs/checkpoints.md shows) brings a torch.optim.AdamW to that
state (or load_schedule_free, load_sgd, that optimizer). Prints residuals and bounds; exits 1 if one is beyond.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from schedulefree import AdamWScheduleFree
from transformers.utils import logging

# Tokens that each check draws; a vocabulary beyond 65536 would need another format than u16.
TOKENS = 4000


def load_optimizer(model, directory):
    state = load_file(f"{directory}/optimizer.safetensors")
    names = {name if f"{name}.m" in state else name.partition(".")[2]: p for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([
        {"params": [p for p in names.values() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in names.values() if p.dim() < 2], "weight_decay": 0.0},
    ], lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    for name, p in names.items():
        p.data = state[f"{name}.w"]     # the f32 iterate that the moments belong to; the model file may hold its average
        optimizer.state[p] = {"step": state[f"{name}.step"].float(), "exp_avg": state[f"{name}.m"],
                              "exp_avg_sq": state[f"{name}.v"]}
    return optimizer


def load_schedule_free(model, directory, beta=0.9):
    with safe_open(f"{directory}/optimizer.safetensors", "pt") as file:
        state, told = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
    names = {name if f"{name}.z" in state else name.partition(".")[2]: p for name, p in model.named_parameters()}
    optimizer = AdamWScheduleFree([
        {"params": [p for p in names.values() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in names.values() if p.dim() < 2], "weight_decay": 0.0},
    ], lr=2e-3, betas=(beta, 0.95), eps=1e-8, warmup_steps=100)
    for group in optimizer.param_groups:
        group.update(k=int(told["averaged_updates"]), weight_sum=float(told["weight_sum"]),
                     lr_max=float(told["largest_rate"]), train_mode=True)
    for name, p in names.items():
        x, z = state[f"{name}.w"], state[f"{name}.z"]
        p.data = beta * x + (1 - beta) * z
        optimizer.state[p] = {"z": z, "exp_avg_sq": state[f"{name}.v"]}
    return optimizer


def load_sgd(model, directory):
    state = load_file(f"{directory}/optimizer.safetensors")
    names = {name if f"{name}.momentum" in state else name.partition(".")[2]: p for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(names.values(), lr=0.1, momentum=0.9)
    for name, p in names.items():
        p.data = state[f"{name}.w"]
        optimizer.state[p] = {"momentum_buffer": state[f"{name}.momentum"]}
    return optimizer


class Failure(Exception):
    pass


def require(truth, text):
    if not truth:
        raise Failure(text)


def within(what, residual, bound):
    print(f"    {what}: residual {residual:.2e}, bound {bound:.0e}")
    require(residual <= bound, f"{what} is beyond its bound")


def run_lag(lag, *arguments):
    done = subprocess.run([lag, *map(str, arguments)], capture_output=True, text=True)
    require(done.returncode == 0, f"lag {arguments[0]} exits {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def class_of(config):
    """The class that lag wrote, or the family's model with a language head."""
    kinds = {"t5": "T5ForConditionalGeneration", "bert": "BertForMaskedLM"}
    if config.model_type == "bert" and config.architectures == ["BertForPreTraining"]:
        return transformers.BertForPreTraining
    return getattr(transformers, kinds.get(config.model_type, "AutoModelForCausalLM"))


def load(directory):
    """Float64, so that what is compared with is exact; 16-bit weights are widened without loss. RMS norms, and here and there
    a softmax, stay in float32: transformers computes them so whatever the dtype."""
    config = transformers.AutoConfig.from_pretrained(directory)
    options = dict(reorder_and_upcast_attn=False) if config.model_type == "gpt2" else {}
    model, info = class_of(config).from_pretrained(directory, output_loading_info=True, attn_implementation="eager",
                                                   dtype=torch.float32, **options)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        require(not info.get(kind), f"{kind}: {info.get(kind)}")
    return model.double().eval()


def context_of(model):
    names = ("n_positions", "max_position_embeddings")
    return next(value for value in (getattr(model.config, name, None) for name in names) if value is not None)


def logits_of(model, parts):
    with torch.no_grad():
        out = model(**parts)
    return out.prediction_logits if "prediction_logits" in out else out.logits


def tokens_of(model, seed):
    return numpy.random.default_rng(seed).integers(0, model.config.vocab_size, TOKENS)


def mask_of(rows, length, cut):
    """Ones; of row i the last i `cut` are padding, and of row 1 the third token too, which later ones would see."""
    mask = (torch.arange(length) < length - cut * torch.arange(rows)[:, None]).long()
    mask[1, 2] = 0
    return mask


def parts_of(model, padded):
    """Three rows as long as the model takes them; a decoder's are shorter."""
    context = context_of(model)
    tokens = torch.from_numpy(tokens_of(model, 1))
    parts = {"input_ids": tokens[:3 * context].view(3, context).clone()}
    if model.config.model_type == "bert":
        parts["token_type_ids"] = tokens[-3 * context:].view(3, context) % model.config.type_vocab_size
    if model.config.is_encoder_decoder:
        parts["decoder_input_ids"] = tokens[-3 * (context - 3):].view(3, context - 3).clone()
    if padded:
        parts["attention_mask"] = mask_of(3, context, 3)
    if padded and model.config.is_encoder_decoder:
        parts["decoder_attention_mask"] = mask_of(3, context - 3, 2)
    return parts


def check_logits(lag, directory, model, scratch, padded):
    parts = parts_of(model, padded)
    save_file(parts, f"{scratch}/ids.safetensors")
    run_lag(lag, "logits", "--checkpoint", directory, "--tokens", f"{scratch}/ids.safetensors", "--out",
            f"{scratch}/logits.safetensors")
    actual = load_file(f"{scratch}/logits.safetensors")["logits"].double()
    expected = logits_of(model, parts)
    require(actual.shape == expected.shape, "logits of another shape")
    within("logits, padded" if padded else "logits", ((actual - expected).abs().max() / expected.abs().max()).item(), 2e-5)


def check_loss(lag, directory, model, scratch):
    """The validation windows of docs/api.md: of N that do not overlap, window i of W starts at floor(i N / W) context."""
    context = context_of(model)
    tokens = tokens_of(model, 2)
    tokens.astype("<u2").tofile(f"{scratch}/tokens.bin")
    possible = (len(tokens) - 1) // context
    count = min(possible, 1500 // context)
    starts = [i * possible // count * context for i in range(count)]
    windows = torch.from_numpy(numpy.stack([tokens[start:start + context + 1] for start in starts]))
    with torch.no_grad():
        logits = model(input_ids=windows[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()
    answer = json.loads(run_lag(lag, "eval", "--checkpoint", directory, "--data", f"{scratch}/tokens.bin", "--format", "u16",
                                "--context", context, "--valid-tokens", 1500, "--json"))
    require(answer["windows"] == count, "another number of windows")
    within("loss", abs(answer["loss"] - expected), 1e-5)


def check_optimizer(directory):
    path = directory / "optimizer.safetensors"
    with safe_open(path, "pt") as file:
        stored = file.metadata()["model_sha256"]
    require(stored == hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest(), "another model's hash")
    model = load(directory).float()
    before = [p.detach().clone() for p in model.parameters()]
    stored = load_file(path)
    parts = {key.rsplit(".", 1)[1] for key in stored}
    loader = load_schedule_free if "z" in parts else load_sgd if "momentum" in parts else load_optimizer
    optimizer = loader(model, directory)
    steps = sorted({int(value) for key, value in stored.items() if key.endswith(".step")})
    names = {key.rsplit(".", 1)[0] for key in stored}
    require(len(names) == len(optimizer.state) == len(before), "a tensor has no state")
    for parameter in model.parameters():
        for name, value in optimizer.state[parameter].items():
            require(name == "step" or value.shape == parameter.shape, "a state of another shape")
        parameter.grad = torch.zeros_like(parameter)
    moved = max((p - b).abs().max().item() for p, b in zip(model.parameters(), before))
    optimizer.step()
    print(f"    optimizer: {len(names)} tensors of {sorted(parts)}, steps {steps}, raw iterate within {moved:.1e} of the model file; "
          f"a step works")


def layers_of(model):
    config = model.config
    return f"{config.num_layers} + {config.num_decoder_layers}" if config.is_encoder_decoder else config.num_hidden_layers


def check(lag, directory):
    directory = pathlib.Path(directory)
    with tempfile.TemporaryDirectory() as scratch:
        model = load(directory)
        with safe_open(directory / "model.safetensors", "pt") as file:
            dtypes = {file.get_slice(name).get_dtype() for name in file.keys()}
            require(file.metadata() == {"format": "pt"}, "metadata")
        print(f"    {type(model).__name__}, {layers_of(model)} layers of {model.config.hidden_size}, "
              f"{', '.join(sorted(dtypes))}: no missing, unexpected or mismatched keys")
        check_logits(lag, directory, model, scratch, False)
        check_logits(lag, directory, model, scratch, True)
        if model.config.model_type not in ("bert", "t5"):
            check_loss(lag, directory, model, scratch)
    if (directory / "optimizer.safetensors").exists():
        check_optimizer(directory)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lag", default="./lag")
    parser.add_argument("directories", nargs="+")
    arguments = parser.parse_args()
    failures = 0
    for directory in arguments.directories:
        print(pathlib.Path(directory).name)
        try:
            check(arguments.lag, directory)
        except Failure as failure:
            print(f"    FAILED: {failure}")
            failures += 1
    sys.exit(failures > 0)


logging.set_verbosity_error()
if __name__ == "__main__":
    main()
