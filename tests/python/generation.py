"""Goldens of generation: the tokens that Transformers generates, without an adapter and with some."""

import os

from common import generator, write_json

import adapters
import torch
import transformers
from transformers import GenerationConfig

NEW_TOKENS = 8
PROMPTS = 3
#: Cases whose adapters are loaded, where the family has them.
CASES = ("double_seq_bn", "lora_all", "prefix_tuning", "prefix_tuning_flat")
#: The powers of the length that scores of beams are divided by.
LENGTH_PENALTIES = (-1.0, 0.0, 1.0, 3.0)


def start_of(model, prompt):
    """The first token of the decoder."""
    if model.config.model_type in ("mbart", "plbart"):
        return prompt[-1]
    return model.config.decoder_start_token_id


def tokens(model, prompts, ends=None, **options):
    """The new tokens of each prompt, which is generated alone; `ends` are the tokens that end a text."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        start = start_of(model, prompt) if model.config.is_encoder_decoder else None
        model.generation_config = GenerationConfig(pad_token_id=0, decoder_start_token_id=start, eos_token_id=ends)
        with torch.no_grad():
            # The reference's Llama and Mistral are wrong with a cache.
            output = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=NEW_TOKENS,
                use_cache=False,
                **options,
            )
        before = len(prompt) if start is None else 1
        found.append(output[0, before:].tolist())
    return found


def write_generation(name, family):
    """`generation.json`: prompts, and the tokens that follow."""
    model_class = getattr(transformers, f"{family.classes}{family.with_head}")
    if not model_class.__name__.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
        return
    draw = generator(name, "prompts")
    prompts = [draw.integers(3, family.tiny["vocab_size"], size=3 + 2 * row).tolist() for row in range(PROMPTS)]
    load = lambda: model_class.from_pretrained("models/with_head", attn_implementation="eager").eval()
    golden = {"prompts": prompts, "greedy": tokens(load(), prompts), "beams": tokens(load(), prompts, num_beams=3)}
    golden["penalized"] = tokens(load(), prompts, repetition_penalty=1.5)
    # Tokens that are found anyway end a text, so that texts end early.
    ends = sorted({row[position] for row in golden["beams"] for position in (2, 5)})
    golden["ends"] = ends
    golden["ended"] = [
        [penalty, tokens(load(), prompts, ends, num_beams=4, length_penalty=penalty)] for penalty in LENGTH_PENALTIES
    ]
    model = load()
    if model.config.is_encoder_decoder:
        golden["forced"] = [7, tokens(model, prompts, num_beams=3, forced_bos_token_id=7)]
    golden["adapters"] = {}
    for case in CASES:
        if os.path.isdir(f"cases/{case}"):
            model = load()
            adapters.init(model)
            adapter = model.load_adapter(f"cases/{case}", with_head=False, use_safetensors=True)
            model.set_active_adapters(adapter)
            golden["adapters"][case] = tokens(model.eval(), prompts)
    write_json("generation.json", golden)
