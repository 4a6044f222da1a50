"""Writes invertible.json: coupling blocks of the reference (the Python library `adapters` 1.3.0) with random parameters.

The reference's GLOW block cannot run. Its networks and its clamp are used here as the paper composes them.

    python invertible.py > invertible.json
"""

import json

import torch
from adapters.methods.modeling import GLOWCouplingBlock, NICECouplingBlock

generator = torch.Generator().manual_seed(11)


def random(shape):
    return torch.randn(shape, generator=generator).mul(100).round().div(100)


def tensor(t):
    return {"shape": list(t.shape), "values": [round(v, 6) for v in t.flatten().tolist()]}


def glow(block, x):
    x1, x2 = x.chunk(2, -1)
    s2, t2 = block.s2(x2).chunk(2, -1)
    y1 = block.e(s2) * x1 + t2
    s1, t1 = block.s1(y1).chunk(2, -1)
    return torch.cat((y1, block.e(s1) * x2 + t1), -1)


def case(kind, hidden, non_linearity, reduction_factor):
    block_type = NICECouplingBlock if kind == "nice" else GLOWCouplingBlock
    block = block_type([[hidden]], non_linearity=non_linearity, reduction_factor=reduction_factor)
    for parameter in block.parameters():
        parameter.data = random(parameter.shape) / 2
    x = random((2, 3, hidden))
    with torch.no_grad():
        y = block(x) if kind == "nice" else glow(block, x)
    return {
        "kind": kind,
        "hidden": hidden,
        "non_linearity": non_linearity,
        "reduction_factor": reduction_factor,
        "parameters": {name: tensor(p.data) for name, p in block.named_parameters()},
        "x": tensor(x),
        "y": tensor(y),
    }


cases = [
    case("nice", 8, "relu", 2),
    case("nice", 12, "swish", 1.5),
    case("nice", 8, "gelu", 0.5),
    case("glow", 8, "relu", 2),
    case("glow", 12, "tanh", 1.5),
]
print("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]")
