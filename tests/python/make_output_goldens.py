"""Generates the goldens of language models: `outputs/` beside the other goldens.

    python tests/python/make_output_goldens.py --output target/goldens

    language_models/    models as Hugging Face's classes with a head save them; in golden.safetensors a batch and the logits
    static/             an invertible adapter of each of those classes (`adapters.init`), saved with the head, and the logits
    models/             base models of some of them
    parsing/            an adapter and a head for dependency parsing
    cases/              an adapter and a language-model head each, as in the folder `cases` of BERT

The models are as small as can be. Everything is computed on the CPU in float32 with every dropout at zero. Two
runs write the same bytes.
"""

import argparse
import os
import shutil

from common import folder_size, generator, make_deterministic, normal, write_golden, write_json

import torch
import transformers
from adapters import AutoAdapterModel
from safetensors.torch import load_file

import interface
import reference
from cases import Case
from make_family_goldens import randomize

ENCODER = dict(
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    vocab_size=24,
    max_position_embeddings=12,
)
DECODER = dict(ENCODER, num_key_value_heads=1, pad_token_id=0)
T5 = dict(d_model=8, d_kv=3, d_ff=12, num_layers=1, num_decoder_layers=1, num_heads=2, vocab_size=24)
BART = dict(
    d_model=8,
    encoder_layers=1,
    decoder_layers=1,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=12,
    decoder_ffn_dim=12,
    vocab_size=24,
    max_position_embeddings=12,
)
DROPOUTS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "dropout_rate",
    "attn_pdrop",
    "embd_pdrop",
    "resid_pdrop",
)

#: The classes of configurations and models, and the sizes, by folder.
MODELS = {
    "bert": ("Bert", "ForMaskedLM", dict(ENCODER, hidden_act="relu")),
    "bert_untied": ("Bert", "ForMaskedLM", dict(ENCODER, tie_word_embeddings=False)),
    "roberta": ("Roberta", "ForMaskedLM", dict(ENCODER, hidden_act="relu")),
    "electra": ("Electra", "ForMaskedLM", dict(ENCODER, hidden_act="relu", embedding_size=6)),
    "distilbert": (
        "DistilBert",
        "ForMaskedLM",
        dict(dim=8, n_layers=1, n_heads=2, hidden_dim=12, vocab_size=24, max_position_embeddings=12, activation="relu"),
    ),
    "albert": ("Albert", "ForMaskedLM", dict(ENCODER, embedding_size=6)),
    "bert_generation": ("BertGeneration", "Decoder", ENCODER),
    "gpt2": ("GPT2", "LMHeadModel", dict(n_embd=8, n_layer=1, n_head=2, vocab_size=24, n_positions=12, pad_token_id=0)),
    "llama": ("Llama", "ForCausalLM", DECODER),
    "llama_tied": ("Llama", "ForCausalLM", dict(DECODER, tie_word_embeddings=True)),
    "mistral": ("Mistral", "ForCausalLM", DECODER),
    "gptj": (
        "GPTJ",
        "ForCausalLM",
        dict(n_embd=8, n_layer=1, n_head=2, vocab_size=24, n_positions=12, rotary_dim=2, pad_token_id=0),
    ),
    "qwen2": ("Qwen2", "ForCausalLM", DECODER),
    "qwen3": ("Qwen3", "ForCausalLM", dict(DECODER, head_dim=6, tie_word_embeddings=True)),
    "phi": ("Phi", "ForCausalLM", DECODER),
    "gemma2": ("Gemma2", "ForCausalLM", dict(DECODER, head_dim=6, final_logit_softcapping=2.0)),
    "gemma3": ("Gemma3", "ForCausalLM", dict(DECODER, head_dim=6)),
    "modernbert": ("ModernBert", "ForMaskedLM", dict(ENCODER, pad_token_id=0, reference_compile=False)),
    "t5": ("T5", "ForConditionalGeneration", dict(T5, decoder_start_token_id=0)),
    "t5_untied": ("T5", "ForConditionalGeneration", dict(T5, decoder_start_token_id=0, tie_word_embeddings=False)),
    "mt5": ("MT5", "ForConditionalGeneration", dict(T5, decoder_start_token_id=0)),
    "bart": ("Bart", "ForConditionalGeneration", BART),
    "mbart": ("MBart", "ForConditionalGeneration", BART),
    "plbart": ("PLBart", "ForConditionalGeneration", BART),
}

