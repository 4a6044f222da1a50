"""Token ids of the reference's tokenizers for small folders that are made here.

    python make_tokenizer_goldens.py

Needs `sentencepiece` and `protobuf` beside the packages of tests/python/requirements.txt. ../goldens/tokenizers.json holds
texts, and of each case the files of the folder, the ids that `AutoTokenizer` gives, what it decodes them to, and the ids
of its special tokens. ../goldens/pairs.json holds for some of these folders the ids and the token types of pairs, whole and cut
(`longest_first`), and for single texts the characters that each token stands for (null for special tokens), without white space
around them.
"""

import base64
import contextlib
import copy
import io
import json
import pathlib
import tempfile
import warnings

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from transformers.utils import logging

warnings.filterwarnings("ignore")
logging.set_verbosity_error()

GOLDENS = pathlib.Path(__file__).resolve().parent.parent / "goldens"

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
    "A <extra_id_0> film <extra_id_1>. 9,9 and 1, ``x'' en_XX [SEP] y",
    "x = 1\n\n  if x:\n\t\ty = 12345  # <start_of_turn>user<bos>",
]

#: What the models of goldens are trained on.
TRAINING = TEXTS[:10]

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


def byte_pairs(special=("<s>", "<pad>", "</s>", "<unk>", "<mask>")):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAINING * 3, trainer)
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
    # The model holds the path of the rules, which must be the same each time.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        path = pathlib.Path("rules.tsv")
        hexed = lambda text: " ".join(f"{ord(c):X}" for c in text)
        path.write_text("".join(f"{hexed(a)}\t{hexed(b)}\n" for a, b in rules))
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([text for text in TRAINING if text.strip()] * 5),
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


def byte_level_cases():
    """GPT-2 and its relatives."""
    files = byte_pairs(["<|endoftext|>"])
    config = lambda **keys: {"tokenizer_config.json": keys}
    gpt2 = {"config.json": {"model_type": "gpt2"}} | files
    yield "gpt2_plain", gpt2
    yield "gpt2_bos", gpt2 | config(add_bos_token=True, pad_token="<|pad|>", clean_up_tokenization_spaces=True)
    yield "gpt2_json", saved(gpt2 | config(add_prefix_space=True))
    yield "gptj_plain", files | {"config.json": {"model_type": "gptj"}} | config(tokenizer_class="GPT2Tokenizer")
    yield "phi_plain", files | {"config.json": {"model_type": "phi"}}
    size = len(files["vocab.json"])
    added = {str(size + i): token(t, special=i < 2) for i, t in enumerate(["<|im_start|>", "<|im_end|>", "covid19"])}
    qwen = {"config.json": {"model_type": "qwen2"}} | files
    yield "qwen2_plain", qwen | {"merges.txt": files["merges.txt"].rstrip("\n")}
    chat = config(added_tokens_decoder=added, eos_token="<|im_end|>", bos_token=None, tokenizer_class="Qwen2Tokenizer")
    yield "qwen2_added", qwen | chat
    yield "qwen3_json", saved(qwen | chat | {"config.json": {"model_type": "qwen3"}})
    bart = {"config.json": {"model_type": "bart"}} | byte_pairs()
    yield "bart_plain", bart
    yield "bart_json", saved(bart | config(tokenizer_class="BartTokenizer"))
    deberta = {"config.json": {"model_type": "deberta"}} | byte_pairs(["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"])
    deberta |= config(tokenizer_class="DebertaTokenizer")
    yield "deberta_plain", deberta
    yield "deberta_json", saved(deberta)


