"""Token ids of the reference's tokenizers for small folders that are made here.

    python make_tokenizer_goldens.py

Needs `sentencepiece` and `protobuf` beside the packages of tests/python/requirements.txt. ../goldens/tokenizers.json holds
texts, and of each case the files of the folder, the ids that `AutoTokenizer` gives, what it decodes them to, and the ids
of its special tokens.
"""

import base64
import copy
import io
import json
import pathlib
import tempfile
import warnings

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

warnings.filterwarnings("ignore")

OUT = pathlib.Path(__file__).resolve().parent.parent / "goldens" / "tokenizers.json"

TEXTS = [
    "A fine film in Paris.",
    "covid19 and Covid19, COVID19; covid-19!",
    "Café Müller, façade: naïve — déjà vu",
    "中文 and 日本語 mixed中text",
    "[MASK] a [mask] of [CLS] and <mask> </s> <s>x<pad>",
    "  two  spaces\tand\u00a0more \u3000 ",
    "x [num] y[num]z [NUM] and <ent>new <ent> new",
    "naïvecovid19film <Ent> it's don't I'm 2024 ½ ﬁne ａｂｃ",
    "",
    "🙂 emoji\u200d and \u0301combining",
]

WORDS = (
    "a fine film in paris covid 19 and the not new x y z it s don t i m cafe muller naive mixed text two spaces more of "
    "emoji combining Paris A Cafe Café café façade naïve 中文 中 文 日 本 mask"
).split()
SIGNS = list(".,;:!?-—[]<>/'½🙂")


def bert_vocabulary():
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list("abcdefghijklmnopqrstuvwxyzABCDEFé0123456789")
    tokens += [t for t in WORDS + SIGNS + letters if t not in tokens]
    tokens += ["##" + t for t in letters + ["film", "text", "語", "本", "文", "new"]]
    return list(dict.fromkeys(tokens))


VOCABULARY = bert_vocabulary()
SIZE = len(VOCABULARY)


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, **flags}


def decoder(*added):
    special = {str(i): token(t, special=True) for i, t in enumerate(VOCABULARY[:5])}
    return special | {str(SIZE + i): t for i, t in enumerate(added)}


def bert(config=None, model=None, **files):
    files = {name.replace("__", "."): content for name, content in files.items()}
    files["vocab.txt"] = "\n".join(VOCABULARY) + "\n"
    if config is not None:
        files["tokenizer_config.json"] = config
    return {"config.json": {"model_type": "bert"} | (model or {})} | files


ADDED = decoder(
    token("covid19", normalized=True, special=False),
    token("[num]", lstrip=True, special=False),
    token("<ent>", rstrip=True, special=True),
    token("naïvecovid", normalized=True, special=False),
    token("déjà", normalized=True, single_word=True, special=False),
    token("Film", normalized=False, special=False, single_word=True),
)


def bert_cases():
    legacy = {"[num]": SIZE, "covid19": SIZE + 1}
    yield "bert_plain", bert()
    yield "bert_cased", bert({"do_lower_case": False})
    yield "bert_accents_kept", bert({"strip_accents": False})
    yield "bert_cased_without_accents", bert({"do_lower_case": False, "strip_accents": True})
    yield "bert_chinese_together", bert({"tokenize_chinese_chars": False, "tokenizer_class": "BertTokenizer"})
    yield "bert_no_basic", bert({"do_basic_tokenize": False, "never_split": ["film"], "tokenizer_class": "BertTokenizer"})
    yield "bert_added_legacy", bert({"do_lower_case": True}, added_tokens__json=legacy)
    yield "bert_added_decoder", bert({"added_tokens_decoder": ADDED, "tokenizer_class": "BertTokenizer"})
    yield "bert_added_cased", bert({"added_tokens_decoder": ADDED, "do_lower_case": False})
    yield (
        "bert_decoder_hides_legacy",
        bert({"added_tokens_decoder": decoder(token("film new", special=False))}, added_tokens__json=legacy),
    )
    yield (
        "bert_special_map",
        bert(
            special_tokens_map__json={
                "mask_token": token("[MASK]", lstrip=True),
                "sep_token": "[SEP]",
                "additional_special_tokens": ["<ent>", token("[num]", rstrip=True)],
            },
            added_tokens__json={"<ent>": SIZE, "[num]": SIZE + 1},
        ),
    )
    yield (
        "bert_additional",
        bert({
            "additional_special_tokens": ["<ent>", token("[num]", lstrip=True, special=True, __type="AddedToken")],
            "mask_token": token("[MASK]", lstrip=True, rstrip=True, normalized=True, __type="AddedToken"),
        }),
    )
    yield "bert_other_special", bert({"cls_token": "<", "sep_token": ">", "unk_token": "x"})
    yield "bert_split_special", bert({"split_special_tokens": True, "tokenizer_class": "BertTokenizerFast"})
    yield "electra_class", bert({"do_lower_case": False}, {"model_type": "electra"})
    yield "class_of_config", bert({"do_lower_case": False}, {"tokenizer_class": "DistilBertTokenizer"})
    yield "bert_truncation_left", bert({"truncation_side": "left", "model_max_length": 12})
    yield "bert_cleaned", bert({"clean_up_tokenization_spaces": True})
    yield "bert_crlf", {**bert(), "vocab.txt": "\r\n".join(VOCABULARY) + "\r\n"}
    yield "bert_repeated_line", {**bert(), "vocab.txt": "\n".join([*VOCABULARY, "film", "paris"])}


