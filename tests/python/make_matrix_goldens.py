"""Generates the goldens of every configuration on every model family: the folder `matrix` beside the other goldens.

    python tests/python/make_matrix_goldens.py --output target/goldens [--only t5]

Needs the folder `families` there, for its tiny models. BERT has its own, larger matrix (`make_goldens.py`).

The weights follow from a formula over their names, which the tests compute as well, so that a case is a configuration and a
few numbers: `matrix/FAMILY.json` has for each configuration

    adapter_config, head_config    what the reference saves; for some families adapter_interface, too
    tensors                        name → [shape, mean, spread, name of the parameter that it is]; or the values
    padding, attention             how the reference was run
    logits, loss                   what it computes
    after                          name → two sums over the parameter after one step of SGD, with signs from the formula

or, where the reference fails, `refused` with what it says. Everything is computed on the CPU in float32.
"""

import argparse
import copy
import json
import os
import re
import sys
import tempfile

from common import make_deterministic, mixed, orthogonal, sums, write_json

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

import interface
import reference
from cases import Case
from families import FAMILIES

LEARNING_RATE = 0.1
GATED = "use_gating=True"
#: Families in which the positions of a prompt attend to padding, which they do not here.
PROMPTS_SEE_PADDING = ("deberta", "deberta_v2")


def configurations(hidden):
    """The reference's table, and its further methods, small; for hidden states of this width."""
    prefix = "prefix_tuning[prefix_length=4,bottleneck_size=6"
    return {
        "seq_bn": "seq_bn[reduction_factor=4]",
        "double_seq_bn": "double_seq_bn[reduction_factor=4]",
        "par_bn": "par_bn[reduction_factor=4]",
        "scaled_par_bn": "scaled_par_bn[reduction_factor=4]",
        # The reference has a class for it (`AdapterPlusConfig`), but no name.
        "adapter_plus": "seq_bn[original_ln_after=False,original_ln_before=True,residual_before_ln=False,"
        "stochastic_depth=0.0,init_weights='houlsby',scaling='channel',reduction_factor=4,non_linearity='gelu']",
        "seq_bn_inv": "seq_bn_inv[reduction_factor=4]",
        "double_seq_bn_inv": "double_seq_bn_inv[reduction_factor=4]",
        "compacter": f"compacter[reduction_factor={hidden // 4}]",
        "compacter++": f"compacter++[reduction_factor={hidden // 4}]",
        "prefix_tuning": f"{prefix}]",
        "prefix_tuning_flat": "prefix_tuning_flat[prefix_length=4]",
        "prompt_tuning": "prompt_tuning[prompt_length=3]",
        "lora": "lora[r=2,alpha=3]",
        "lora_everywhere": "lora[r=2,alpha=3,attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
        "ia3": "ia3",
        "dora": "dora[r=2]",
        "vera": "vera[r=3]",
        "dvora": "dvora[r=3]",
        "mtl_lora": "mtl_lora[r=2]",
        "loreft": "loreft[r=2,dropout=0.0]",
        "noreft": "noreft[r=2,dropout=0.0]",
        "direft": "direft[r=2,dropout=0.0]",
        "mam": f"{prefix}]|par_bn[reduction_factor=4]",
        "unipelt": f"{prefix},{GATED}]|seq_bn[reduction_factor=4,{GATED}]|lora[r=2,alpha=3,{GATED}]",
    }


