"""Generates the goldens of pairs of an encoder and a decoder (`EncoderDecoderModel`): `pairs/` beside the other goldens.

    python tests/python/make_pair_goldens.py --output target/goldens

    PAIR/model/             the model as Hugging Face's class saves it
    PAIR/golden.safetensors     a batch, and what the model computes without an adapter
    PAIR/generated.json     the tokens that it generates
    PAIR/cases/NAME/        an adapter, the logits and the loss with it, and its parameters after one step of SGD; of the
                            logits of each token and of each parameter two sums
    PAIR/refused.json       what the reference refuses, or fails on

Everything is computed on the CPU in float32 with every dropout at zero. Two runs write the same bytes.
"""

import argparse
import os
import shutil

from common import folder_size, generator, make_deterministic, normal, orthogonal, row_sums, write_golden, write_json

import adapters
import torch
import transformers
from adapters import AdapterConfig
from adapters.loading import AdapterLoader
from transformers import EncoderDecoderConfig, EncoderDecoderModel

import reference
from generation import tokens
from make_family_goldens import randomize

ENCODER = dict(
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    vocab_size=24,
    max_position_embeddings=14,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
#: It has another width, another number of layers, another vocabulary and other limits.
DECODER = ENCODER | dict(hidden_size=12, num_hidden_layers=3, vocab_size=20, max_position_embeddings=16)
GPT2 = dict(
    n_embd=8, n_layer=3, n_head=2, vocab_size=24, n_positions=14, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0, pad_token_id=0
)

#: The classes of configurations and the sizes of encoder and decoder, by folder.
PAIRS = {
    "bert_bert": (("Bert", ENCODER), ("Bert", ENCODER | dict(num_hidden_layers=3))),
    "bert_gpt2": (("Bert", ENCODER), ("GPT2", GPT2)),
    "roberta_bert": (("Roberta", ENCODER), ("Bert", DECODER | dict(tie_word_embeddings=False))),
    "bert_roberta": (("Bert", ENCODER), ("Roberta", ENCODER)),
    "albert_bert": (("Albert", ENCODER | dict(embedding_size=6, num_hidden_layers=3)), ("Bert", ENCODER)),
    # The reference fails to run it; the model alone is Hugging Face's.
    "generation": (("BertGeneration", ENCODER), ("BertGeneration", ENCODER | dict(num_hidden_layers=1))),
    # The encoder has a layer of its own.
    "tied": (("Bert", ENCODER | dict(num_hidden_layers=3)), ("Bert", ENCODER)),
    "roberta_tied_to_bert": (("Roberta", ENCODER), ("Bert", ENCODER)),
}
#: Those whose encoder has the weights of the decoder (`tie_encoder_decoder`).
TIED = ("tied", "roberta_tied_to_bert")

PREFIX = "prefix_tuning[prefix_length=3,bottleneck_size=4"
GATED = "use_gating=True"
CONFIGS = {
    "seq_bn": "seq_bn[reduction_factor=2]",
    "double_seq_bn": "double_seq_bn[reduction_factor=2,cross_adapter=True]",
    "par_bn": "par_bn[reduction_factor=2]",
    "scaled_par_bn": "scaled_par_bn[reduction_factor=2]",
    "seq_bn_inv": "seq_bn_inv[reduction_factor=2]",
    "double_seq_bn_inv": "double_seq_bn_inv[reduction_factor=2]",
    "compacter": "compacter[reduction_factor=2]",
    "compacter++": "compacter++[reduction_factor=2]",
    "prefix_tuning": f"{PREFIX}]",
    "prefix_without_cross": f"{PREFIX},encoder_prefix=False,cross_prefix=False]",
    "prefix_tuning_flat": "prefix_tuning_flat[prefix_length=3]",
    "lora": "lora[r=2,alpha=3]",
    "lora_everywhere": "lora[r=2,alpha=3,attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
    "ia3": "ia3",
    "dora": "dora[r=2]",
    "vera": "vera[r=3]",
    "dvora": "dvora[r=3]",
    "mtl_lora": "mtl_lora[r=2]",
    "loreft": "loreft[r=2,dropout=0.0]",
    "noreft": "noreft[r=2,dropout=0.0]",
    "direft": "direft[r=2,dropout=0.0]",
    "mam": f"{PREFIX}]|par_bn[reduction_factor=2]",
    "unipelt": f"{PREFIX},{GATED}]|seq_bn[reduction_factor=2,{GATED}]|lora[r=2,alpha=3,{GATED}]",
    # Each of the two models counts its layers from 0.
    "leave_out": "seq_bn[reduction_factor=2,leave_out=[0]]",
}
#: Half of the decoder's width is no multiple of 4.
OTHERWISE = {
    "roberta_bert": {
        "compacter": "compacter[reduction_factor=2,phm_dim=2]",
        "compacter++": "compacter++[reduction_factor=2,phm_dim=2]",
    }
}
ADAPTER = "task"


def fresh(pair):
    model = EncoderDecoderModel.from_pretrained(f"{pair}/model", attn_implementation="eager")
    return model.eval()


def write_model(pair):
    (encoder, encoder_sizes), (decoder, decoder_sizes) = PAIRS[pair]
    config = EncoderDecoderConfig.from_encoder_decoder_configs(
        getattr(transformers, f"{encoder}Config")(**encoder_sizes),
        getattr(transformers, f"{decoder}Config")(**decoder_sizes),
        decoder_start_token_id=2,
        pad_token_id=0,
    )
    config.tie_encoder_decoder = pair in TIED
    model = EncoderDecoderModel(config)
    randomize(model, pair)
    model.save_pretrained(f"{pair}/model")
    os.remove(f"{pair}/model/generation_config.json")


def batch_of(pair):
    (_, encoder), (_, decoder) = PAIRS[pair]
    draw = lambda what, vocabulary: torch.from_numpy(generator(pair, what).integers(3, vocabulary, size=(3, 6)))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
    pad = 1 if "roberta" in pair.split("_")[0] else 0
    ids = torch.where(mask == 1, draw("input_ids", encoder["vocab_size"]), pad)
    decoder_ids = draw("decoder_input_ids", decoder["vocab_size"])[:, :5]
    return dict(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids)


def labels_of(pair):
    (_, _), (_, decoder) = PAIRS[pair]
    return torch.from_numpy(generator(pair, "labels").integers(3, decoder["vocab_size"], size=(3, 5)))


def evaluate(model, batch, labels):
    logits = model(**batch).logits
    # With labels, the class would make the input of the decoder from them.
    return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def with_adapter(pair, config):
    model = fresh(pair)
    adapters.init(model)
    model.add_adapter(ADAPTER, AdapterConfig.load(config))
    model.set_active_adapters(ADAPTER)
    return model.eval()


@torch.no_grad()
def draw(model, pair, name):
    """Fills the adapter."""
    belongs = AdapterLoader(model).filter_func(ADAPTER)
    norms = {f"{prefix}.weight" for prefix, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    for key, parameter in model.named_parameters():
        if not belongs(key) or ".parametrizations." in key:
            continue
        leaf = key.rsplit(".", 1)[-1]
        around_one = key in norms or leaf == "scaling" or key.endswith(".m.weight") or (
            leaf == "lora_B" and parameter.dim() == 2 and parameter.shape[1] == 1
        )
        parameter.copy_(normal(parameter.shape, pair, name, key, mean=float(around_one), std=0.25))
    for key, module in model.named_modules():
        if getattr(module, "orthogonal", False):
            base = module.projection.parametrizations.weight[0].base
            base.copy_(orthogonal(len(base), pair, name, key))


def save(model, folder):
    try:
        model.save_adapter(folder, ADAPTER, with_head=False, use_safetensors=True)
    except Exception:  # noqa: BLE001 - it refuses parameters that have several names
        leftover = os.path.join(folder, "adapter.safetensors")
        if os.path.exists(leftover):
            os.remove(leftover)
        model.save_adapter(folder, ADAPTER, with_head=False, use_safetensors=False)


def write_case(pair, name, config):
    torch.manual_seed(0)
    batch, labels = batch_of(pair), labels_of(pair)
    model = with_adapter(pair, config)
    draw(model, pair, name)
    with torch.no_grad():
        logits, _ = evaluate(model, batch, labels)
        plain, _ = evaluate(fresh(pair), batch, labels)
    assert (logits - plain).abs().max() > 1e-3, f"{pair} {name}: it changes nothing"
    folder = f"{pair}/cases/{name}"
    os.makedirs(folder)
    save(model, folder)
    model.train_adapter(ADAPTER)
    model.eval()
    _, loss = evaluate(model, batch, labels)
    loss.backward()
    trained = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is not None}
    assert trained, f"{pair} {name}: it trains nothing"
    torch.optim.SGD(trained.values(), lr=reference.LEARNING_RATE).step()
    golden = {"logits.sums": row_sums("logits", logits), "loss": loss.detach().reshape(1)}
    golden |= {f"after.{key}": parameter.detach() for key, parameter in trained.items()}
    write_golden(f"{folder}/golden.safetensors", golden)
    write_json(f"{folder}/case.json", {"config": config})


def write(pair):
    write_model(pair)
    batch = batch_of(pair)
    with torch.no_grad():
        result = fresh(pair)(**batch)
    write_golden(f"{pair}/golden.safetensors", batch | {"logits": result.logits, "labels": labels_of(pair)})
    prompts = [batch["input_ids"][row][: int(batch["attention_mask"][row].sum())].tolist() for row in range(3)]
    write_json(f"{pair}/generated.json", {"prompts": prompts, "greedy": tokens(fresh(pair), prompts)})
    refused = {}
    for name, config in (CONFIGS | OTHERWISE.get(pair, {})).items():
        try:
            write_case(pair, name, config)
        except AssertionError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the reference raises is the fact of interest
            shutil.rmtree(f"{pair}/cases/{name}", ignore_errors=True)
            refused[name] = {"config": config, "refused": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
    write_json(f"{pair}/refused.json", refused)
    found = sorted(os.listdir(f"{pair}/cases")) if os.path.isdir(f"{pair}/cases") else []
    print(f"{pair}: {len(found)} cases; refused: {refused}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `pairs/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    root = os.path.join(output, "pairs")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    # The reference writes the base model's path into its files: a relative one is the same everywhere.
    os.chdir(root)
    for pair in PAIRS:
        write(pair)
    print(f"{len(PAIRS)} pairs, {folder_size('.') / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
