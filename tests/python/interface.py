"""Families that the reference supports through its plug-in interface.

It has no class with named heads for them: adapters are added to Hugging Face's own class (`adapters.init`). So that their
cases read like all others, its head is one linear layer, saved as a named head would be.
"""

import copy
import os

from common import normal, write_golden, write_json, write_tensors

import adapters
import torch
import transformers
from adapters import AdapterConfig
from adapters.loading import AdapterLoader
from torch import nn

from static import logits

NAME = "task"


def base_prefix(model):
    """What the names of the base model's parameters start with."""
    names = [name for name, child in model.named_children() if child is model.base_model]
    # Hugging Face's class of Gemma 3 calls its base model otherwise than it is called.
    return (names[0] if names else "model") + "."


def initialize(model):
    """Adds the reference's hooks; the random bias that it gives to fused matrices without one is made zero."""
    adapters.init(model)
    return model


@torch.no_grad()
def without_new_biases(model):
    for name, parameter in model.named_parameters():
        if name.endswith("Wqkv.bias"):
            parameter.zero_()
            parameter.requires_grad_(False)
    return model


def load(classes, folder, attention="eager"):
    """The class of texts with a base model from a folder, and a head of one layer."""
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=3)
    config.reference_compile = False
    torch.manual_seed(0)
    model_class = getattr(transformers, f"{classes}ForSequenceClassification")
    model = model_class.from_pretrained(folder, config=config, attn_implementation=attention).eval()
    if isinstance(getattr(model, "head", None), nn.Module):
        model.head = nn.Identity()
    return without_new_biases(initialize(model)).eval()


def build(classes, folder, case, attention):
    """As `reference.build`."""
    model = load(classes, folder, attention)
    model.add_adapter(NAME, AdapterConfig.load(case.config))
    model.set_active_adapters(NAME)
    return model.eval(), {"num_labels": 3, "layers": 1}


def belongs_to_head(model):
    prefix = base_prefix(model)
    return lambda name: not name.startswith(prefix)


def head_names(model):
    """The parameters of the head, by the names that a named head has."""
    belongs = belongs_to_head(model)
    names = {name: f"heads.{NAME}.1.{name.rsplit('.', 1)[-1]}" for name, _ in model.named_parameters() if belongs(name)}
    assert 1 <= len(names) <= 2, names
    return names


def belongs(model):
    """Which names of the state dict belong to the adapter or the head."""
    adapter, head = AdapterLoader(model).filter_func(NAME), belongs_to_head(model)
    return lambda name: adapter(name) or head(name)


def duplicate(model, classes, folder, case, attention="eager"):
    """Another model with the same weights. (The reference's hooks of a copy would call the modules of the original.)"""
    other, _ = build(classes, folder, case, attention)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    return other.eval()


def save_head(model, folder):
    """Saves the head as a named one."""
    names = head_names(model)
    state = model.state_dict()
    write_tensors(os.path.join(folder, "model_head.safetensors"), {new: state[name] for name, new in names.items()})
    config = {
        "activation_function": None,
        "bias": len(names) == 2,
        "dropout_prob": 0.0,
        "head_type": "classification",
        "label2id": {f"LABEL_{index}": index for index in range(3)},
        "layers": 1,
        "num_labels": 3,
        "use_pooler": False,
    }
    write_json(
        os.path.join(folder, "head_config.json"),
        {
            "config": config,
            "hidden_size": model.config.hidden_size,
            "model_class": type(model).__name__,
            "model_name": model.config.name_or_path,
            "model_type": model.config.model_type,
            "name": NAME,
            "version": f"adapters.{adapters.__version__}",
        },
    )


def load_head(model, tensors):
    """Puts the tensors of a named head into the model's own."""
    names = head_names(model)
    assert sorted(tensors) == sorted(names.values()), sorted(tensors)
    model.load_state_dict({name: tensors[new] for name, new in names.items()}, strict=False)


def write_static(name, family, folder="static", of="SequenceClassification", base="models/tiny"):
    """An adapter of Hugging Face's own class, saved with its head, and the logits."""
    labels = dict(label2id=family.labels, id2label={index: label for label, index in family.labels.items()})
    if of == "QuestionAnswering":
        labels = dict(num_labels=2)
    config = transformers.AutoConfig.from_pretrained(base, **labels)
    model_class = getattr(transformers, f"{family.builder()}For{of}")
    model = model_class.from_pretrained(base, config=config, attn_implementation="eager")
    without_new_biases(initialize(model))
    model.add_adapter("static", config="seq_bn[reduction_factor=4]")
    belongs = belongs_to_head(model)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if ".adapters." in parameter_name or belongs(parameter_name):
                parameter.copy_(normal(parameter.shape, name, folder, parameter_name, std=0.25))
    model.set_active_adapters("static")
    os.makedirs(folder, exist_ok=True)
    model.save_adapter(f"{folder}/adapter", "static", with_head=True)
    batch = family.batch()
    write_golden(f"{folder}/golden.safetensors", dict(batch, logits=logits(model, batch)))
