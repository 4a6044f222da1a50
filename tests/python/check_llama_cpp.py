"""Runs what the Rust program wrote for llama.cpp in llama.cpp, and compares logits.

    python tests/python/check_llama_cpp.py DIRECTORY

Every subfolder holds `base.gguf` (f32), `adapter.gguf` (LoRA), `merged.gguf`, and `case.json` with ids of tokens and the logits of
our program without and with the adapter. llama.cpp comes from an npm package (see llama_cpp_library.py). Prints a table; exits
with 1 if a case fails, or if there is none.
"""

import argparse
import json
import os
import sys

from llama_cpp_library import LlamaCpp

#: llama.cpp's keys and values are f16.
TOLERANCE = 0.05


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="the folder whose subfolders are the cases")
    directory = parser.parse_args().directory
    llama_cpp = LlamaCpp()
    failures = total = 0
    for folder in sorted(entry.path for entry in os.scandir(directory) if entry.is_dir()):
        with open(f"{folder}/case.json", encoding="utf-8") as file:
            case = json.load(file)
        for what, model, adapter in [("plain", "base", None), ("adapted", "base", "adapter"), ("adapted", "merged", None)]:
            total += 1
            name = f"{os.path.basename(folder)}: {model}{' + ' + adapter if adapter else ''}"
            try:
                adapter = adapter and f"{folder}/{adapter}.gguf"
                found = llama_cpp.last_logits(f"{folder}/{model}.gguf", case["ids"], adapter)
                expected = case[what][-len(found) :]
                difference = max(abs(a - b) for a, b in zip(found, expected, strict=True))
                failures += not difference <= TOLERANCE
                print(f"{name:<24} {'ok' if difference <= TOLERANCE else 'FAILED':<6} {difference:.1e}")
            except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this case and not the others
                failures += 1
                print(f"{name:<24} FAILED {type(error).__name__}: {error}")
    print(f"{total - failures} of {total} agree to {TOLERANCE}")
    return 1 if failures or not total else 0


if __name__ == "__main__":
    sys.exit(main())
