"""Loads what the Rust program wrote for mlx-lm into mlx-lm and compares hidden states.

    python tests/python/check_mlx.py DIRECTORY

Every subfolder holds an adapter of mlx-lm, `model.txt` with the path of its model, and `golden.safetensors` with the inputs and the
hidden states that PEFT computed with the adapter. Needs the packages of requirements_mlx.txt, which run on the CPU. Prints a table;
exits with 1 if a case fails, or if there is none.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model

TOLERANCE = 1e-4


def language_model(place, folder):
    """The base model in a folder as mlx-lm reads it: as a language model whose output layer is the word embeddings."""
    weights = mx.load(f"{place}/model.safetensors")
    weights = {name if name.startswith("model.") else f"model.{name}": weight for name, weight in weights.items()}
    mx.save_safetensors(f"{folder}/model.safetensors", {name: weights[name] for name in weights if name != "lm_head.weight"})
    with open(f"{place}/config.json", encoding="utf-8") as file:
        config = json.load(file) | {"tie_word_embeddings": True}
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    return load_model(Path(folder), lazy=False)[0]


def check(folder):
    """The largest differences of the hidden states, with the adapter and without it."""
    place = Path(folder, "model.txt").read_text(encoding="utf-8").strip()
    golden = mx.load(f"{folder}/golden.safetensors")
    with tempfile.TemporaryDirectory() as temporary:
        model = language_model(place, temporary)

    def difference():
        return mx.abs(model.model(golden["input_ids"]) - golden["hidden"]).max().item()

    plain = difference()
    load_adapters(model, folder)
    model.eval()
    return difference(), plain


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="the folder whose subfolders are the cases")
    directory = parser.parse_args().directory
    mx.set_default_device(mx.cpu)
    cases = sorted(entry.path for entry in os.scandir(directory) if entry.is_dir())
    failures = 0
    for case in cases:
        name = os.path.basename(case)
        try:
            difference, plain = check(case)
            agrees = difference <= TOLERANCE < plain
            failures += not agrees
            print(f"{name:<20} {'ok' if agrees else 'FAILED':<6} {difference:.1e} (without the adapter {plain:.1e})")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this case and not the others
            failures += 1
            print(f"{name:<20} FAILED {type(error).__name__}: {' '.join(str(error).split())}")
    print(f"{len(cases) - failures} of {len(cases)} cases agree to {TOLERANCE:.0e}")
    return 1 if failures or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
