"""What the golden scripts share for adapters whose head is read into a model with named heads."""

import os

from common import normal, write_golden

import adapters
import torch
from adapters import AutoAdapterModel
from adapters.methods.lora import LoRAMergedLinear


def draw(model, parts, *names):
    """Draws the parameters whose names contain one of these parts, for these names and their own."""
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if any(part in parameter_name for part in parts):
                parameter.copy_(normal(parameter.shape, *names, parameter_name, std=0.25))


def logits_of(result):
    """The logits of a head; those of question answering as two for each position."""
    if "start_logits" in result:
        return torch.stack([result.start_logits, result.end_logits], dim=-1)
    return result.logits


def logits(model, batch):
    if type(model).__name__.endswith("ForMultipleChoice"):
        # Hugging Face's own class takes the choices of a question as one row.
        batch = {name: tensor.unflatten(0, (-1, 2)) for name, tensor in batch.items()}
    model.eval()
    with torch.no_grad():
        return logits_of(model(**batch))


def write_static(model, config, parts, names, folder, base, batch, **options):
    """An adapter of Hugging Face's own class with a head (`adapters.init`), and its golden."""
    os.makedirs(folder, exist_ok=True)
    adapters.init(model)
    for module in model.modules():
        # The reference gives it a random bias, which the class with named heads sets to zero.
        if isinstance(module, LoRAMergedLinear) and module.bias is not None:
            torch.nn.init.zeros_(module.bias)
    model.add_adapter("static", config=config)
    draw(model, parts, *names)
    model.set_active_adapters("static")
    model.save_adapter(f"{folder}/adapter", "static", with_head=True)
    write_read(folder, base, batch, logits(model, batch), **options)


def write_read(folder, base, batch, expected, **options):
    """Has the reference read `adapter` of the folder into a model with named heads; its logits are the golden."""
    model = AutoAdapterModel.from_pretrained(base, **options)
    loaded = model.load_adapter(f"{folder}/adapter", set_active=True)
    assert loaded in model.heads, f"{folder}: the reference did not take the head"
    found = logits(model, batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    write_golden(f"{folder}/golden.safetensors", dict(batch, logits=found))