INVERTIBLE = "seq_bn_inv[reduction_factor=2]"
CASES = (
    Case("masked_inverse", "language", INVERTIBLE, dict(language="masked_lm", layers=2), models=("bert",)),
    Case("masked_narrow", "language", INVERTIBLE, dict(language="masked_lm", layers=2), models=("electra",)),
    Case("masked_untied", "language", "lora[r=2]", dict(language="masked_lm", layers=2), models=("bert_untied",)),
    Case("masked_prompt", "language", "prompt_tuning[prompt_length=2]", dict(language="masked_lm", layers=2), models=("bert",)),
    Case("causal_inverse", "language", INVERTIBLE, dict(language="causal_lm", layers=2), models=("gpt2",)),
    Case("causal_one_layer", "language", "lora[r=2]", dict(language="causal_lm", layers=1), models=("llama",)),
    Case("seq2seq_inverse", "language", INVERTIBLE, dict(language="seq2seq_lm"), models=("t5",)),
    Case("seq2seq", "language", "seq_bn[reduction_factor=2]", dict(language="seq2seq_lm"), models=("bart",)),
)


def configured(model_class, sizes):
    """A configuration without dropout."""
    config_class = model_class.config_class
    dropouts = [key for key in DROPOUTS if hasattr(config_class(), key)]
    return config_class(**dict.fromkeys(dropouts, 0.0), **sizes)


def save(model, folder):
    os.makedirs(folder)
    model.save_pretrained(folder)
    generation = f"{folder}/generation_config.json"
    if os.path.exists(generation):
        os.remove(generation)


def write(name):
    classes, suffix, sizes = MODELS[name]
    model_class = getattr(transformers, f"{classes}{suffix}")
    config = configured(model_class, sizes)
    model = model_class(config)
    randomize(model, name, std=0.5)
    if hasattr(model, "final_logits_bias"):
        model.final_logits_bias.copy_(torch.arange(config.vocab_size) / 16)
    folder = f"language_models/{name}"
    save(model, folder)
    # The files are what is read.
    model = type(model).from_pretrained(folder, attn_implementation="eager").eval()
    draw = lambda what: torch.from_numpy(generator(name, what).integers(3, config.vocab_size, size=(1, 5)))
    batch = dict(input_ids=draw("input_ids"), attention_mask=torch.ones(1, 5, dtype=torch.long))
    decoder = {"decoder_input_ids": draw("decoder_input_ids")[:, :4]} if config.is_encoder_decoder else {}
    with torch.no_grad():
        logits = model(**batch, **decoder).logits
    write_golden(f"{folder}/golden.safetensors", batch | decoder | {"logits": logits})


#: The parts of the heads of masked language models that the reference trains beside an adapter.
TRAINED = ("transform", "lm_head.dense", "lm_head.layer_norm", "vocab_transform", "vocab_layer_norm", "predictions.dense", "Norm")


def write_static(name):
    """An adapter of the class, saved with its head, and the logits."""
    classes, suffix, _ = MODELS[name]
    model = getattr(transformers, f"{classes}{suffix}").from_pretrained(
        f"language_models/{name}", attn_implementation="eager"
    )
    interface.without_new_biases(interface.initialize(model))
    model.add_adapter("static", "seq_bn_inv[reduction_factor=2]")
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            is_adapter = ".adapters." in parameter_name or "invertible" in parameter_name
            is_head = suffix == "ForMaskedLM" and not parameter_name.startswith(interface.base_prefix(model))
            if is_adapter or (is_head and any(part in parameter_name for part in TRAINED)):
                parameter.copy_(normal(parameter.shape, name, "static", parameter_name, std=0.5))
    model.set_active_adapters("static")
    folder = f"static/{name}"
    os.makedirs(folder)
    model.save_adapter(folder, "static", with_head=True)
    golden = load_file(f"language_models/{name}/golden.safetensors")
    batch = {key: value for key, value in golden.items() if key != "logits"}
    with torch.no_grad():
        logits = model.eval()(**batch).logits
    assert (logits - golden["logits"]).abs().max() > 0.1, f"{name}: the adapter changes little"
    write_golden(f"{folder}/golden.safetensors", batch | {"logits": logits})


