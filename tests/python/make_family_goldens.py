"""Generates the goldens of the model families beside BERT: `families/` beside the other goldens.

    python tests/python/make_family_goldens.py --output target/goldens [--only t5]

Each family has a folder with

    models/tiny/        a base model, and in hidden.safetensors its hidden states of a batch with padding and one without
    models/VARIANT/     the same for other models of some families; in languages.safetensors rows with language modules
    models/with_head/   the same base model as a class of Hugging Face's with a head saves it
    cases/              one adapter and head each, as in the folder `cases` of BERT
    converted/          the same, of adapters that have another form here; not of all
    static/             an adapter of that class (`adapters.init`), saved with its head, and the logits; not of all
    static_*/           the same of further classes
    generation.json     the tokens that language models generate
    composed/           compositions of several adapters; of a decoder and of encoder-decoders
    names.json          the names, shapes and numbers of what the reference saves of each configuration, for a wider model

Everything is computed on the CPU in float32 with every dropout at zero. Two runs write the same bytes.
"""

import argparse
import os
import shutil
import sys
import tempfile

from common import folder_size, make_deterministic, normal, write_golden, write_json

import adapters
import torch
import transformers
from adapters import AdapterConfig
from adapters.loading import AdapterLoader
from torch import nn

import interface
import reference
from families import FAMILIES
from family_compositions import write_compositions
from generation import write_generation
from static import write_static


