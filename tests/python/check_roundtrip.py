"""The other direction: loads what the Rust program wrote into the reference and compares logits.

    python tests/python/check_roundtrip.py DIRECTORY

Every subfolder holds

    model.txt             the path of a Hugging Face folder with the base model (relative paths: to the subfolder)
    attention.txt         (optional) the implementation of attention, where the reference fails with `eager`
    adapter/              adapter_config.json and adapter.safetensors; the head's files too, if they are not in head/
    head/                 (optional) head_config.json and model_head.safetensors
    expected.safetensors  input_ids, attention_mask, perhaps token_type_ids, and logits (with a head) or last_hidden_state

A case passes if the reference loads every tensor of the files and misses none, if the adapter makes a difference,
and if the numbers agree to 1e-4. Prints a table; exits with 1 if any case fails, or if there is none.
"""

import argparse
import json
import os
import sys

from common import make_deterministic  # first: it sets what the libraries read when imported

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, EncoderDecoderModel
from transformers.utils import logging as transformers_logging

import adapters
from adapters import AutoAdapterModel
from adapters.loading import AdapterLoader, PredictionHeadLoader

import interface
from families import FAMILIES  # it adds heads to classes that list none

TOLERANCE = 1e-4
#: An adapter that changes the outputs by less than this may as well not be there.
SMALLEST_EFFECT = 1e-3
#: Where the reference registers prefixes a second time, in every layer: the same tensors, which a file need not repeat.
POOL = ".prefix_tuning.pool."
ADAPTER = ("adapter.safetensors", "pytorch_adapter.bin")
HEAD = ("model_head.safetensors", "pytorch_model_head.bin")


class Failure(Exception):
    """Why a case fails, in a line."""


def read_line(folder, name, default=None):
    """The line in a file, or the default if there is one and no file."""
    path = os.path.join(folder, name)
    if default is not None and not os.path.isfile(path):
        return default
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def read_weights(folder, names):
    """The tensors of the first of the named files that is there, or `None`."""
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            if name.endswith(".safetensors"):
                return load_file(path)
            return torch.load(path, map_location="cpu", weights_only=True)
    return None


def compare_weights(kind, written, model, belongs):
    """Fails unless the model holds exactly the tensors written, value for value; a file need not repeat the prefixes."""
    held = {name: value for name, value in model.state_dict().items() if belongs(name)}
    # A file may leave out the prefix that all of them share (`bert.`). Those of a pair share none.
    prefix = model.base_model_prefix + "."
    shares = kind == "adapter" and all(name.startswith(prefix) for name in held)
    if shares and not any(name.startswith(prefix) for name in written):
        written = {prefix + name: value for name, value in written.items()}
    if missing := sorted(name for name in held.keys() - written.keys() if POOL not in name):
        raise Failure(f"{kind}: {len(missing)} tensors missing, such as {missing[0]}")
    if extra := sorted(written.keys() - held.keys()):
        raise Failure(f"{kind}: {len(extra)} unknown tensors, such as {extra[0]}")
    for name, value in written.items():
        if not torch.equal(value.to(held[name].dtype), held[name]):
            raise Failure(f"{kind}: {name} was not loaded")


def outputs(model, batch, has_head):
    with torch.no_grad():
        result = model(**batch)
    return result.logits if has_head else result.last_hidden_state


