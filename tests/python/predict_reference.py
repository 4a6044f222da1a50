"""One prediction by the Python reference, from the start of the process: what `burn-adapters predict` does.

    python tests/python/predict_reference.py --model DIR --adapter DIR --text 'A fine film.'

prints one JSON object: the text, the label's number, the logits.
"""

import argparse
import json
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch  # noqa: E402
from adapters import AutoAdapterModel  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    model = AutoAdapterModel.from_pretrained(arguments.model)
    model.load_adapter(arguments.adapter, set_active=True, use_safetensors=True)
    model.eval()
    with torch.inference_mode():
        logits = model(**tokenizer(arguments.text, return_tensors="pt")).logits[0]
    print(json.dumps({"text": arguments.text, "label": int(logits.argmax()), "logits": logits.tolist()}))


if __name__ == "__main__":
    main()
