"""Writes `crates/transformers/tests/goldens/`: tiny models of the families beside BERT and in the formats beside
safetensors, each with the hidden states that Hugging Face's `transformers` gives.

    python make_goldens.py [OUTPUT]

`roberta`: a task model (prefix `roberta.`, a classifier, no pooler) as `pytorch_model.bin`.
`electra`: a discriminator (prefix `electra.`, its head) with embeddings of their own width, as `model.safetensors`.
`bert`: an old checkpoint: `gamma` and `beta`, a pre-training head, a position buffer, two `.bin` files of PyTorch's
format before 1.6, and an index.
"""

import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file
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


def spread(model, seed):
    """Weights spread wide, so that errors show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(mean + 0.25 * torch.randn(parameter.shape, generator=generator))
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
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, f"{folder}/hidden.safetensors")


def roberta(folder):
    config = RobertaConfig(**SIZES, type_vocab_size=1, pad_token_id=1, num_labels=2)
    model = spread(RobertaForSequenceClassification(config), 1)
    config.save_pretrained(folder)
    torch.save(model.state_dict(), f"{folder}/pytorch_model.bin")
    write_hidden(folder, model.roberta, pad=1, types=1)


def electra(folder):
    config = ElectraConfig(**SIZES, embedding_size=12, type_vocab_size=2, hidden_act="gelu_pytorch_tanh")
    model = spread(ElectraForPreTraining(config), 2)
    model.save_pretrained(folder)
    write_hidden(folder, model.electra, pad=0, types=2)


def bert(folder):
    config = BertConfig(**SIZES, type_vocab_size=2, hidden_act="relu")
    model = spread(BertForPreTraining(config), 3)
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
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "goldens")
    output = sys.argv[1] if len(sys.argv) > 1 else default
    for make in [roberta, electra, bert]:
        folder = os.path.join(output, make.__name__)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        make(folder)


if __name__ == "__main__":
    main()
