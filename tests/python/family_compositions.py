"""Compositions on a model of another family than BERT: a few of each block, with the adapters that differ most.

BERT has the full matrix (`composition_cases.py`).
"""

import os

from common import normal, write_golden, write_json

import torch
from adapters import AdapterConfig, AutoAdapterModel
from adapters.composition import BatchSplit, Fuse, Parallel, Split, Stack
from adapters.loading import AdapterLoader, PredictionHeadLoader

#: The adapters by name.
ADAPTERS = {
    **{f"seq_{letter}": "seq_bn[reduction_factor=4]" for letter in "ab"},
    **{f"double_{letter}": "double_seq_bn[reduction_factor=4,cross_adapter=True]" for letter in "ab"},
    "par_a": "par_bn[reduction_factor=4]",
    **{f"lora_{letter}": "lora[r=2,alpha=4,attn_matrices=['q','k','v'],intermediate_lora=True]" for letter in "ab"},
    **{f"ia3_{letter}": "ia3" for letter in "ab"},
    **{f"flat_{letter}": "prefix_tuning_flat[prefix_length=3]" for letter in "ab"},
}

FUSION = "Fuse(double_a, double_b)"

SETUPS = (
    "Stack(seq_a, seq_b)",
    "Stack(double_a, par_a)",
    "Stack(lora_a, seq_a)",
    "Stack(flat_a, lora_b)",
    FUSION,
    "Stack(lora_a, Fuse(double_a, double_b))",
    "Parallel(seq_a, seq_b)",
    "Parallel(lora_a, lora_b)",
    "Parallel(flat_a, flat_b)",
    "Parallel(double_a, ia3_a)",
    "Stack(lora_a, Parallel(double_a, par_a))",
    "BatchSplit(seq_a, seq_b, batch_sizes=[1, 3])",
    "BatchSplit(double_a, lora_a, batch_sizes=[2, 2])",
    "BatchSplit(lora_a, lora_b, batch_sizes=[1, 3])",
    "BatchSplit(ia3_a, ia3_b, batch_sizes=[3, 1])",
    "BatchSplit(flat_a, flat_b, batch_sizes=[1, 3])",
    "Split(seq_a, seq_b, splits=[5, 6])",
)


def parse(text):
    """Reads a composition: Python, with the adapters' names as variables."""
    blocks = dict(BatchSplit=BatchSplit, Fuse=Fuse, Parallel=Parallel, Split=Split, Stack=Stack)
    return eval(text, {"__builtins__": {}}, {**{name: name for name in ADAPTERS}, **blocks})  # noqa: S307


def fresh():
    return AutoAdapterModel.from_pretrained("models/tiny", attn_implementation="eager").eval()


@torch.no_grad()
def write_adapter(family, name):
    model = fresh()
    model.add_adapter(name, AdapterConfig.load(ADAPTERS[name]))
    model.add_classification_head(name, num_labels=2, layers=1)
    adapter, head = AdapterLoader(model).filter_func(name), PredictionHeadLoader(model).filter_func(name)
    for key, parameter in model.named_parameters():
        if adapter(key) or head(key):
            mean = 1.0 if name.startswith("ia3") and key.endswith("lora_B") else 0.0
            parameter.copy_(normal(parameter.shape, family, "composed", name, key, mean=mean, std=0.25))
    folder = f"composed/adapters/{name}"
    model.save_adapter(folder, name, with_head=False, use_safetensors=not name.startswith("flat"))
    model.save_head(folder, name, use_safetensors=True)


@torch.no_grad()
def write_fusion(family):
    model = with_adapters(["double_a", "double_b"])
    model.add_adapter_fusion(parse(FUSION), "dynamic")
    for key, parameter in model.named_parameters():
        if ".adapter_fusion_layer." in key:
            parameter.copy_(normal(parameter.shape, family, "fusion", key, std=0.2))
    model.save_adapter_fusion("composed/fusion", parse(FUSION), use_safetensors=True)


def with_adapters(names, fusion=False):
    model = fresh()
    for name in names:
        model.load_adapter(f"composed/adapters/{name}", use_safetensors=True)
    if fusion:
        model.load_adapter_fusion("composed/fusion", use_safetensors=True)
    return model.eval()


def run(setup, batch):
    """The logits of each head by name."""
    composition = parse(setup)
    names = sorted(composition.flatten())
    model = with_adapters(names, "Fuse" in setup)
    model.set_active_adapters(composition)
    heads = model.active_head
    if heads is None or "Fuse" in setup or setup.startswith("Split"):
        model.active_head = heads = names[0]
    with torch.no_grad():
        result = model(**batch)
    if isinstance(heads, BatchSplit):
        text = f"BatchSplit({', '.join(heads)}, batch_sizes={heads.batch_sizes})"
    else:
        text = heads if isinstance(heads, str) else f"[{', '.join(heads)}]"
    if "head_outputs" not in result:
        return names, text, {"logits": result["logits"]}
    return names, text, {f"logits.{name}": output["logits"] for name, output in zip(list(heads), result["head_outputs"])}


def write_compositions(name, family):
    """`composed/`: adapters with heads, a fusion, and the logits of each setup."""
    if not family.composed:
        return
    os.makedirs("composed/adapters")
    for adapter in ADAPTERS:
        write_adapter(name, adapter)
    write_fusion(name)
    batch = family.batch()
    index, golden = [], dict(batch)
    for setup in SETUPS:
        try:
            adapters, heads, logits = run(setup, batch)
        except Exception as error:  # noqa: BLE001 - whatever the reference raises is the fact of interest
            print(f"{name}: the reference fails on {setup}: {type(error).__name__}: {error}")
            continue
        golden |= {f"{len(index)}.{key}": value for key, value in logits.items()}
        index.append({"setup": setup, "adapters": adapters, "fused": "Fuse" in setup, "heads": heads})
    write_json("composed/index.json", index)
    write_golden("composed/golden.safetensors", golden)
