"""Generates the goldens of reading models in other formats: `loading/` beside the other goldens. Tiny models of the families beside
BERT and in the formats beside safetensors, each with the hidden states that Hugging Face's `transformers` gives.

    python tests/python/make_loading_goldens.py --output target/goldens

`roberta`: a task model (prefix `roberta.`, a classifier, no pooler) as `pytorch_model.bin`.
`electra`: a discriminator (prefix `electra.`, its head) with embeddings of their own width, as `model.safetensors`.
`bert`: an old checkpoint: `gamma` and `beta`, a pre-training head, a position buffer, two `.bin` files of PyTorch's
format before 1.6, and an index.
"""

import argparse
import json
import os
import shutil

from common import make_deterministic, normal, write_golden

import torch
from transformers import (
    BertConfig,
    BertForPreTraining,
    ElectraConfig,
    ElectraForPreTraining,
    RobertaConfig,
    RobertaForSequenceClassification,
)

SIZES = dict(
    vocab_size=40,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=16,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    attn_implementation="eager",
)


def spread(model, salt):
    """Weights spread wide, so that errors show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(normal(parameter.shape, "loading", salt, name, mean=mean, std=0.25))
    return model.eval()


def write_hidden(folder, base, pad, types):
    """The hidden states of three rows: full, padded, short."""
    generator = torch.Generator().manual_seed(7)
    mask = torch.tensor([[1] * 9, [1] * 6 + [0] * 3, [1] * 2 + [0] * 7])
    ids = torch.randint(3, 40, mask.shape, generator=generator) * mask + pad * (1 - mask)
    segments = torch.randint(0, types, mask.shape, generator=generator) * mask
    batch = dict(input_ids=ids, attention_mask=mask, token_type_ids=segments)
    with torch.no_grad():
        result = base(**batch, output_hidden_states=True)
    tensors = dict(batch, last_hidden_state=result.last_hidden_state)
    if result.get("pooler_output") is not None:
        tensors["pooler_output"] = result.pooler_output
    for index, hidden in enumerate(result.hidden_states):
        tensors[f"hidden_states.{index}"] = hidden
    write_golden(f"{folder}/hidden.safetensors", tensors)


def roberta(folder):
    config = RobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1, num_labels=2)
    model = spread(RobertaForSequenceClassification(config), folder)
    config.save_pretrained(folder)
    torch.save(model.state_dict(), f"{folder}/pytorch_model.bin")
    write_hidden(folder, model.roberta, pad=1, types=1)


def electra(folder):
    config = ElectraConfig(**SIZES, embedding_size=12, type_vocab_size=2, hidden_act="gelu_pytorch_tanh")
    model = spread(ElectraForPreTraining(config), folder)
    model.save_pretrained(folder)
    write_hidden(folder, model.electra, pad=0, types=2)


def bert(folder):
    config = BertConfig(**SIZES, type_vocab_size=2, hidden_act="relu")
    model = spread(BertForPreTraining(config), folder)
    config.save_pretrained(folder)
    state = {}
    for name, tensor in model.state_dict().items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        state[name] = tensor.clone()
    state["bert.embeddings.position_ids"] = torch.arange(SIZES["max_position_embeddings"]).unsqueeze(0)
    names = sorted(state)
    weight_map = {}
    for part, chosen in enumerate([names[::2], names[1::2]], start=1):
        file = f"pytorch_model-{part:05}-of-00002.bin"
        weight_map.update({name: file for name in chosen})
        shard = {name: state[name] for name in chosen}
        torch.save(shard, f"{folder}/{file}", _use_new_zipfile_serialization=False)
    with open(f"{folder}/pytorch_model.bin.index.json", "w") as index:
        json.dump({"metadata": {}, "weight_map": weight_map}, index, indent=2, sort_keys=True)
    write_hidden(folder, model.bert, pad=0, types=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `loading/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    root = os.path.join(output, "loading")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    os.chdir(root)
    for make in [roberta, electra, bert]:
        os.makedirs(make.__name__)
        make(make.__name__)


if __name__ == "__main__":
    main()
