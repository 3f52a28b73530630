"""What the mup package (arXiv 2203.03466's own) makes of each tensor of a small Llama at two widths over one base.

Writes tests/fixtures/oracle/mup/reference.safetensors, F32 (6) for each tensor, named <case>.<tensor>:
    rate and weight decay of its group in MuAdamW and in MuSGD, for 1 and 1; the standard deviation that mup.init gives it where
    1 is asked for; the factor that its products get in the forward pass (MuReadout)
The head is a MuReadout. Sizes stand in BASE and CASES, and in tests/trainer/test_oracle_mup.c.

    python tests/oracle/export_mup.py [directory]
"""
import pathlib
import sys

import mup
import torch
from mup.init import constant_std_init_
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from reference import short_name

BASE = dict(hidden_size=16, num_attention_heads=4, num_key_value_heads=2, intermediate_size=20)
DELTA = dict(hidden_size=24, num_attention_heads=6, num_key_value_heads=3, intermediate_size=30)
CASES = {
    "twice": dict(hidden_size=32, num_attention_heads=8, num_key_value_heads=4, intermediate_size=80),
    "four_times": dict(hidden_size=64, num_attention_heads=16, num_key_value_heads=8, intermediate_size=60),
}


def model_of(sizes):
    config = LlamaConfig(num_hidden_layers=2, vocab_size=48, max_position_embeddings=16, head_dim=4, attention_bias=True,
                         mlp_bias=True, tie_word_embeddings=False, **sizes)
    model = LlamaForCausalLM(config)
    model.lm_head = mup.MuReadout(config.hidden_size, config.vocab_size, bias=False)
    return model


def group_values(model, optimizer):
    """Rate and weight decay of each parameter, for 1 and 1."""
    groups = optimizer(model.parameters(), lr=1.0, weight_decay=1.0).param_groups
    return {id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}


def deviation(parameter):
    """What mup.init multiplies the deviation of normal_ by."""
    scales = []
    constant_std_init_(parameter, lambda tensor, scale=1.0: scales.append(scale))
    return scales[0]


def head_factor(head):
    x = torch.ones(1, head.in_features)
    return (head(x).sum() / (x @ head.weight.T).sum()).item()


def values_of(sizes):
    model = model_of(sizes)
    mup.set_base_shapes(model, model_of(BASE), delta=model_of(DELTA), rescale_params=False)
    adam, sgd = group_values(model, mup.MuAdamW), group_values(model, mup.MuSGD)
    factors = {id(model.lm_head.weight): head_factor(model.lm_head)}
    return {short_name(name): torch.tensor([*adam[id(p)], *sgd[id(p)], deviation(p), factors.get(id(p), 1.0)])
            for name, p in model.named_parameters()}


def main():
    torch.manual_seed(1)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    root = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracle"
    directory = (pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root) / "mup"
    directory.mkdir(parents=True, exist_ok=True)
    stored = {f"{case}.{name}": values.to(torch.float32) for case, sizes in CASES.items()
              for name, values in values_of(sizes).items()}
    save_file(stored, directory / "reference.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
