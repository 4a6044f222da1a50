"""Generates the goldens of heads with a form of their own: `heads/` beside the other goldens.

    python tests/python/make_head_goldens.py --output target/goldens

Needs `models/`, which `make_goldens.py` writes. A case is what it is there: an adapter, a head, a batch with labels (-100
for tokens that are not learned), the logits with and without the adapter, the loss, and every parameter after one step of
SGD. For question answering the labels are the positions that begin and end the answer, and logits are two for each
position; in multiple choice, two neighboring rows are the choices of a question. `static_bert_*` is an adapter of
Hugging Face's own class with its head (`adapters.init`). Everything is computed on the CPU in float32 with every dropout
at zero. Two runs write the same bytes.
"""

import argparse
import os
import shutil
import sys

from common import folder_size, make_deterministic, write_json

from transformers import BertForMultipleChoice, BertForQuestionAnswering, BertForTokenClassification

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
    Case("answers", "question_answering", LORA, dict(question_answering=True, num_labels=2)),
    Case(
        "answers_layers2",
        "question_answering",
        LORA,
        dict(question_answering=True, num_labels=2, layers=2, activation_function="relu"),
        models=("tiny-a",),
    ),
    Case(
        "answers_prefix",
        "question_answering",
        "prefix_tuning_flat[prefix_length=3]",
        dict(question_answering=True, num_labels=2),
        models=("tiny-a",),
    ),
    Case("choices", "multiple_choice", LORA, dict(multiple_choice=True, num_choices=2, layers=2)),
    Case(
        "choices_pooler",
        "multiple_choice",
        LORA,
        dict(multiple_choice=True, num_choices=4, layers=1, use_pooler=True),
        models=("tiny-a",),
    ),
]


def write_own_class(name, own_class, head, **options):
    model = own_class.from_pretrained("models/tiny-a", **options)
    config, parts = "seq_bn[reduction_factor=8]", [".adapters.", head]
    write_static(model, config, parts, [name], f"heads/{name}", "models/tiny-a", models.inputs("tiny-a"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `heads/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    # The reference writes the base model's path into its files: a relative one is the same everywhere.
    os.chdir(output)
    shutil.rmtree("heads", ignore_errors=True)
    os.makedirs("heads")
    index = []
    for case in CASES:
        for model in case.models:
            folder = f"{model}__{case.name}"
            reference.run(model, case, os.path.join("heads", folder))
            index.append({"folder": folder, "method": case.method, "model": model, "config": case.config})
    write_json("heads/index.json", index)
    labels = {label: index for index, label in TAGS.items()}
    write_own_class("static_bert_tokens", BertForTokenClassification, "classifier.", label2id=labels, id2label=TAGS)
    write_own_class("static_bert_answers", BertForQuestionAnswering, "qa_outputs.")
    write_own_class("static_bert_choices", BertForMultipleChoice, "classifier.")
    print(f"{len(index) + 3} cases, {folder_size('heads') / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
