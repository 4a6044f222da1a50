"""Writes phm.json: PHM layers of the reference (the Python library `adapters` 1.3.0) with random parameters.

    python phm.py > phm.json
"""

import itertools
import json
import types

import torch
from adapters import CompacterConfig
from adapters.context import ForwardContext
from adapters.methods.modeling import PHMLayer

HIDDEN, WIDTH = 12, 8
generator = torch.Generator().manual_seed(7)


def random(*shape):
    return torch.randn(*shape, generator=generator).mul(100).round().div(100)


def shared_shapes(config, position, size):
    """The shapes of the shared parameters that a layer reads (the reference's own initialiser crashes on some)."""
    n, shapes = config.phm_dim, {}
    if config.shared_W_phm:
        p, q = size[0] // n, size[1] // n
        if config.factorized_phm_W:
            shapes[f"W_{position}_left"] = (n, p, config.phm_rank)
            shapes[f"W_{position}_right"] = (n, config.phm_rank, q)
        else:
            shapes[f"W_{position}"] = (n, p, q)
    if config.shared_phm_rule:
        if config.factorized_phm_rule:
            shapes["phm_rule_left"], shapes["phm_rule_right"] = (n, n, 1), (n, 1, n)
        else:
            shapes["phm_rule"] = (n, n, n)
    return shapes


def case(position, **attributes):
    config = CompacterConfig(**attributes)
    size = (HIDDEN, WIDTH) if position == "down" else (WIDTH, HIDDEN)
    layer = PHMLayer("adapter", *size, position, config)
    for parameter in layer.parameters():
        parameter.data = random(*parameter.shape)
    shared = {name: random(*shape) for name, shape in shared_shapes(config, position, size).items()}
    context = types.SimpleNamespace(shared_parameters={"adapter": shared})
    ForwardContext.get_context = staticmethod(lambda: context)
    x = random(2, 3, size[0])
    with torch.no_grad():
        y = layer(x)
    tensor = lambda t: {"shape": list(t.shape), "values": [round(v, 6) for v in t.flatten().tolist()]}
    return {
        "position": position,
        "attributes": attributes,
        "layer": {name: tensor(p.data) for name, p in layer.named_parameters()},
        "shared": {name: tensor(p) for name, p in shared.items()},
        "x": tensor(x),
        "y": tensor(y),
    }


flags = ["shared_phm_rule", "factorized_phm_rule", "shared_W_phm", "factorized_phm_W"]
cases = []
for index, values in enumerate(itertools.product([False, True], repeat=4)):
    attributes = dict(zip(flags, values), phm_dim=2 if index % 3 == 0 else 4)
    for position in ["down", "up"]:
        cases.append(case(position, **attributes))
for rank in [2, 3]:
    for position in ["down", "up"]:
        cases.append(case(position, phm_rank=rank, phm_dim=2, phm_bias=rank == 2))
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
