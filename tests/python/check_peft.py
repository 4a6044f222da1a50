"""Loads what the Rust program wrote for PEFT into PEFT and compares hidden states.

    python tests/python/check_peft.py DIRECTORY

Every subfolder holds an adapter of PEFT, `model.txt` with the path of its model, and `golden.safetensors` with the inputs and
the hidden states that PEFT computed with the adapter before it was read and written. Prints a table; exits with 1 if a case
fails, or if there is none.
"""

import argparse
import json
import os
import sys
import warnings

from common import make_deterministic  # first: it sets what the libraries read when imported

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

TOLERANCE = 1e-4
CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    None: "AutoModelForMaskedLM",
}


def check(folder):
    """The largest difference of the hidden states, and of the logits if the class has a head."""
    with open(f"{folder}/model.txt", encoding="utf-8") as file:
        place = file.read().strip()
    with open(f"{folder}/adapter_config.json", encoding="utf-8") as file:
        task = json.load(file)["task_type"]
    base = getattr(transformers, CLASSES[task]).from_pretrained(place, attn_implementation="eager")
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
    return difference


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="the folder whose subfolders are the cases")
    directory = parser.parse_args().directory
    make_deterministic()
    cases = sorted(entry.path for entry in os.scandir(directory) if entry.is_dir())
    failures = 0
    for case in cases:
        name = os.path.basename(case)
        try:
            difference = check(case)
            failures += difference > TOLERANCE
            print(f"{name:<20} {'ok' if difference <= TOLERANCE else 'FAILED':<6} {difference:.1e}")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong fails this case and not the others
            failures += 1
            print(f"{name:<20} FAILED {type(error).__name__}: {' '.join(str(error).split())}")
    print(f"{len(cases) - failures} of {len(cases)} cases agree to {TOLERANCE:.0e}")
    return 1 if failures or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