def saved(files):
    """The tokenizer.json and the other files that the reference saves for a folder."""
    with tempfile.TemporaryDirectory() as folder:
        write(folder, files)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.save_pretrained(folder)
        read = lambda name: json.loads((pathlib.Path(folder) / name).read_text())
        names = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
        return {"config.json": files["config.json"]} | {name: read(name) for name in names}


def json_cases():
    files = saved(bert({"added_tokens_decoder": ADDED, "tokenizer_class": "BertTokenizer"}))
    yield "json_saved", files

    def changed(drop=(), **keys):
        new = copy.deepcopy(files)
        for key, value in keys.items():
            new["tokenizer_config.json"][key] = value
        for name in drop:
            new.pop(name)
        return new

    yield "json_cased_by_config", changed(do_lower_case=False)
    yield "json_accents_by_config", changed(strip_accents=False, tokenize_chinese_chars=False)
    yield "json_generic_class", changed(do_lower_case=False, tokenizer_class="PreTrainedTokenizerFast")
    yield "json_alone", changed(drop=["tokenizer_config.json", "special_tokens_map.json"])
    cased = saved(bert({"do_lower_case": False}))
    yield "json_alone_cased", {name: cased[name] for name in ["config.json", "tokenizer.json"]}
    alone = changed(drop=["tokenizer_config.json"])
    alone["special_tokens_map.json"] = {"mask_token": token("[MASK]", lstrip=True), "additional_special_tokens": ["film"]}
    alone["added_tokens.json"] = {"covid19": SIZE}
    yield "json_special_map", alone
    bare = copy.deepcopy(files)
    bare["tokenizer.json"]["added_tokens"] = []
    bare["tokenizer_config.json"] = {"tokenizer_class": "BertTokenizer"}
    yield "json_without_added", bare


def byte_pairs():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.model.save(folder)
        read = lambda name: (pathlib.Path(folder) / name).read_text()
        return {"vocab.json": json.loads(read("vocab.json")), "merges.txt": read("merges.txt")}


def roberta_cases():
    files = {"config.json": {"model_type": "roberta"}} | byte_pairs()
    size = len(files["vocab.json"])
    yield "roberta_plain", files
    yield "roberta_prefix_space", files | {"tokenizer_config.json": {"add_prefix_space": True, "trim_offsets": False}}
    yield "roberta_cleaned", files | {"tokenizer_config.json": {"clean_up_tokenization_spaces": True}}
    yield "roberta_merges_cut", files | {"merges.txt": files["merges.txt"].rstrip("\n")}
    added = {str(i): token(t, normalized=True, special=True) for t, i in files["vocab.json"].items() if i < 4}
    added["4"] = token("<mask>", lstrip=True, special=True)
    added[str(size)] = token("covid19", single_word=True, special=False)
    added[str(size + 1)] = token("[num]", lstrip=True, rstrip=True, special=True)
    config = {
        "added_tokens_decoder": added,
        "additional_special_tokens": ["[num]"],
        "tokenizer_class": "RobertaTokenizer",
        "bos_token": "<s>",
        "cls_token": "<s>",
        "mask_token": "<mask>",
    }
    yield "roberta_added", files | {"tokenizer_config.json": config}
    yield "roberta_added_legacy", files | {"added_tokens.json": {"covid19": size, "[num]": size + 1}}
    full = saved(files | {"tokenizer_config.json": config})
    yield "roberta_json", full
    other = copy.deepcopy(full)
    other["tokenizer_config.json"]["add_prefix_space"] = True
    yield "roberta_json_prefix_space", other
    other = copy.deepcopy(other)
    other["tokenizer_config.json"] = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True}
    yield "roberta_json_generic", other


