"""Generates the goldens of folders that are unlike today's: `folders/` beside the other goldens.

    python tests/python/make_folder_goldens.py --output target/goldens

Needs `models/`, which `make_goldens.py` writes. `static_*` are adapters of Hugging Face's own classes with heads
(`adapters.init`), `v1_task` is a task adapter as version 1 wrote it, whose configuration names an invertible adapter
that it never saved. Each folder holds a batch and the logits that the reference computes with it after it has read the
folder into a model with named heads. Everything is computed on the CPU in float32. Two runs write the same bytes.
"""

import argparse
import json
import os
import shutil
import sys

from common import folder_size, generator, make_deterministic, normal

import torch
import transformers
from adapters import AutoAdapterModel

import models
from static import draw, logits, write_read, write_static

STATIC = {
    "static_bert": "Bert",
    "static_roberta": "Roberta",
    "static_electra": "Electra",
}
LABELS = {"bad": 0, "fine": 1, "good": 2}


def randomize(model, name):
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            mean = 1.0 if parameter_name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(normal(parameter.shape, name, parameter_name, mean=mean, std=0.25))


def base(name, family):
    """The folder of a base model, and a batch for it."""
    if family == "Bert":
        return "models/tiny-a", models.inputs("tiny-a")
    config = dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=80,
        max_position_embeddings=40,
        type_vocab_size=2,
        hidden_act="gelu",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    if family == "Electra":
        config["embedding_size"] = 32
    model = getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")(**config)).eval()
    randomize(model, name)
    folder = f"folders/{name}/model"
    model.save_pretrained(folder)
    ids = torch.from_numpy(generator(name, "input_ids").integers(3, 80, size=(4, 11)))
    mask = models.inputs("tiny-a")["attention_mask"]
    mask[2] = torch.tensor([1] * 6 + [0] * 5)
    pad = model.config.pad_token_id
    return folder, {"input_ids": ids * mask + pad * (1 - mask), "attention_mask": mask}


def write_head_of_class(name, family):
    folder, batch = base(name, family)
    model_class = getattr(transformers, f"{family}ForSequenceClassification")
    model = model_class.from_pretrained(
        folder, label2id=LABELS, id2label={index: label for label, index in LABELS.items()}
    )
    config, parts = "seq_bn[reduction_factor=4]", [".adapters.", "classifier."]
    write_static(model, config, parts, [name], f"folders/{name}", folder, batch)


def write_v1(name):
    os.makedirs(f"folders/{name}")
    folder, batch = "models/tiny-a", models.inputs("tiny-a")
    model = AutoAdapterModel.from_pretrained(folder)
    model.add_adapter("task", config="seq_bn[reduction_factor=4]")
    model.add_classification_head("task", num_labels=3, id2label={index: label for label, index in LABELS.items()})
    draw(model, [".adapters.", "heads."], name)
    model.set_active_adapters("task")
    expected = logits(model, batch)
    target = f"folders/{name}/adapter"
    model.save_adapter(target, "task", with_head=True, use_safetensors=False)
    # What the library of 2020 called the module, and what it wrote of it.
    weights = torch.load(f"{target}/pytorch_adapter.bin")
    weights = {key.replace(".adapters.", ".layer_text_task_adapters."): value for key, value in weights.items()}
    torch.save(weights, f"{target}/pytorch_adapter.bin")
    config = {
        "config": {
            "adapter_residual_before_ln": False,
            "attention_type": "sent-lvl-dynamic",
            "invertible_adapter": {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2},
            "ln_after": False,
            "ln_before": False,
            "mh_adapter": False,
            "new_attention_norm": False,
            "non_linearity": "relu",
            "original_ln_after": True,
            "original_ln_before": True,
            "output_adapter": True,
            "reduction_factor": 4,
            "residual_before_ln": True,
        },
        "hidden_size": 32,
        "model_class": "BertModelWithHeads",
        "model_name": folder,
        "model_type": "bert",
        "name": "task",
        "type": "text_task",
        "version": "1.0.0",
    }
    with open(f"{target}/adapter_config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    write_read(f"folders/{name}", folder, batch, expected)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `folders/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    # The reference writes the base model's path into its files: a relative one is the same everywhere.
    os.chdir(output)
    shutil.rmtree("folders", ignore_errors=True)
    for name, family in STATIC.items():
        write_head_of_class(name, family)
    write_v1("v1_task")
    print(f"{len(STATIC) + 1} folders, {folder_size('folders') / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
