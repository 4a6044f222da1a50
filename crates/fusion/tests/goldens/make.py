"""Writes fusion.json: AdapterFusion as the Python library `adapters` computes it, SGD steps, and what it saves.

    pip install adapters==1.3.0
    python make.py > fusion.json
"""

import json
import os
import sys
import tempfile

import torch
from adapters import AdapterFusionConfig, BertAdapterModel, DynamicAdapterFusionConfig, StaticAdapterFusionConfig
from adapters.composition import Fuse
from adapters.methods.modeling import BertFusion
from safetensors.torch import load_file
from transformers import BertConfig

HIDDEN, BATCH, SEQUENCE = 6, 2, 3


def numbers(tensor):
    return {"shape": list(tensor.shape), "data": [round(v, 7) for v in tensor.detach().flatten().tolist()]}


def fuse(module, query, ups, residual):
    """As the bottleneck layer calls it: one tensor is key and value."""
    up_list = torch.stack(ups).permute(1, 2, 0, 3)
    return module(query, up_list, up_list, residual, output_attentions=True)


def case(config, adapters=3, passes_before=0):
    torch.manual_seed(0)
    # Dropout is left out: it is random.
    module = BertFusion(config, HIDDEN, 0.0)
    new = {name: numbers(t) for name, t in module.state_dict().items()}
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p) * 0.5)
    inputs = [torch.randn(BATCH, SEQUENCE, HIDDEN, requires_grad=True) for _ in range(adapters + 2)]
    query, residual, *ups = inputs
    weights = torch.randn(BATCH, SEQUENCE, HIDDEN)
    with torch.no_grad():
        for _ in range(passes_before):
            fuse(module, query, ups, residual)

    result = {
        "config": config.to_dict(),
        "passes_before": passes_before,
        "query": numbers(query),
        "residual": numbers(residual),
        "ups": [numbers(up) for up in ups],
        "weights": numbers(weights),
        "new": new,
        "before": {name: numbers(t) for name, t in module.state_dict().items()},
        "temperature": module.T,
    }
    output, attention = fuse(module, query, ups, residual)
    result["hidden"] = numbers(output)
    result["attention"] = numbers(torch.from_numpy(attention))
    loss = (output * weights).sum()
    if config["value"] and config["regularization"]:
        # As get_fusion_regularization_loss() of a model with this one layer.
        penalty = 0.01 * (torch.eye(HIDDEN) - module.value.weight).pow(2).sum()
        result["penalty"] = penalty.item()
        loss = loss + penalty
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02)
    loss.backward()
    optimizer.step()
    result["gradients"] = {
        "query": numbers(query.grad),
        "residual": numbers(residual.grad),
        "ups": [numbers(up.grad) for up in ups],
    }
    result["after"] = {name: numbers(t) for name, t in module.state_dict().items()}
    output, attention = fuse(module, query, ups, residual)
    result["hidden_after"] = numbers(output)
    result["attention_after"] = numbers(torch.from_numpy(attention))
    return result


def cases():
    static, dynamic = StaticAdapterFusionConfig, DynamicAdapterFusionConfig
    yield "static", case(static())
    yield "dynamic", case(dynamic())
    yield "one_adapter", case(dynamic(), adapters=1)
    for key in (False, True):
        for query in (False, True):
            for value in (False, True):
                name = "_".join(n for n, has in (("key", key), ("query", query), ("value", value)) if has)
                yield f"only_{name or 'nothing'}", case(dynamic(key=key, query=query, value=value))
    for name, base in (("static", static), ("dynamic", dynamic)):
        yield f"{name}_residual_before", case(base(residual_before=True))
        yield f"{name}_temperature", case(base(temperature=True))
        yield f"{name}_value_after_softmax", case(base(value_before_softmax=False))
        yield f"{name}_query_before_ln", case(base(query_before_ln=True))
    yield "dynamic_value_drawn", case(dynamic(value_initialized=False))
    yield "dynamic_without_penalty", case(dynamic(regularization=False))
    yield "temperature_cooled_half", case(dynamic(temperature=True), passes_before=500)
    yield "temperature_cooled_down", case(dynamic(temperature=True), passes_before=1000)
    yield "everything", case(
        dynamic(residual_before=True, temperature=True, value_before_softmax=False), adapters=4, passes_before=970
    )


def temperatures():
    module = BertFusion(StaticAdapterFusionConfig(temperature=True), HIDDEN, 0.0)
    tensors = torch.zeros(1, 1, HIDDEN), [torch.zeros(1, 1, HIDDEN)], torch.zeros(1, 1, HIDDEN)
    found = []
    for passes in range(1001):
        if passes in (0, 1, 2, 500, 978, 979, 980, 981, 1000):
            found.append([passes, module.T])
        fuse(module, *tensors)
    return found


def saved(method, config):
    """What a saved fusion of two adapters holds, in a model of two layers."""
    torch.manual_seed(0)
    size = dict(hidden_size=HIDDEN, num_attention_heads=2, num_hidden_layers=2, intermediate_size=8, vocab_size=9)
    model = BertAdapterModel(BertConfig(**size))
    model.add_adapter("a", config=method)
    model.add_adapter("b", config=method)
    model.add_adapter_fusion(Fuse("a", "b"), config)
    with tempfile.TemporaryDirectory() as folder:
        model.save_adapter_fusion(folder, Fuse("a", "b"))
        safe = os.path.join(folder, "safe")
        model.save_adapter_fusion(safe, Fuse("a", "b"), use_safetensors=True)
        with open(os.path.join(folder, "adapter_fusion_config.json")) as file:
            described = json.load(file)
        files = sorted(f for f in os.listdir(folder) if f != "safe") + sorted(os.listdir(safe))
        name = next(f for f in os.listdir(safe) if f.endswith(".safetensors"))
        tensors = {name: list(t.shape) for name, t in sorted(load_file(os.path.join(safe, name)).items())}
    return {"files": sorted(set(files)), "adapter_fusion_config": described, "tensors": tensors}


def main():
    nothing = AdapterFusionConfig.from_dict(
        dict(StaticAdapterFusionConfig().to_dict(), key=False, query=False)
    )
    result = {
        "configs": {
            "static": StaticAdapterFusionConfig().to_dict(),
            "dynamic": DynamicAdapterFusionConfig().to_dict(),
        },
        "temperatures": temperatures(),
        "cases": dict(cases()),
        "saved": {
            "dynamic": saved("seq_bn", "dynamic"),
            "static": saved("double_seq_bn[leave_out=[0]]", "static"),
            "nothing": saved("seq_bn", nothing),
        },
    }
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
