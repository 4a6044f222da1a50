"""Generates the goldens of PEFT's folders: `peft/` beside the other goldens.

    python tests/python/make_peft_goldens.py --output target/goldens

Needs the folders `models` and `families` there, for their tiny models. Of each case there is the folder as PEFT saves it, and
the hidden states of the model with it. Everything is computed on the CPU in float32. Two runs write the same bytes.
"""

import argparse
import json
import os
import re
import shutil

from common import folder_size, generator, make_deterministic, normal, write_golden, write_json

import torch
import transformers
from peft import (
    IA3Config,
    LNTuningConfig,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    VeraConfig,
    get_peft_model,
)

LLAMA, MISTRAL, QWEN2, QWEN3, PHI = (f"families/{name}" for name in ("llama", "mistral", "qwen2", "qwen3", "phi"))
GPT2, GPTJ, GEMMA2, T5 = (f"families/{name}" for name in ("gpt2", "gptj", "gemma2", "t5"))


def lora(**settings):
    return LoraConfig(**dict(dict(r=2, lora_alpha=4), **settings))


def prompt(cls, **settings):
    return cls(**dict(dict(num_virtual_tokens=3, task_type="CAUSAL_LM"), **settings))


#: The model's folder, the class that it is loaded with, and the configuration.
CASES = {
    "llama": (LLAMA, "AutoModel", lora(target_modules=["q_proj", "v_proj"])),
    "llama_causal": (LLAMA, "AutoModelForCausalLM", lora(target_modules=["q_proj", "k_proj", "up_proj", "down_proj"], r=3, lora_alpha=7)),
    "llama_all": (LLAMA, "AutoModelForCausalLM", lora(target_modules="all-linear")),
    "llama_stabilized": (LLAMA, "AutoModel", lora(target_modules=["q_proj", "v_proj"], use_rslora=True, r=3)),
    "llama_patterns": (
        LLAMA,
        "AutoModel",
        lora(
            target_modules=["q_proj", "v_proj", "down_proj"],
            rank_pattern={"layers.1.self_attn.q_proj": 4, "down_proj": 1},
            alpha_pattern={"v_proj": 3},
        ),
    ),
    "llama_layers": (LLAMA, "AutoModel", lora(target_modules=["q_proj"], layers_to_transform=[1], layers_pattern="layers")),
    "llama_regular": (LLAMA, "AutoModel", lora(target_modules=r".*layers\.0\.self_attn\.(q|k)_proj", rank_pattern={".*0.self_attn.q_.*": 4})),
    "gpt2": (GPT2, "AutoModel", lora(target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True)),
    "bert": ("bert", "AutoModel", lora(target_modules=["query", "value", "attention.output.dense", "intermediate.dense"], lora_dropout=0.1)),
    "t5": (T5, "AutoModel", lora(target_modules=["q", "v", "o", "wi"])),
    "update_bias": (LLAMA, "AutoModel", lora(target_modules=["q_proj", "down_proj"], lora_bias=True, r=3)),
    "bias": ("bert", "AutoModel", lora(target_modules=["query", "intermediate.dense"], bias="lora_only")),
    "bias_fused": (GPT2, "AutoModel", lora(target_modules=["c_attn"], bias="lora_only", fan_in_fan_out=True)),
    "bias_all": (QWEN2, "AutoModel", lora(target_modules=["q_proj", "o_proj"], bias="all")),
    "bias_both": ("bert", "AutoModel", lora(target_modules=["value"], bias="lora_only", lora_bias=True)),
    "dora": (MISTRAL, "AutoModel", lora(target_modules=["q_proj", "o_proj", "gate_proj"], use_dora=True)),
    "head": (LLAMA, "AutoModelForSequenceClassification", lora(target_modules=["q_proj"], task_type="SEQ_CLS")),
    "ia3": (LLAMA, "AutoModel", IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
    "ia3_outputs": (GPT2, "AutoModel", IA3Config(target_modules=["c_attn", "mlp.c_fc"], feedforward_modules=[], fan_in_fan_out=True)),
    "vera": (LLAMA, "AutoModel", VeraConfig(target_modules=["q_proj", "v_proj"], r=4)),
    "prompt": (LLAMA, "AutoModelForCausalLM", prompt(PromptTuningConfig)),
    "prefix": (LLAMA, "AutoModelForCausalLM", prompt(PrefixTuningConfig)),
    "prefix_projected": (QWEN3, "AutoModelForCausalLM", prompt(PrefixTuningConfig, prefix_projection=True, encoder_hidden_size=8)),
    "prefix_partial": (PHI, "AutoModelForCausalLM", prompt(PrefixTuningConfig)),
    "prefix_neighbors": (GPTJ, "AutoModelForCausalLM", prompt(PrefixTuningConfig)),
    "p_tuning": (LLAMA, "AutoModelForCausalLM", prompt(PromptEncoderConfig, encoder_hidden_size=8)),
}
#: What is refused: of these nothing is computed.
REFUSED = {
    "bias_norms": ("bert", "AutoModel", lora(target_modules=["query"], bias="all")),
    "dora_bias": (GPT2, "AutoModel", lora(target_modules=["c_attn"], use_dora=True, fan_in_fan_out=True)),
    "bias_layers": (
        "bert",
        "AutoModel",
        lora(target_modules=r".*layer\.0\.attention\.self\.query|.*layer\.1\.attention\.self\.value", bias="lora_only"),
    ),
    "embeddings": (LLAMA, "AutoModel", lora(target_modules=["q_proj", "embed_tokens"])),
    "whole": (LLAMA, "AutoModelForCausalLM", lora(target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])),
    "tokens": (LLAMA, "AutoModel", lora(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": [1, 5]})),
    "pissa": (LLAMA, "AutoModel", lora(target_modules=["q_proj"], init_lora_weights="pissa")),
    "ia3_input": (GPT2, "AutoModel", IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], fan_in_fan_out=True)),
    "vera_unsaved": (LLAMA, "AutoModel", VeraConfig(target_modules=["q_proj"], r=4, save_projection=False)),
    "prompt_positions": (GPT2, "AutoModelForCausalLM", prompt(PromptTuningConfig)),
    "prefix_positions": (GPT2, "AutoModelForCausalLM", prompt(PrefixTuningConfig)),
    "prefix_window": (GEMMA2, "AutoModelForCausalLM", prompt(PrefixTuningConfig)),
    "prefix_t5": (T5, "AutoModelForSeq2SeqLM", prompt(PrefixTuningConfig, task_type="SEQ_2_SEQ_LM")),
    "norms": (LLAMA, "AutoModel", LNTuningConfig(target_modules=["input_layernorm"])),
}
#: Parameters that an adapter of PEFT has.
OWN = ("lora_", "ia3_l", "vera_lambda", "prompt_encoder", "score")
#: Parameters of the base model that an adapter may train, too.
BIAS = re.compile(r"(?:base_layer|[qkv]_proj)\.bias$")


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
    for key in ("target_modules", "modules_to_save"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    write_json(path, config)


def adapted(name, place, auto, config):
    torch.manual_seed(0)
    model = get_peft_model(load(place, auto), config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            own = any(own in key for own in OWN) or parameter.requires_grad and BIAS.search(key)
            if own and "original_module" not in key:
                around = 1.0 if any(part in key for part in ("ia3_l", "magnitude")) else 0.0
                parameter.copy_(around + normal(parameter.shape, name, key, std=0.25))
    saved(name, model)
    write_json(f"{name}/case.json", {"model": place})
    return model


def write(name):
    place, auto, config = CASES[name]
    model = adapted(name, place, auto, config)
    base = model.get_base_model()
    ids = torch.from_numpy(generator(name, "input_ids").integers(3, base.config.vocab_size, size=(2, 7)))
    batch = {"input_ids": ids}
    decoder = {}
    if base.config.is_encoder_decoder:
        start = torch.full_like(ids[:, :1], base.config.decoder_start_token_id)
        decoder = {"decoder_input_ids": torch.cat([start, ids[:, :-1]], 1)}
    with torch.no_grad():
        result = model(**batch, **decoder, output_hidden_states=True)
        hidden = result.last_hidden_state if auto == "AutoModel" else result.hidden_states[-1]
    tensors = {"attention_mask": torch.ones_like(ids), "hidden": hidden}
    if auto == "AutoModelForSequenceClassification":
        tensors["logits"] = result.logits
    write_golden(f"{name}/golden.safetensors", batch | tensors)


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
    for name, case in REFUSED.items():
        adapted(name, *case)
    print(f"{len(CASES) + len(REFUSED)} folders, {folder_size('.') / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