def pieces_cases():
    """The classes of SentencePiece models beside XLM-RoBERTa's."""
    config = lambda **keys: {"tokenizer_config.json": keys}
    model = lambda model_type: {"config.json": {"model_type": model_type}}
    bpe = dict(model_type="bpe", normalization_rule_tsv="", normalization_rule_name="identity", byte_fallback=True)
    bpe |= dict(vocab_size=360, split_digits=True, remove_extra_whitespaces=False, hard_vocab_limit=False)
    llama = model("llama") | {"tokenizer.model": sentencepiece_model(**bpe)}
    yield "llama_plain", llama
    yield "llama_new", llama | config(legacy=False, add_eos_token=True, pad_token="<unk>")
    yield "llama_without_prefix", llama | config(add_prefix_space=False, add_bos_token=False)
    yield "llama_new_without_prefix", llama | config(add_prefix_space=False, legacy=False)
    yield "llama_null_prefix", llama | config(add_prefix_space=None)
    mistral = model("mistral") | {"tokenizer.model": llama["tokenizer.model"]}
    yield "mistral_json", saved(mistral | config(tokenizer_class="LlamaTokenizer", legacy=True))
    whole = saved(llama | config(tokenizer_class="LlamaTokenizer", legacy=True))
    whole["tokenizer_config.json"]["add_prefix_space"] = False
    yield "llama_json_rebuilt", whole | {"tokenizer.model": llama["tokenizer.model"]}
    turns = dict(user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "  ", "\n\n"], unk_id=3, bos_id=2, eos_id=1, pad_id=0)
    turns |= dict(bos_piece="<bos>", eos_piece="<eos>", add_dummy_prefix=False)
    gemma = model("gemma2") | {"tokenizer.model": sentencepiece_model(**bpe | turns)}
    yield "gemma_plain", gemma
    yield "gemma_json", saved(gemma | model("gemma3_text") | config(tokenizer_class="GemmaTokenizer", add_eos_token=True))
    unigram = sentencepiece_model(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    t5 = model("t5") | {"spiece.model": unigram}
    yield "t5_plain", t5
    yield "t5_new", t5 | config(legacy=False, extra_ids=3)
    yield "t5_without_prefix", t5 | config(add_prefix_space=False, extra_ids=2, additional_special_tokens=["[num]"])
    yield "t5_json", saved(t5 | config(tokenizer_class="T5Tokenizer", extra_ids=4))
    yield "mt5_plain", model("mt5") | {"spiece.model": unigram} | config(extra_ids=0)
    brackets = dict(pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]", "[MASK]"], vocab_size=90)
    albert = model("albert") | {"spiece.model": sentencepiece_model(**brackets)}
    yield "albert_plain", albert
    yield "albert_cased", albert | config(do_lower_case=False, keep_accents=True)
    yield "albert_json", saved(albert | config(tokenizer_class="AlbertTokenizer"))
    brackets |= dict(unk_piece="[UNK]", pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", bos_id=1, eos_id=2, unk_id=3, control_symbols=[])
    deberta = model("deberta-v2") | {"spm.model": sentencepiece_model(**brackets)}
    deberta |= config(tokenizer_class="DebertaV2Tokenizer")
    yield "deberta_v2_plain", deberta
    yield "deberta_v2_punct", deberta | config(do_lower_case=True, split_by_punct=True, tokenizer_class="DebertaV2Tokenizer")
    yield "deberta_v2_json", saved(deberta)
    fairseq = {"sentencepiece.bpe.model": sentencepiece_model()}
    yield "mbart_plain", model("mbart") | fairseq
    yield "mbart_source", model("mbart") | fairseq | config(src_lang="de_DE", additional_special_tokens=["[num]"])
    yield "mbart_json", saved(model("mbart") | fairseq | config(src_lang="ro_RO", tokenizer_class="MBartTokenizer"))
    yield "mbart50_plain", model("mbart") | fairseq | config(src_lang="fr_XX", tokenizer_class="MBart50Tokenizer")
    yield "plbart_plain", model("plbart") | fairseq
    yield "plbart_multi", model("plbart") | fairseq | config(language_codes="multi", src_lang="ruby")
    generation = sentencepiece_model(pad_id=0, eos_id=1, unk_id=3, bos_id=2, vocab_size=90)
    yield "bert_generation_plain", model("bert-generation") | {"spiece.model": generation}
    yield "xmod_plain", model("xmod") | fairseq


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


PAIRS = [
    ("A fine film.", "in Paris"),
    ("covid19 and the film", "a"),
    ("", "naïve — déjà vu"),
    ("x y z it is a fine film in Paris and more of it", "The not new film, and two spaces more of text"),
    ("a film", "it's don't I'm 2024 a fine film in Paris and more of it"),
]
PLACED = ["A fine film in Paris.", "  Café  Müller,\tit's naïve", "中文 and 🙂 emoji film", "covid19 ﬁne x"]
#: The folders that pairs are encoded with.
PAIR_CASES = [
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


def places(tokenizer, text):
    encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    found = []
    for (start, end), special in zip(encoded["offset_mapping"], encoded["special_tokens_mask"]):
        piece = text[start:end]
        start += len(piece) - len(piece.lstrip())
        found.append(None if special else [start, start + len(piece.strip())])
    return found


def pair_golden(files):
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
            "places": [places(tokenizer, text) for text in PLACED],
        }


def main():
    folders = {}
    for cases in [bert_cases, json_cases, roberta_cases, xlm_roberta_cases, byte_level_cases, pieces_cases]:
        folders |= dict(cases())
    line = lambda value: json.dumps(value, ensure_ascii=False, sort_keys=True)
    rows = lambda values: ",\n".join(f"{line(name)}: {line(value)}" for name, value in values)
    cases = rows((name, golden(files)) for name, files in sorted(folders.items()))
    (GOLDENS / "tokenizers.json").write_text(f'{{"texts": {line(TEXTS)},\n"cases": {{\n{cases}\n}}}}\n')
    cases = rows((name, pair_golden(folders[name])) for name in PAIR_CASES)
    text = f'{{"pairs": {line(PAIRS)},\n"texts": {line(PLACED)},\n"cases": {{\n{cases}\n}}}}\n'
    (GOLDENS / "pairs.json").write_text(text)


if __name__ == "__main__":
    main()
