"""Fifty steps of every optimizer on a quadratic, by PyTorch's optimizers and the schedulefree package, in float64.

Writes tests/fixtures/oracle/optimizers/reference.safetensors, all F32 and two tensors, matrix (4, 5) and vector (6), of each:
    start, curvature, target     the loss is the sum of curvature / 2 * (w - target)^2: its gradient is taken where the
                                 optimizer wants it
    <case>.<tensor>              (50, ...): what is evaluated after each step: the weights; of schedule-free the average x
Weight decay is for the matrix alone, as in lag. The values of each case stand in CASES and in
tests/trainer/test_oracle_optimizers.c.

    python tests/oracle/export_optimizers.py [directory]
"""
import pathlib
import sys

import numpy
import torch
from safetensors.torch import save_file
from schedulefree import AdamWScheduleFree, AdamWScheduleFreeReference, SGDScheduleFree

STEPS = 50
SHAPES = {"matrix": (4, 5), "vector": (6,)}
CASES = {
    "adamw": (torch.optim.AdamW, 0.1, dict(lr=0.03, betas=(0.9, 0.95), eps=1e-8)),
    "sgd_plain": (torch.optim.SGD, 0.0, dict(lr=0.1)),
    "sgd_momentum": (torch.optim.SGD, 0.02, dict(lr=0.1, momentum=0.9)),
    "sgd_nesterov": (torch.optim.SGD, 0.02, dict(lr=0.1, momentum=0.9, nesterov=True)),
    "schedule_free_sgd": (SGDScheduleFree, 0.02, dict(lr=0.5, momentum=0.9, warmup_steps=10)),
    "schedule_free_sgd_powers": (SGDScheduleFree, 0.0, dict(lr=0.5, momentum=0.7, r=0.75, weight_lr_power=1.0, warmup_steps=5)),
    "schedule_free_adamw": (AdamWScheduleFree, 0.1, dict(lr=0.05, betas=(0.9, 0.95), eps=1e-8, warmup_steps=10)),
    "schedule_free_adamw_powers": (AdamWScheduleFree, 0.1, dict(lr=0.05, betas=(0.98, 0.99), eps=1e-8, r=0.75, warmup_steps=2)),
    "schedule_free_adamw_at_z": (AdamWScheduleFreeReference, 0.1, dict(lr=0.05, betas=(0.9, 0.95), eps=1e-8, warmup_steps=10,
                                                                        decay_at_z=True)),
}


def random_tensors(generator, low, high):
    return {name: torch.from_numpy(generator.uniform(low, high, shape)).to(torch.float32) for name, shape in SHAPES.items()}


def run(kind, decay, options, start, curvature, target):
    parameters = {name: torch.nn.Parameter(value.double()) for name, value in start.items()}
    groups = [{"params": [parameters["matrix"]], "weight_decay": decay}, {"params": [parameters["vector"]], "weight_decay": 0.0}]
    optimizer = kind(groups, **options)
    free = hasattr(optimizer, "train")
    points = {name: [] for name in SHAPES}
    for _ in range(STEPS):
        if free:
            optimizer.train()
        for name, parameter in parameters.items():
            parameter.grad = curvature[name].double() * (parameter.detach() - target[name].double())
        optimizer.step()
        if free:
            optimizer.eval()
        for name, parameter in parameters.items():
            points[name].append(parameter.detach().clone())
    return {name: torch.stack(values).to(torch.float32) for name, values in points.items()}


def main():
    torch.set_num_threads(1)
    root = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "oracle"
    directory = (pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root) / "optimizers"
    directory.mkdir(parents=True, exist_ok=True)
    generator = numpy.random.default_rng(71)
    parts = {"start": random_tensors(generator, -1, 1), "curvature": random_tensors(generator, 0.05, 1.5),
             "target": random_tensors(generator, -1, 1)}
    stored = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    for case, (kind, decay, options) in CASES.items():
        points = run(kind, decay, options, parts["start"], parts["curvature"], parts["target"])
        stored.update({f"{case}.{name}": value.contiguous() for name, value in points.items()})
    save_file(stored, directory / "reference.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
