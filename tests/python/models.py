"""The tiny base models: Hugging Face folders of a `BertModel` with wide random weights, and its hidden states."""

import os

import torch
from transformers import BertConfig, BertModel

from common import generator, normal, write_golden

CONFIGS = {
    "tiny-a": dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        vocab_size=80,
        max_position_embeddings=40,
        type_vocab_size=2,
        hidden_act="gelu",
    ),
    "tiny-b": dict(
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=6,
        intermediate_size=80,
        vocab_size=60,
        max_position_embeddings=40,
        type_vocab_size=2,
        hidden_act="gelu_new",
        layer_norm_eps=1e-5,
    ),
}


def inputs(model):
    """Four sentences of eleven tokens: full, right-padded, padded on both sides, and short."""
    vocabulary = CONFIGS[model]["vocab_size"]
    ids = torch.from_numpy(generator(model, "input_ids").integers(1, vocabulary, size=(4, 11)))
    mask = torch.tensor(
        [
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
            [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0],
            [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        ]
    )
    types = torch.tensor(
        [
            [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1],
            [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0],
            [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ]
    )
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": types}


def write(output, model):
    """Writes `models/<model>/`: the weights, the config, and `hidden.safetensors`."""
    folder = os.path.join(output, "models", model)
    os.makedirs(folder)
    config = BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **CONFIGS[model])
    bert = BertModel(config, add_pooling_layer=True).eval()
    with torch.no_grad():
        for name, parameter in bert.named_parameters():
            mean = 1.0 if name.endswith("LayerNorm.weight") else 0.0
            parameter.copy_(normal(parameter.shape, model, name, mean=mean, std=0.25))
        # PyTorch's embedding keeps the padding token's row at zero; a trained model has it so, too.
        bert.embeddings.word_embeddings.weight[0].zero_()
    bert.save_pretrained(folder)

    bert = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    batch = inputs(model)
    with torch.no_grad():
        result = bert(**batch, output_hidden_states=True)
    tensors = dict(batch, last_hidden_state=result.last_hidden_state, pooler_output=result.pooler_output)
    for index, hidden in enumerate(result.hidden_states):
        tensors[f"hidden_states.{index}"] = hidden
    write_golden(os.path.join(folder, "hidden.safetensors"), tensors)
    return tensors