def check(folder):
    """Checks one subfolder. Returns the largest difference and the adapter's effect."""
    base = os.path.join(folder, read_line(folder, "model.txt"))
    if not os.path.isdir(base):
        raise Failure(f"model.txt: no folder {base}")
    expected = load_file(os.path.join(folder, "expected.safetensors"))
    inputs = ("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids")
    batch = {name: expected[name] for name in inputs if name in expected}

    adapter_folder = os.path.join(folder, "adapter")
    head_folder = os.path.join(folder, "head")
    head_folder = head_folder if os.path.isdir(head_folder) else adapter_folder
    adapter_weights = read_weights(adapter_folder, ADAPTER)
    if adapter_weights is None:
        raise Failure("adapter/: no weights")
    head_weights = read_weights(head_folder, HEAD)
    has_head = head_weights is not None
    if head_folder != adapter_folder and not has_head:
        raise Failure("head/: no weights")

    attention = read_line(folder, "attention.txt", "eager")
    model_type = AutoConfig.from_pretrained(base).model_type
    is_pair = model_type == "encoder-decoder"
    family = FAMILIES.get(model_type)
    has_named_heads = not is_pair and (family is None or not family.interface)
    if is_pair:
        model = EncoderDecoderModel.from_pretrained(base, attn_implementation=attention).eval()
        adapters.init(model)
    elif has_named_heads:
        model = AutoAdapterModel.from_pretrained(base, attn_implementation=attention).eval()
    else:
        model = interface.load(family.builder(), base, attention)
    info = {}
    together = has_head and head_folder == adapter_folder and has_named_heads
    name = model.load_adapter(adapter_folder, with_head=together, use_safetensors=True, loading_info=info)
    head_name = name
    if has_head and not has_named_heads:
        interface.load_head(model, head_weights)
    elif has_head and not together:
        _, head_name = model.load_head(head_folder, use_safetensors=True, loading_info=info)
    for kind in ("missing_keys", "unexpected_keys"):
        if keys := [key for key in info.get(kind) or [] if POOL not in key]:
            raise Failure(f"the reference reports {kind.replace('_', ' ')}, such as {keys[0]}")
    compare_weights("adapter", adapter_weights, model, AdapterLoader(model).filter_func(name))
    if has_head and has_named_heads:
        if head_name not in model.heads:
            raise Failure("the reference did not take the head")
        compare_weights("head", head_weights, model, PredictionHeadLoader(model).filter_func(head_name))

    model.eval()
    model.set_active_adapters(None)
    has_logits = has_head or is_pair
    if not is_pair:
        model.active_head = head_name if has_head else None
    plain = outputs(model, batch, has_logits)
    model.set_active_adapters(name)
    if not is_pair:
        model.active_head = head_name if has_head else None
    actual = outputs(model, batch, has_logits)

    key = "logits" if has_logits else "last_hidden_state"
    if key not in expected:
        raise Failure(f"expected.safetensors: no `{key}`")
    if expected[key].shape != actual.shape:
        raise Failure(f"{key}: shape {list(expected[key].shape)}, the reference has {list(actual.shape)}")
    difference = (expected[key] - actual).abs().max().item()
    if plain.shape == actual.shape:
        effect = (plain - actual).abs().max().item()
    else:
        effect = float("inf")  # a prompt lengthens the sequence
    if effect < SMALLEST_EFFECT:
        raise Failure(f"the adapter changes {key} by {effect:.1e} only: give it weights that matter")
    if not difference <= TOLERANCE:  # also if it is NaN
        raise Failure(f"{key} differ by {difference:.2e}")
    return difference, effect


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="the folder whose subfolders are the cases")
    directory = parser.parse_args().directory
    transformers_logging.set_verbosity_error()
    make_deterministic()

    cases = sorted(entry.path for entry in os.scandir(directory) if entry.is_dir())
    failures = 0
    width = max([4] + [len(os.path.basename(case)) for case in cases])
    print(f"{'case':<{width}}  {'result':<6}  {'difference':>10}  {'effect':>8}")
    for case in cases:
        name = os.path.basename(case)
        try:
            difference, effect = check(case)
            print(f"{name:<{width}}  {'ok':<6}  {difference:>10.1e}  {effect:>8.1e}")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this case and not the others
            failures += 1
            reason = error if isinstance(error, Failure) else f"{type(error).__name__}: {error}"
            print(f"{name:<{width}}  {'FAILED':<6}  {' '.join(str(reason).split())}")
    print(f"{len(cases) - failures} of {len(cases)} cases agree to {TOLERANCE:.0e}")
    return 1 if failures or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
