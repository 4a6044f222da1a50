"""Generates the goldens of preference optimization: `preferences/` beside the other goldens.

    python tests/python/make_preference_goldens.py --output target/goldens

Needs the folder `outputs` there, for its tiny models. Of each model there is a LoRA as PEFT saves it, pairs of answers, and
what direct preference optimization (Rafailov et al., 2023, equation 7) gives for them: the rewards, the loss, the norm of its
gradients, and the LoRA after a step of SGD. The reference model is the model with the adapter disabled. Everything is computed
on the CPU in float32. Two runs write the same bytes.
"""

import argparse
import os
import shutil

from common import folder_size, generator, make_deterministic, normal, write_golden, write_json

import torch
import transformers
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from make_peft_goldens import saved

MODELS = {
    "llama": ["q_proj", "v_proj", "down_proj"],
    "gpt2": ["c_attn"],
}
BETA = 0.3
#: The learning rate of the step.
RATE = 0.5
#: For each pair, the numbers of tokens of the prompt, the preferred answer and the rejected answer.
PAIRS = [(3, 2, 4), (1, 5, 1), (4, 3, 3), (2, 1, 2), (5, 2, 6)]


def pairs(name, vocabulary):
    draw = lambda count, *key: generator(name, *key).integers(3, vocabulary, size=count).tolist()
    rows = []
    for number, (prompt, chosen, rejected) in enumerate(PAIRS):
        start = draw(prompt, number, "prompt")
        for key, count in (("chosen", chosen), ("rejected", rejected)):
            rows.append({"ids": start + draw(count, number, key), "answer": prompt})
    return rows


def log_probability(model, row):
    """The sum over the tokens of the answer."""
    ids = torch.tensor([row["ids"]])
    logits = model(input_ids=ids).logits[0, :-1]
    each = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return each[row["answer"] - 1 :].sum()


def loss(model, rows):
    """The mean loss of the pairs, and the rewards of the rows."""
    with torch.no_grad(), model.disable_adapter():
        reference = torch.stack([log_probability(model, row) for row in rows])
    policy = torch.stack([log_probability(model, row) for row in rows])
    rewards = BETA * (policy - reference)
    return -torch.nn.functional.logsigmoid(rewards[0::2] - rewards[1::2]).mean(), rewards.detach(), policy.detach()


def write(name):
    base = transformers.AutoModelForCausalLM.from_pretrained(
        f"../outputs/language_models/{name}", attn_implementation="eager"
    ).eval()
    config = LoraConfig(r=2, lora_alpha=4, target_modules=MODELS[name], fan_in_fan_out=name == "gpt2")
    model = get_peft_model(base, config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:
                parameter.copy_(normal(parameter.shape, name, key, std=0.25))
    saved(name, model)
    rows = pairs(name, base.config.vocab_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    value, rewards, policy = loss(model, rows)
    value.backward()
    norm = torch.cat([parameter.grad.flatten() for parameter in parameters]).norm()
    golden = {"rewards": rewards, "policy": policy, "loss": value[None], "gradient_norm": norm[None]}
    torch.optim.SGD(parameters, lr=RATE).step()
    after = {f"after/{key}": tensor for key, tensor in get_peft_model_state_dict(model).items()}
    write_golden(f"{name}/golden.safetensors", golden | after)
    write_json(f"{name}/case.json", {"beta": BETA, "rate": RATE, "rows": rows})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `preferences/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    root = os.path.join(output, "preferences")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    os.chdir(root)
    for name in MODELS:
        write(name)
    print(f"{len(MODELS)} folders, {folder_size('.') / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