def randomize(model, salt, std=0.25):
    """Fills every parameter that is not an adapter's, the same for each name in each class."""
    is_norm = lambda module: isinstance(module, nn.LayerNorm) or type(module).__name__.endswith(("RMSNorm", "DebertaLayerNorm"))
    norms = {f"{name}.weight": module for name, module in model.named_modules() if is_norm(module)}
    # The weights of Gemma's norms are added to 1.
    scales = {name for name, module in norms.items() if not type(module).__name__.startswith("Gemma")}
    base = interface.base_prefix(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if name in scales else 0.0
            parameter.copy_(normal(parameter.shape, salt, name.removeprefix(base), mean=mean, std=std))
        for module in model.modules():
            # A trained model has zeros there, too.
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()


def shifted(config, batch):
    """The input of a decoder: that of the encoder, shifted to the right."""
    ids = batch["input_ids"]
    if config.model_type in ("mbart", "plbart"):
        start = ids.gather(1, batch["attention_mask"].sum(1, keepdim=True) - 1)
    else:
        start = torch.full_like(ids[:, :1], config.decoder_start_token_id)
    return torch.cat([start, ids[:, :-1]], 1)


def write_models(name, family):
    """The base models alone and one with a head, and what they compute."""
    write_model("tiny", name, family)
    for variant, sizes in family.variants.items():
        write_model(variant, name, family, **sizes)
    labels = dict(label2id=family.labels, id2label={index: label for label, index in family.labels.items()})
    with_head = getattr(transformers, f"{family.classes}{family.with_head}")(
        family.config(**family.tiny, **labels)
    )
    randomize(with_head, name)
    with_head.save_pretrained("models/with_head")


def write_model(folder, name, family, **sizes):
    """A base model, and its hidden states with and without padding."""
    folder = f"models/{folder}"
    model = family.base()(family.config(**(family.tiny | sizes)))
    randomize(model, name)
    model.save_pretrained(folder)
    if family.languages:
        write_languages(folder, family)
        model_class = getattr(adapters, f"{family.classes}AdapterModel")
    else:
        model_class = family.base()
    model = model_class.from_pretrained(folder, attn_implementation="eager").eval()
    tensors = {}
    for prefix, padding in (("", True), ("full.", False)):
        batch = family.batch(padding)
        decoder = {"decoder_input_ids": shifted(model.config, batch)} if model.config.is_encoder_decoder else {}
        with torch.no_grad():
            result = model(**batch, **decoder, output_hidden_states=True)
        tensors |= {f"{prefix}{key}": value for key, value in batch.items()}
        tensors[f"{prefix}last_hidden_state"] = result.last_hidden_state
        if decoder:
            states = result.encoder_hidden_states + result.decoder_hidden_states
        else:
            # ModernBERT's last one lacks the norm that follows.
            states = (*result.hidden_states[:-1], result.last_hidden_state)
        for index, hidden in enumerate(states):
            tensors[f"{prefix}hidden_states.{index}"] = hidden
    write_golden(f"{folder}/hidden.safetensors", tensors)


def write_languages(folder, family):
    """The hidden states of rows in different languages."""
    model = family.base().from_pretrained(folder, attn_implementation="eager").eval()
    languages = torch.tensor([0, 1, 1, 0])
    batch = family.batch()
    with torch.no_grad():
        hidden = model(**batch, lang_ids=languages).last_hidden_state
    write_golden(f"{folder}/languages.safetensors", dict(batch, languages=languages, last_hidden_state=hidden))


def write_cases(family, cases, root="cases"):
    index, problems = [], []
    os.makedirs(root)
    for case in cases:
        batch = family.batch(case.padding)
        facts = reference.run(case.variant, case, os.path.join(root, case.name), batch, family.builder())
        if facts["reload"] > 1e-6:
            problems.append(f"{case.name}: comes back changed by {facts['reload']:.1e}")
        index.append({"folder": case.name, "model": case.variant, "method": case.method, "config": case.config})
    write_json(os.path.join(root, "index.json"), index)
    return problems


def write_head_of_class(name, family):
    """An adapter and the head of Hugging Face's own class."""
    model_class = getattr(transformers, f"{family.classes}ForSequenceClassification")
    options = dict(attn_implementation="eager")
    if family.interface:
        interface.write_static(name, family)
        for folder, of, base in family.static_classes:
            interface.write_static(name, family, folder, of, base)
        return
    model = model_class.from_pretrained("models/with_head", **options)
    config = "seq_bn[reduction_factor=4]"
    write_static(model, config, [".adapters."], [name, "static"], "static", "models/tiny", family.batch(), **options)


def describe(family, config):
    """The tensors that the reference saves of a configuration, and the number of its parameters, each once."""
    if family.interface:
        model = getattr(transformers, f"{family.classes}{family.with_head}")(family.config(**family.wide))
        adapters.init(model)
    else:
        model = getattr(adapters, f"{family.classes}AdapterModel")(family.config(**family.wide))
    model.add_adapter("x", AdapterConfig.load(config))
    with tempfile.TemporaryDirectory() as folder:
        model.save_adapter(folder, "x", use_safetensors=False)
        saved = torch.load(os.path.join(folder, "pytorch_adapter.bin"), weights_only=True)
    belongs = AdapterLoader(model).filter_func("x")
    held = {id(parameter): parameter for name, parameter in model.named_parameters(remove_duplicate=False) if belongs(name)}
    return {
        "tensors": {name: list(tensor.shape) for name, tensor in saved.items()},
        "parameters": sum(parameter.numel() for parameter in held.values()),
    }


def write_names(family):
    family.config(**family.wide).save_pretrained(".")
    os.rename("config.json", "names_config.json")
    write_json("names.json", {config: describe(family, config) for config in family.named})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `families/` is replaced")
    parser.add_argument("--only", nargs="+", metavar="FAMILY", choices=FAMILIES, help="only these families")
    arguments = parser.parse_args()
    root = os.path.join(arguments.output, "families")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    make_deterministic(arguments.output)
    # The reference writes the base model's path into its files: a relative one is the same everywhere.
    os.chdir(root)
    problems = []
    for name in arguments.only or FAMILIES:
        family = FAMILIES[name]
        os.makedirs(name)
        os.chdir(name)
        write_models(name, family)
        problems += [f"{name}: {problem}" for problem in write_cases(family, family.cases)]
        if family.converted:
            problems += [f"{name}: {problem}" for problem in write_cases(family, family.converted, "converted")]
        write_generation(name, family)
        write_compositions(name, family)
        if family.static:
            write_head_of_class(name, family)
        write_names(family)
        os.chdir("..")
        print(f"{name}: {len(family.cases)} cases, {folder_size(name) / 1e6:.2f} MB")
    for problem in problems:
        print(f"unexpected: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
