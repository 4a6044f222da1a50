"""Writes prompt.json: embeddings and masks as the Python library `adapters` extends them, and one SGD step.

    pip install adapters==1.3.0
    python make.py > prompt.json
"""

import json

import torch
from adapters import BertAdapterModel, PromptTuningConfig
from adapters.context import ForwardContext
from adapters.utils import prefix_attention_mask
from transformers import BertConfig

HIDDEN, LENGTH = 6, 3


def numbers(tensor):
    return {"shape": list(tensor.shape), "data": [round(v, 7) for v in tensor.detach().flatten().tolist()]}


def case(config, padding):
    torch.manual_seed(0)
    bert = BertConfig(
        vocab_size=9,
        hidden_size=HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
        initializer_range=0.5,
    )
    model = BertAdapterModel(bert)
    model.add_adapter("a", config=config)
    model.eval()
    padding = torch.tensor(padding, dtype=torch.bool)
    ids = torch.arange(padding.numel()).view(padding.shape) % 9
    prompt = model.bert.prompt_tuning.prompt_tunings["a"].prompt_embedding.weight
    # The whole embedding layer, positions and norm included, without and with the prompt.
    model.active_adapters = None
    plain = model.bert.embeddings(ids)
    model.set_active_adapters("a")
    with ForwardContext(model.bert, ids):
        out = model.bert.embeddings(ids)
        mask = prefix_attention_mask(padding[:, None, None, :].float())
    weights = torch.randn_like(out)
    before = numbers(prompt)
    (out * weights).sum().backward()
    after = prompt - 0.1 * prompt.grad
    return {
        "padding": padding.int().tolist(),
        "embeddings": numbers(plain),
        "prompt": before,
        "embeddings_out": numbers(out),
        "padding_out": mask[:, 0, 0].int().tolist(),
        "weight": numbers(weights),
        "after": numbers(after),
    }


def main():
    right, left = [[0, 0, 0, 0], [0, 0, 1, 1]], [[0, 0, 0, 0], [1, 1, 0, 0]]
    before, after = PromptTuningConfig(prompt_length=LENGTH), PromptTuningConfig(
        prompt_length=LENGTH, combine="prefix_after_bos"
    )
    print(
        json.dumps(
            {"prefix": case(before, right), "prefix_padded_left": case(before, left), "after_bos": case(after, right)}
        )
    )


main()
