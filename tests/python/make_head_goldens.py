"""Generates the goldens of heads that read every position: `heads/` beside the other goldens.

    python tests/python/make_head_goldens.py --output target/goldens

Needs `models/`, which `make_goldens.py` writes. A case is what it is there: an adapter, a head, a batch with labels (-100
for tokens that are not learned), the logits with and without the adapter, the loss, and every parameter after one step of
SGD. `static_bert_tokens` is an adapter of `BertForTokenClassification` with its head (`adapters.init`). Everything is
computed on the CPU in float32 with every dropout at zero. Two runs write the same bytes.
"""

import argparse
import os
import shutil
import sys

from common import folder_size, make_deterministic, write_json

from transformers import BertForTokenClassification

import models
import reference
from cases import Case
from static import write_static

LORA = "lora[r=2,attn_matrices=['v'],leave_out=[0]]"
TAGS = {0: "B-LOC", 1: "B-PER", 2: "I-PER", 3: "O"}
CASES = [
    Case("tagging", "tagging", LORA, dict(tagging=True, layers=1, num_labels=4, id2label=TAGS)),
    Case("tagging_layers2", "tagging", LORA, dict(tagging=True, layers=2, activation_function="relu"), models=("tiny-a",)),
    Case("tagging_prefix", "tagging", "prefix_tuning_flat[prefix_length=3]", dict(tagging=True), models=("tiny-a",)),
    Case("tagging_prompt", "tagging", "prompt_tuning[prompt_length=4]", dict(tagging=True), models=("tiny-a",)),
    Case(
        "tagging_prompt_after_bos",
        "tagging",
        "prompt_tuning[prompt_length=4,combine='prefix_after_bos']",
        dict(tagging=True),
        models=("tiny-b",),
    ),
]


def write_tokens(name):
    labels = {label: index for index, label in TAGS.items()}
    model = BertForTokenClassification.from_pretrained("models/tiny-a", label2id=labels, id2label=TAGS)
    config, parts = "seq_bn[reduction_factor=8]", [".adapters.", "classifier."]
    write_static(model, config, parts, [name], f"heads/{name}", "models/tiny-a", models.inputs("tiny-a"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `heads/` is replaced")
    # The reference writes the base model's path into its files: a relative one is the same everywhere.
    os.chdir(parser.parse_args().output)
    shutil.rmtree("heads", ignore_errors=True)
    os.makedirs("heads")
    make_deterministic()
    index = []
    for case in CASES:
        for model in case.models:
            folder = f"{model}__{case.name}"
            reference.run(model, case, os.path.join("heads", folder))
            index.append({"folder": folder, "method": case.method, "model": model, "config": case.config})
    write_json("heads/index.json", index)
    write_tokens("static_bert_tokens")
    print(f"{len(index) + 1} cases, {folder_size('heads') / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
