"""Whole setups in one folder, as `save_adapter_setup` writes them."""

import os

import torch

import composition_pool as pool
from common import write_golden
from composition_run import evaluate
from models import inputs

#: Folder: adapters' setup, heads' setup as text (`True` for all of the model's own), fusions of the pool.
SETUPS = {
    "stack_fuse": ("Stack(seq_a, Fuse(seq_b, seq_c))", "seq_a", ("seq_b_c",)),
    "parallel": ("Parallel(seq_a, lora_a)", "[seq_a, lora_a]", ()),
    "parallel_stack": ("Parallel(Stack(seq_a, seq_b), seq_c)", "[seq_b, seq_c]", ()),
    "batch_split": (
        "BatchSplit(lora_a, lora_b, batch_sizes=[1, 3])",
        "BatchSplit(lora_a, lora_b, batch_sizes=[1, 3])",
        (),
    ),
    "split": ("Split(seq_a, seq_b, splits=[5, 6])", "deep_a", ()),
    "average": ("Average(seq_a, seq_b, weights=[0.3, 0.7])", None, ()),
    "average_not_normalized": ("Average(seq_a, seq_b, weights=[0.8, 1.5], normalize_weights=False)", None, ()),
    "named_fusion": ('Fuse(seq_a, seq_b, name="mixture")', "seq_a", ("seq_named",)),
    "single": ("Stack(flat_a)", "flat_a", ()),
}
#: Those that the reference saves but cannot run (`runs`) or cannot load again (`loads`).
_CANNOT_RUN = ("parallel",)
_CANNOT_LOAD = ("named_fusion",)


def _heads(text):
    if text is None or text.startswith("["):
        return text and [name.strip() for name in text[1:-1].split(",")]
    return pool.parse(text)


def _write(name):
    text, head_text, fusions = SETUPS[name]
    setup, heads = pool.parse(text), _heads(head_text)
    adapters = sorted(setup.flatten())
    if head_text == "deep_a":
        adapters.append("deep_a")
    bert = pool.with_adapters("tiny-a", adapters, fusions)
    folder = f"compositions/setups/tiny-a__{name}"
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    # Prefixes share memory, which safetensors refuse.
    bert.save_adapter_setup(folder, setup, head_setup=heads, use_safetensors=name != "single")
    if name in _CANNOT_RUN:
        return {}
    bert.set_active_adapters(setup)
    bert.active_head = heads if heads is not None else adapters[0]
    batch = inputs("tiny-a")
    with torch.no_grad():
        logits = evaluate(bert.eval(), batch)[0]
    write_golden(os.path.join(folder, "golden.safetensors"), dict(batch, **logits))
    if heads is None or name in _CANNOT_LOAD:
        return {}
    loaded = pool.fresh("tiny-a")
    loaded.load_adapter_setup(folder, set_active=True, use_safetensors=True)
    loaded.active_head = heads
    with torch.no_grad():
        again = evaluate(loaded.eval(), batch)[0]
    return {"reload": max((again[key] - value).abs().max().item() for key, value in logits.items())}


def _load(name):
    loaded = pool.fresh("tiny-a")
    loaded.load_adapter_setup(f"compositions/setups/tiny-a__{name}", set_active=True, use_safetensors=True)
    return {"setup": str(loaded.active_adapters.to_dict())}


def write(attempt, crashes, facts, problems):
    for name in SETUPS:
        attempt(f"setup {name}", False, lambda: _write(name), crashes, facts, problems)
    for name in _CANNOT_LOAD:
        key = f"load_adapter_setup {name}"
        attempt(key, True, lambda: _load(name), crashes, facts, problems)
        if key in crashes:
            crashes[key] = f"`load_adapter_setup` of `{SETUPS[name][0]}`: {crashes[key]}"
    attempt("setup reload average", False, lambda: _load("average_not_normalized"), crashes, facts, problems)
