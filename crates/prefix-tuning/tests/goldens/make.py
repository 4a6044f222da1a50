"""Writes prefix.json: keys, values and masks as the Python library `adapters` extends them, and one SGD step.

    pip install adapters==1.3.0
    python make.py > prefix.json
"""

import json

import torch
from adapters import BertAdapterModel, PrefixTuningConfig
from adapters.context import ForwardContext
from transformers import BertConfig

LAYERS, HIDDEN, HEADS, BATCH, SEQUENCE, LENGTH = 3, 8, 2, 3, 4, 3
PADDING = [[0, 0, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0]]


def numbers(tensor):
    return {"shape": list(tensor.shape), "data": [round(v, 6) for v in tensor.detach().flatten().tolist()]}


def inputs():
    """Keys, values, hidden states, and weights of the outputs in the loss, by layer; the same for all cases."""
    torch.manual_seed(1)
    head = (HIDDEN // HEADS,)
    plain, extended = (BATCH, HEADS, SEQUENCE) + head, (BATCH, HEADS, SEQUENCE + LENGTH) + head
    shapes = {
        "keys": plain,
        "values": plain,
        "hidden": (BATCH, SEQUENCE, HIDDEN),
        "keys_weight": extended,
        "values_weight": extended,
    }
    return [{name: torch.randn(shape) for name, shape in shapes.items()} for _ in range(LAYERS)]


def case(config):
    torch.manual_seed(0)
    bert = BertConfig(
        vocab_size=9,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=8,
        max_position_embeddings=8,
    )
    model = BertAdapterModel(bert)
    model.add_adapter("a", config=config)
    model.train_adapter("a")
    model.eval()
    trained = {
        name: p
        for name, p in model.named_parameters(remove_duplicate=False)
        if "prefix" in name and ".pool." not in name
    }
    with torch.no_grad():
        for p in trained.values():
            p.copy_(torch.randn_like(p) * 0.7)
    before = {name: numbers(p) for name, p in trained.items()}
    padding = torch.tensor(PADDING, dtype=torch.bool)
    mask = padding[:, None, None, :].float() * -1e4

    def forward():
        with ForwardContext(model.bert, torch.zeros(BATCH, SEQUENCE, dtype=torch.long)):
            for (_, layer), given in zip(model.iter_layers(), inputs()):
                tuning = layer.attention.self.prefix_tuning
                yield tuning(given["keys"], given["values"], given["hidden"], mask)

    calls, loss = [], 0.0
    for given, (keys, values, extended) in zip(inputs(), forward()):
        if keys.shape[2] > SEQUENCE:
            loss = loss + (keys * given["keys_weight"]).sum() + (values * given["values_weight"]).sum()
        padded = (extended < 0).flatten(1).int().tolist()
        calls.append({"keys": numbers(keys), "values": numbers(values), "padding": padded})
    loss.backward()
    torch.optim.SGD(trained.values(), lr=0.1).step()
    after = {name: numbers(p) for name, p in trained.items()}

    trained_on = [keys for keys, _, _ in forward()]
    model.eject_prefix_tuning("a")
    for keys, (ejected, _, _) in zip(trained_on, forward()):
        assert torch.allclose(keys, ejected, atol=1e-6)
    return {"calls": calls, "before": before, "after": after}


def main():
    base = dict(prefix_length=LENGTH, bottleneck_size=5)
    cases = {
        "mlp": case(PrefixTuningConfig(**base)),
        "mlp_left_out": case(PrefixTuningConfig(**base, leave_out=[1], non_linearity="silu")),
        "flat": case(PrefixTuningConfig(**base, flat=True, leave_out=[0])),
        "shared_gate": case(PrefixTuningConfig(**base, use_gating=True)),
        "two_gates": case(PrefixTuningConfig(**base, use_gating=True, shared_gating=False)),
    }
    given = [{name: numbers(tensor) for name, tensor in layer.items()} for layer in inputs()]
    print(json.dumps({"padding": PADDING, "inputs": given, "cases": cases}))


main()
