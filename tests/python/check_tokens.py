"""Compares the ids that the Rust program gave texts with those of the reference's tokenizer.

    python tests/python/check_tokens.py DIRECTORY

The folder has `ids.jsonl`, a text with its ids on each line, and `model.txt` with the path of a GGUF file. The tokenizer is built
from the file by the library `tokenizers` (see smollm2.py). Prints the texts whose ids differ; exits with 1 if there are any, or if
there are no texts.
"""

import argparse
import json
import sys

import gguf
from smollm2 import make_tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="the folder of the ids")
    directory = parser.parse_args().directory
    with open(f"{directory}/model.txt", encoding="utf-8") as file:
        reader = gguf.GGUFReader(file.read().strip())
    tokenizer = make_tokenizer({name: field.contents() for name, field in reader.fields.items()})
    with open(f"{directory}/ids.jsonl", encoding="utf-8") as file:
        cases = [json.loads(line) for line in file]
    failures = 0
    for case in cases:
        expected = tokenizer.encode(case["text"], add_special_tokens=False)
        if expected != case["ids"]:
            failures += 1
            print(f"FAILED {case['text']!r}: {case['ids']}, expected {expected}")
    tokens = sum(len(case["ids"]) for case in cases)
    print(f"{len(cases) - failures} of {len(cases)} texts agree ({tokens} tokens)")
    return 1 if failures or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
