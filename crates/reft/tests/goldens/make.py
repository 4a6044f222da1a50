"""Writes reft.json: hidden states as the Python library `adapters` intervenes on them, and SGD steps.

    pip install adapters==1.3.0
    python make.py > reft.json
"""

import json

import torch
from adapters import DiReftConfig, LoReftConfig, NoReftConfig
from adapters.context import ForwardContext
from adapters.methods.reft import ReftModule

HIDDEN, BATCH, SEQUENCE = 6, 3, 5


def numbers(tensor):
    return {"shape": list(tensor.shape), "data": [round(v, 7) for v in tensor.detach().flatten().tolist()]}


class Context(ForwardContext):
    """What a forward pass puts there, without a model."""

    def __init__(self, attention_mask):
        self.seqlens = (attention_mask == 1).sum(dim=-1).squeeze()
        self.offsets = attention_mask.argmax(1)


def case(config, attention_mask, trained_before=True):
    torch.manual_seed(0)
    module = ReftModule(HIDDEN, config)
    module.eval()
    if trained_before:
        with torch.no_grad():
            for name, p in module.named_parameters():
                noise = torch.randn_like(p) * 0.5
                if name.endswith("original"):
                    # The diagonal holds signs.
                    diagonal = torch.eye(*p.shape).bool()
                    noise[diagonal] = 0.0
                    p[0, 0] = 1.0
                p.add_(noise)
    attention_mask = torch.tensor(attention_mask)
    hidden = torch.randn(BATCH, SEQUENCE, HIDDEN)
    weights = torch.randn_like(hidden)

    def forward():
        with Context(attention_mask):
            return module(hidden)

    out = forward()
    result = {
        "padding": (1 - attention_mask).tolist(),
        "hidden": numbers(hidden),
        "output": numbers(out),
        "weight": numbers(weights),
        "before": {name: numbers(t) for name, t in module.state_dict().items()},
        "projection": [numbers(unit.projection.weight) for unit in module.units],
    }
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02)
    for _ in range(2):
        optimizer.zero_grad()
        (forward() * weights).sum().backward()
        for p in module.parameters():
            # A unit without positions.
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        optimizer.step()
        if "after" not in result:
            result["after"] = {name: numbers(t) for name, t in module.state_dict().items()}
    result["output_after_two_steps"] = numbers(forward())
    return result


def main():
    full = [[1] * 5] * 3
    right = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    left = [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    cases = {
        "loreft_new": case(LoReftConfig(r=2), full, trained_before=False),
        "loreft_rank_1": case(LoReftConfig(), right),
        "loreft_rank_3_tied_both_ends": case(LoReftConfig(r=3, suffix_positions=2, tied_weights=True), right),
        "loreft_padded_left": case(LoReftConfig(r=2, prefix_positions=2, suffix_positions=1), left),
        "loreft_suffix_alone": case(LoReftConfig(r=2, prefix_positions=0, suffix_positions=2), right),
        "noreft": case(NoReftConfig(r=2, suffix_positions=2), right),
        "noreft_overlapping_ends": case(NoReftConfig(r=2, prefix_positions=4, suffix_positions=3), full),
        "noreft_activated": case(NoReftConfig(r=3, non_linearity="silu"), right),
        "noreft_longer_than_the_sequence": case(NoReftConfig(r=1, prefix_positions=9), full),
        "direft": case(DiReftConfig(r=2, suffix_positions=1), right),
    }
    print(json.dumps(cases))


main()
