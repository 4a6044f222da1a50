"""Pairs of texts, and the places of tokens in texts, as the reference's tokenizers give them.

    python make_pair_goldens.py

Reads the folders in ../goldens/tokenizers.json, which `make_tokenizer_goldens.py` makes (compressed or not), and writes ../goldens/pairs.json:
of each folder the ids and the token types of pairs, whole and cut (`longest_first`), and for single texts the characters
that each token stands for (null for special tokens), without white space around them.
"""

import base64
import json
import lzma
import pathlib
import tempfile
import warnings

from transformers import AutoTokenizer
from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"
PAIRS = [
    ("A fine film.", "in Paris"),
    ("covid19 and the film", "a"),
    ("", "naïve — déjà vu"),
    ("x y z it is a fine film in Paris and more of it", "The not new film, and two spaces more of text"),
    ("a film", "it's don't I'm 2024 a fine film in Paris and more of it"),
]
TEXTS = ["A fine film in Paris.", "  Café  Müller,\tit's naïve", "中文 and 🙂 emoji film", "covid19 ﬁne x"]
CASES = [
    "bert_plain",
    "bert_cased",
    "bert_truncation_left",
    "json_saved",
    "roberta_plain",
    "roberta_json",
    "roberta_prefix_space",
    "xlmr_plain",
    "xlmr_json",
]


def write(folder, files):
    for name, content in files.items():
        path = pathlib.Path(folder) / name
        if isinstance(content, dict) and "base64" in content:
            path.write_bytes(base64.b64decode(content["base64"]))
        elif isinstance(content, str):
            path.write_bytes(content.encode())
        else:
            path.write_text(json.dumps(content, ensure_ascii=False))


def places(tokenizer, text):
    encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    found = []
    for (start, end), special in zip(encoded["offset_mapping"], encoded["special_tokens_mask"]):
        piece = text[start:end]
        start += len(piece) - len(piece.lstrip())
        found.append(None if special else [start, start + len(piece.strip())])
    return found


def golden(files):
    with tempfile.TemporaryDirectory() as folder:
        write(folder, files)
        tokenizer = AutoTokenizer.from_pretrained(folder)

        def pair(first, second, **options):
            encoded = tokenizer(first, second, return_token_type_ids=True, **options)
            return [encoded["input_ids"], encoded["token_type_ids"]]

        return {
            "whole": [pair(*texts) for texts in PAIRS],
            "cut": {
                str(length): [pair(*texts, truncation=True, max_length=length) for texts in PAIRS] for length in [9, 12]
            },
            "places": [places(tokenizer, text) for text in TEXTS],
        }


def main():
    plain = GOLDENS / "tokenizers.json"
    text = plain.read_bytes() if plain.exists() else lzma.decompress((GOLDENS / "tokenizers.json.xz").read_bytes())
    cases = json.loads(text)["cases"]
    line = lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True)
    rows = ",\n".join(f"{line(name)}: {line(golden(cases[name]['files']))}" for name in CASES)
    (GOLDENS / "pairs.json").write_text(
        f'{{"pairs": {line(PAIRS)},\n"texts": {line(TEXTS)},\n"cases": {{\n{rows}\n}}}}\n'
    )


if __name__ == "__main__":
    main()
