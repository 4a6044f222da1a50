"""Generates the goldens of PEFT's folders: `peft/` beside the other goldens.

    python tests/python/make_peft_goldens.py --output target/goldens

Needs the folders `models` and `families` there, for their tiny models. Of each case there is the folder as PEFT saves it, and
the hidden states of the model with it. Everything is computed on the CPU in float32. Two runs write the same bytes.
"""

import argparse
import json
import os
import shutil

from common import folder_size, generator, make_deterministic, normal, write_golden, write_json

import torch
import transformers
from peft import IA3Config, LoraConfig, get_peft_model

#: The model's folder, the class that it is loaded with, and the configuration.
CASES = {
    "llama": ("families/llama", "AutoModel", dict(target_modules=["q_proj", "v_proj"])),
    "llama_causal": ("families/llama", "AutoModelForCausalLM", dict(target_modules=["q_proj", "k_proj", "up_proj", "down_proj"], r=3, lora_alpha=7)),
    "llama_stabilized": ("families/llama", "AutoModel", dict(target_modules=["q_proj", "v_proj"], use_rslora=True, r=3)),
    "llama_patterns": (
        "families/llama",
        "AutoModel",
        dict(
            target_modules=["q_proj", "v_proj", "down_proj"],
            rank_pattern={"layers.1.self_attn.q_proj": 4, "down_proj": 1},
            alpha_pattern={"v_proj": 3},
        ),
    ),
    "llama_layers": ("families/llama", "AutoModel", dict(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="layers")),
    "gpt2": ("families/gpt2", "AutoModel", dict(target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True)),
    "bert": ("bert", "AutoModel", dict(target_modules=["query", "value", "intermediate.dense"], lora_dropout=0.1)),
    "t5": ("families/t5", "AutoModel", dict(target_modules=["q", "v"])),
    "output": ("families/llama", "AutoModel", dict(target_modules=["q_proj", "o_proj"])),
    "dora": ("families/llama", "AutoModel", dict(target_modules=["q_proj"], use_dora=True)),
    "bias": ("bert", "AutoModel", dict(target_modules=["query"], bias="lora_only")),
    "regular": ("families/llama", "AutoModel", dict(target_modules=["q_proj"], rank_pattern={".*1.self_attn.q_proj": 4})),
}
#: A method of which nothing is read.
OTHER = ("ia3", "families/llama", dict(target_modules=["k_proj", "v_proj"], feedforward_modules=[]))


def load(place, auto):
    folder = "../models/tiny-a" if place == "bert" else f"../{place}/models/tiny"
    return getattr(transformers, auto).from_pretrained(folder, attn_implementation="eager").eval()


def saved(name, model):
    model.save_pretrained(name)
    os.remove(f"{name}/README.md")
    # The order of a set.
    path = f"{name}/adapter_config.json"
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    config["target_modules"] = sorted(config["target_modules"])
    write_json(path, config)


def write(name):
    place, auto, config = CASES[name]
    base = load(place, auto)
    model = get_peft_model(base, LoraConfig(**dict(dict(r=2, lora_alpha=4), **config))).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.copy_(normal(parameter.shape, name, key, std=0.25))
    saved(name, model)
    ids = torch.from_numpy(generator(name, "input_ids").integers(3, base.config.vocab_size, size=(2, 7)))
    batch = {"input_ids": ids}
    decoder = {}
    if base.config.is_encoder_decoder:
        start = torch.full_like(ids[:, :1], base.config.decoder_start_token_id)
        decoder = {"decoder_input_ids": torch.cat([start, ids[:, :-1]], 1)}
    with torch.no_grad():
        result = model(**batch, **decoder, output_hidden_states=True)
        hidden = result.last_hidden_state if auto == "AutoModel" else result.hidden_states[-1]
    write_json(f"{name}/case.json", {"model": place})
    write_golden(f"{name}/golden.safetensors", batch | {"attention_mask": torch.ones_like(ids), "hidden": hidden})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `peft/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    root = os.path.join(output, "peft")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    os.chdir(root)
    for name in CASES:
        write(name)
    name, place, config = OTHER
    saved(name, get_peft_model(load(place, "AutoModel"), IA3Config(**config)))
    write_json(f"{name}/case.json", {"model": place})
    print(f"{len(CASES) + 1} folders, {folder_size('.') / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