def formula(name, shape, salt, mean, spread):
    """The values of a parameter: uniform, `spread` around `mean`."""
    count = int(np.prod(shape))
    unit = (mixed(name, count, salt) >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0
    return torch.from_numpy((mean + spread * unit).astype(np.float32)).reshape(tuple(shape))


@torch.no_grad()
def fill(model, spread, salt):
    """Fills adapter and head by the formula; returns the mean and the spread of each parameter."""
    belongs = reference.is_adapter_or_head(model)
    norms = {f"{prefix}.weight" for prefix, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    drawn = {}
    for name, parameter in model.named_parameters():
        # An orthogonal projection is drawn below, and written as it is.
        if not belongs(name) or ".parametrizations." in name:
            continue
        leaf = name.rsplit(".", 1)[-1]
        around_one = name in norms or leaf == "scaling" or name.endswith(".m.weight") or (
            leaf == "lora_B" and parameter.dim() == 2 and parameter.shape[1] == 1
        )
        wide = leaf in ("W_left", "W_right", "W") or leaf.startswith(("phm_rule", "W_down", "W_up"))
        drawn[name] = (1.0, 0.25) if around_one else (0.0, 2 * spread if wide else spread)
        parameter.copy_(formula(name, parameter.shape, salt, *drawn[name]))
    for module in model.modules():
        if getattr(module, "orthogonal", False):
            base = module.projection.parametrizations.weight[0].base
            base.copy_(orthogonal(len(base), "basis", salt))
    return drawn


def described(folder, model, drawn, names):
    """The tensors of the saved files: from the formula where they are, otherwise by their values."""
    tensors = load_file(os.path.join(folder, "adapter.safetensors")) if os.path.exists(
        os.path.join(folder, "adapter.safetensors")
    ) else torch.load(os.path.join(folder, "pytorch_adapter.bin"), weights_only=True)
    head = load_file(os.path.join(folder, "model_head.safetensors"))
    parameters = dict(model.named_parameters())
    parameters |= {new: parameters[old] for old, new in names.items()}
    originals = {new: old for old, new in names.items()}
    drawn = drawn | {new: drawn[old] for old, new in names.items()}
    result = {}
    for file, saved in (("adapter", tensors), ("head", head)):
        result[file] = {}
        for name, tensor in sorted(saved.items()):
            same = lambda other: parameters[other].shape == tensor.shape and torch.equal(parameters[other], tensor)
            # First the parameter of that name: others may be empty or equal by chance.
            source = next((other for other in (name, *drawn) if other in drawn and same(other)), None)
            if source is None:
                result[file][name] = [list(tensor.shape), tensor.flatten().tolist()]
            else:
                mean, spread = drawn[source]
                source = originals.get(source, source)
                result[file][name] = [list(tensor.shape), mean, spread] + ([source] if source != name else [])
    return result


class Poor(Exception):
    """The numbers of a draw would make a poor golden."""


def attempt(family, classes, case, padding, attention, spread, salt):
    """One draw of weights."""
    torch.manual_seed(salt)
    batch = FAMILIES[family].batch(padding)
    model, head = reference.build("tiny", case, attention, classes)
    drawn = fill(model, spread, salt)
    labels = reference.labels_for(family, case, head["num_labels"])
    logits, loss = reference.evaluate(model, batch, labels)
    duplicate = lambda: interface.duplicate(model, classes, "models/tiny", case) if classes else copy.deepcopy(model)
    _, after, largest, still, frozen = reference.train_step(duplicate(), batch, labels)
    if logits.abs().max() > reference.LARGEST_LOGIT or largest > reference.LARGEST_GRADIENT:
        raise Poor("its logits or gradients are too large")
    wide_logits, wide_after = reference.in_double_precision(duplicate(), batch, labels)
    noise = max([(wide_logits - logits).abs().max().item()] + [(wide_after[n] - after[n]).abs().max().item() for n in after])
    if noise > reference.PRECISION:
        raise Poor("it rounds too much")
    model.set_active_adapters(None)
    if not classes:
        model.active_head = reference.NAME
    plain, _ = reference.evaluate(model, batch, labels)
    model.set_active_adapters(reference.NAME)
    if (plain - logits).abs().max() < 1e-3:
        raise Poor("it changes nothing")
    names = interface.head_names(model) if classes else {}
    with tempfile.TemporaryDirectory() as folder:
        reference.save(model, folder)
        read = lambda name: json.load(open(os.path.join(folder, name), encoding="utf-8"))
        tensors = described(folder, model, drawn, names)
        return {
            "config": case.config,
            "adapter_config": read("adapter_config.json"),
            "head_config": read("head_config.json"),
            **({"adapter_interface": read("adapter_interface.json")} if classes else {}),
            "tensors": tensors,
            "salt": salt,
            "padding": padding,
            "attention": attention,
            "labels": labels.tolist(),
            "logits": [round(value, 6) for value in logits.flatten().tolist()],
            "loss": round(loss.item(), 6),
            "after": {names.get(name, name): [round(v, 6) for v in sums(names.get(name, name), value)] for name, value in after.items()},
            "still": sorted(names.get(name, name) for name in still),
        }


def run(family, classes, name, config):
    """A case, with the first way in which the reference runs it; or why it does not."""
    case = Case(name, name, config)
    ways = [(True, "eager"), (False, "eager"), (False, "sdpa")] if "prompt" in name else [(True, "eager")]
    if family in PROMPTS_SEE_PADDING:
        ways = [way for way in ways if way != (True, "eager")] if "prompt" in name else ways
    reason = None
    for padding, attention in ways:
        for index in range(12):
            try:
                return attempt(family, classes, case, padding, attention, 0.5 / 2 ** (index // 4), index % 4)
            except Poor as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - whatever the reference raises is the fact of interest
                message = str(error).strip().splitlines()[0] if str(error) else ""
                reason = re.sub(r" at 0x[0-9a-f]+|'[A-Za-z]+Config\\(.*\\)'", "", f"{type(error).__name__}: {message}")
                break
    return {"config": config, "refused": reason}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `matrix/` is replaced")
    parser.add_argument("--only", nargs="+", metavar="FAMILY", choices=FAMILIES, help="only these families")
    arguments = parser.parse_args()
    matrix = os.path.abspath(os.path.join(arguments.output, "matrix"))
    families = os.path.abspath(os.path.join(arguments.output, "families"))
    os.makedirs(matrix, exist_ok=True)
    make_deterministic()
    for family in arguments.only or FAMILIES:
        # A relative path is the same everywhere.
        os.chdir(os.path.join(families, family))
        classes = FAMILIES[family].builder()
        with open("models/tiny/config.json", encoding="utf-8") as file:
            config = json.load(file)
        hidden = next(config[key] for key in ("hidden_size", "d_model", "n_embd", "dim") if key in config)
        results = {name: run(family, classes, name, text) for name, text in configurations(hidden).items()}
        write_json(os.path.join(matrix, f"{family}.json"), results)
        refused = {name: result["refused"] for name, result in results.items() if "refused" in result}
        print(f"{family}: {len(results) - len(refused)} configurations, refused: {json.dumps(refused, indent=1)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