def sentencepiece_model(**options):
    import sentencepiece

    rules = [("\uff41", "a"), ("\uff42", "b"), ("\uff43", "c"), ("\ufb01", "fi"), ("\u00a0", " "), ("\u3000", " "), ("\u00bd", "1/2"), ("\t", " ")]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rules.tsv"
        hexed = lambda text: " ".join(f"{ord(c):X}" for c in text)
        path.write_text("".join(f"{hexed(a)}\t{hexed(b)}\n" for a, b in rules))
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text for text in TEXTS if text.strip()] * 5),
            model_writer=model,
            minloglevel=2,
            **({"vocab_size": 88, "model_type": "unigram", "normalization_rule_tsv": str(path)} | options),
        )
    return model.getvalue()


def xlm_roberta_cases():
    base = {"config.json": {"model_type": "xlm-roberta"}}
    model = sentencepiece_model()
    yield "xlmr_plain", base | {"sentencepiece.bpe.model": model}
    identity = sentencepiece_model(normalization_rule_tsv="", normalization_rule_name="identity", vocab_size=90)
    yield "xlmr_identity", base | {"sentencepiece.bpe.model": identity}
    symbols = sentencepiece_model(user_defined_symbols=["[num]", "new"], control_symbols=["<ent>"], byte_fallback=True, vocab_size=400, hard_vocab_limit=False)
    yield "xlmr_symbols", base | {"sentencepiece.bpe.model": symbols}
    import sentencepiece

    size = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size() + 2
    added = {str(i): token(t, special=True) for i, t in enumerate(["<s>", "<pad>", "</s>", "<unk>"])}
    added[str(size - 1)] = token("<mask>", lstrip=True, normalized=True, special=True)
    added[str(size)] = token("covid19", normalized=True, special=False)
    config = {"added_tokens_decoder": added, "tokenizer_class": "XLMRobertaTokenizer", "mask_token": "<mask>"}
    yield "xlmr_added", base | {"sentencepiece.bpe.model": model, "tokenizer_config.json": config}
    special = {"mask_token": token("<mask>", lstrip=True, normalized=True), "additional_special_tokens": ["[num]"]}
    yield "xlmr_special_map", base | {"sentencepiece.bpe.model": model, "special_tokens_map.json": special}
    yield "xlmr_json", saved(base | {"sentencepiece.bpe.model": model, "tokenizer_config.json": config})


def write(folder, files):
    for name, content in files.items():
        path = pathlib.Path(folder) / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_bytes(content.encode())
        else:
            path.write_text(json.dumps(content, ensure_ascii=False))


def golden(files):
    with tempfile.TemporaryDirectory() as folder:
        write(folder, files)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = [tokenizer(text)["input_ids"] for text in TEXTS]
        special = {name: getattr(tokenizer, f"{name}_token_id") for name in ["bos", "eos", "unk", "sep", "pad", "cls", "mask"]}
        return {
            "files": {n: {"base64": base64.b64encode(c).decode()} if isinstance(c, bytes) else c for n, c in files.items()},
            "ids": ids,
            "decoded": [[tokenizer.decode(row, skip_special_tokens=skip) for row in ids] for skip in [False, True]],
            "special": special,
            "cut": [tokenizer(text, truncation=True, max_length=6)["input_ids"] for text in TEXTS],
            "max_length": min(tokenizer.model_max_length, 1 << 20),
        }


def main():
    goldens = {}
    for cases in [bert_cases, json_cases, roberta_cases, xlm_roberta_cases]:
        goldens |= {name: golden(files) for name, files in cases()}
    line = lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True)
    cases = ",\n".join(f"{line(name)}: {line(case)}" for name, case in sorted(goldens.items()))
    OUT.write_text(f'{{"texts": {line(TEXTS)},\n"cases": {{\n{cases}\n}}}}\n')


if __name__ == "__main__":
    main()