def write_case(case):
    """An adapter and a head of a base model."""
    (name,) = case.models
    classes, _, sizes = MODELS[name]
    if not os.path.isdir(f"models/{name}"):
        model_class = getattr(transformers, f"{classes}Model")
        model = model_class(configured(model_class, sizes))
        randomize(model, name, std=0.5)
        save(model, f"models/{name}")
    draw = lambda what: torch.from_numpy(generator(case.name, what).integers(3, sizes["vocab_size"], size=(3, 6)))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
    ids = draw("input_ids") * mask
    if case.head["language"] == "seq2seq_lm":
        labels = draw("labels")
        batch = dict(input_ids=ids, attention_mask=mask, decoder_input_ids=draw("decoder_input_ids"))
    elif case.head["language"] == "causal_lm":
        labels, batch = torch.where(mask == 1, ids, -100), dict(input_ids=ids, attention_mask=mask)
    else:
        learned = (torch.arange(18).reshape(3, 6) % 3 == 0) & (mask == 1)
        labels, batch = torch.where(learned, draw("labels"), -100), dict(input_ids=ids, attention_mask=mask)
    facts = reference.run(name, case, f"cases/{case.name}", dict(batch, labels=labels))
    assert facts["reload"] < 1e-6, f"{case.name}: comes back changed"
    return {"folder": case.name, "model": name, "method": case.method, "config": case.config}


#: The words of each row of the parsing case, by the tokens that they begin at and end before; and each one's head (0 is the
#: root) and relation. The reference does not learn heads that are the number of the padding token, 0.
TREES = (
    dict(starts=[1, 2, 4, 5], heads=[2, 3, 2], relations=[0, 1, 2]),
    dict(starts=[1, 3, 4], heads=[2, 1], relations=[2, 0]),
    dict(starts=[1, 2, 3, 4, 5], heads=[4, 1, 2, 1], relations=[1, 1, 0, 2]),
)


def write_parsing():
    """An adapter and a head for dependency parsing: scores of words, and a step of SGD.

    The reference adds candidates with the score 0 for padding to the softmax over heads, so that the loss depends on the
    length of the batch. The loss here is that of its scores of words alone.
    """
    model = AutoAdapterModel.from_pretrained("models/bert", attn_implementation="eager").eval()
    model.add_adapter("task", "lora[r=2]")
    model.add_dependency_parsing_head("task", num_labels=3, id2label={0: "det", 1: "nsubj", 2: "obj"})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "loras" in name or "biaffine" in name:
                parameter.copy_(normal(parameter.shape, "parsing", name, std=0.25))
    model.train_adapter("task")
    mask = torch.tensor([[1] * 6, [1] * 5 + [0], [1] * 6])
    ids = torch.from_numpy(generator("parsing", "input_ids").integers(3, 24, size=(3, 6))) * mask
    starts = torch.tensor([tree["starts"] + [0] * (6 - len(tree["starts"])) for tree in TREES])
    result = model(input_ids=ids, attention_mask=mask, word_starts=starts)
    golden, arcs, relations = dict(input_ids=ids, attention_mask=mask), [], []
    for row, tree in enumerate(TREES):
        count = len(tree["heads"])
        scores, labels = result.arc_preds[row, :count, : count + 1], result.rel_preds[row, :count, : count + 1]
        golden |= {f"arcs.{row}": scores.detach(), f"relations.{row}": labels.detach()}
        heads = torch.tensor(tree["heads"])
        arcs.append(torch.nn.functional.cross_entropy(scores, heads, reduction="none"))
        right = labels[torch.arange(count), heads]
        relations.append(torch.nn.functional.cross_entropy(right, torch.tensor(tree["relations"]), reduction="none"))
    loss = torch.cat(arcs).mean() + torch.cat(relations).mean()
    model.save_adapter("parsing", "task", use_safetensors=True)
    model.save_head("parsing", "task", use_safetensors=True)
    loss.backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    torch.optim.SGD(trained.values(), lr=reference.LEARNING_RATE).step()
    golden |= {f"after.{name}": parameter for name, parameter in trained.items()}
    write_golden("parsing/golden.safetensors", golden | {"loss": loss.detach().reshape(1)})
    write_json("parsing/trees.json", TREES)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `outputs/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    root = os.path.join(output, "outputs")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    os.chdir(root)
    for name in MODELS:
        write(name)
        write_static(name)
    os.makedirs("cases")
    write_json("cases/index.json", [write_case(case) for case in CASES])
    os.makedirs("parsing")
    write_parsing()
    print(f"{len(MODELS)} models, {len(CASES)} cases, {folder_size('.') / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
