"""`check_roundtrip.py` has to pass what the reference itself saved, and to fail everything else.

    python -m pytest tests/python

It unpacks the goldens in `tests/goldens`.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

import pytest
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
UNPACKED = tempfile.TemporaryDirectory()
GOLDENS = UNPACKED.name
for archive in ("models", "cases", "distilbert"):
    with tarfile.open(os.path.join(os.path.dirname(HERE), "goldens", f"{archive}.tar.xz")) as file:
        file.extractall(GOLDENS, filter="data")
CASES = [
    "tiny-a__seq_bn",
    "tiny-b__lora",
    "tiny-a__mam",
    "tiny-a__prompt_tuning",
    "tiny-a__seq_bn_ln_both",
    "tiny-b__head_pooler",
    "distilbert/lora_all",
    "distilbert/mam",
    "distilbert/prompt_tuning",
]


def prepare(directory, case, head_apart=False):
    """A subfolder as the Rust program writes it, made of a golden."""
    family, _, case = case.rpartition("/")
    root = os.path.join(GOLDENS, "families", family) if family else GOLDENS
    source = os.path.join(root, "cases", case)
    folder = os.path.join(directory, f"{family}{case}")
    os.makedirs(os.path.join(folder, "adapter"))
    for name in ("adapter_config.json", "adapter.safetensors", "pytorch_adapter.bin"):
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), os.path.join(folder, "adapter"))
    head = os.path.join(folder, "head" if head_apart else "adapter")
    os.makedirs(head, exist_ok=True)
    for name in ("head_config.json", "model_head.safetensors"):
        shutil.copy(os.path.join(source, name), head)
    golden = load_file(os.path.join(source, "golden.safetensors"))
    names = ("input_ids", "attention_mask", "token_type_ids", "logits")
    expected = {name: golden[name] for name in names if name in golden}
    save_file(expected, os.path.join(folder, "expected.safetensors"))
    with open(os.path.join(source, "case.json")) as file:
        about = json.load(file)
    with open(os.path.join(folder, "model.txt"), "w") as file:
        file.write(os.path.join(root, "models", about["model"]) + "\n")
    if "attention" in about:
        with open(os.path.join(folder, "attention.txt"), "w") as file:
            file.write(about["attention"] + "\n")
    return folder


def check(directory):
    done = subprocess.run(
        [sys.executable, os.path.join(HERE, "check_roundtrip.py"), str(directory)], capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def change(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def test_what_the_reference_saved_passes(tmp_path):
    for case in CASES:
        prepare(tmp_path, case, head_apart=case.endswith("lora"))
    code, output = check(tmp_path)
    assert code == 0, output
    assert f"{len(CASES)} of {len(CASES)}" in output


def test_an_empty_directory_fails(tmp_path):
    assert check(tmp_path)[0] == 1


def wrong_logits(folder):
    change(f"{folder}/expected.safetensors", lambda tensors: tensors["logits"][0].add_(2e-4))


def missing_tensor(folder):
    change(f"{folder}/adapter/adapter.safetensors", lambda tensors: tensors.pop(sorted(tensors)[0]))


def renamed_tensor(folder):
    def edit(tensors):
        name = sorted(tensors)[0]
        tensors[name.replace(".task.", ".tusk.")] = tensors.pop(name)

    change(f"{folder}/adapter/adapter.safetensors", edit)


def wrong_shape(folder):
    def edit(tensors):
        name = next(name for name in sorted(tensors) if name.endswith("adapter_up.weight"))
        tensors[name] = tensors[name].T.contiguous()

    change(f"{folder}/adapter/adapter.safetensors", edit)


def adapter_without_effect(folder):
    def edit(tensors):
        for name, tensor in tensors.items():
            if ".adapter_up." in name:
                tensor.zero_()

    change(f"{folder}/adapter/adapter.safetensors", edit)


def no_weights(folder):
    os.remove(f"{folder}/adapter/adapter.safetensors")


def head_of_another_model(folder):
    path = f"{folder}/adapter/head_config.json"
    with open(path) as file:
        config = json.load(file)
    config["model_class"] = "RobertaAdapterModel"
    with open(path, "w") as file:
        json.dump(config, file)


def other_configuration(folder):
    path = f"{folder}/adapter/adapter_config.json"
    with open(path) as file:
        config = json.load(file)
    config["config"]["non_linearity"] = "tanh"
    with open(path, "w") as file:
        json.dump(config, file)


@pytest.mark.parametrize(
    "harm",
    [
        wrong_logits,
        missing_tensor,
        renamed_tensor,
        wrong_shape,
        adapter_without_effect,
        no_weights,
        head_of_another_model,
        other_configuration,
    ],
    ids=lambda harm: harm.__name__,
)
def test_harm_is_noticed(tmp_path, harm):
    harm(prepare(tmp_path, "tiny-a__seq_bn"))
    code, output = check(tmp_path)
    assert code == 1, output
    assert "FAILED" in output
