"""Generates the goldens of GGUF files: `gguf/` beside the other goldens.

    python tests/python/make_gguf_goldens.py --output target/goldens

    ARCHITECTURE.gguf           a tiny language model with a tokenizer, in f32
    quantized.gguf              a Llama with tensors of several types
    ARCHITECTURE.safetensors    ids and the logits that Transformers computes from the file, dequantized
    tokens.json                 texts, and the ids that the tokenizer gives from which the files are made
    sentencepiece.gguf          a Llama with a vocabulary of SentencePiece; `_bare` puts no space before texts, `_unused` has
                                unused pieces, equal scores and no bytes
    sentencepiece.json          texts, their ids and what these decode to

Everything is computed on the CPU in float32. Two runs write the same bytes.
"""

import argparse
import io
import json
import os
import shutil
import tempfile

from common import folder_size, generator, make_deterministic, normal, write_golden, write_json

import gguf
import numpy as np
import sentencepiece
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from sentencepiece.sentencepiece_model_pb2 import ModelProto
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from make_family_goldens import randomize

SIZES = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=64,
    vocab_size=320,
    max_position_embeddings=40,
    rope_theta=5000.0,
    rms_norm_eps=1e-5,
)
GPT2 = dict(n_embd=32, n_layer=2, n_head=4, n_inner=48, vocab_size=320, n_positions=40, layer_norm_epsilon=1e-4)
#: The rotary positions of Llama 3.1 and 3.2. Of the four frequencies of these heads the first is not divided, the second by a
#: number below 8, and the others by 8.
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)
MODELS = {
    "llama": ("Llama", SIZES, gguf.MODEL_ARCH.LLAMA),
    "llama_tied": ("Llama", dict(SIZES, tie_word_embeddings=True), gguf.MODEL_ARCH.LLAMA),
    "qwen2": ("Qwen2", SIZES, gguf.MODEL_ARCH.QWEN2),
    "qwen3": ("Qwen3", dict(SIZES, head_dim=16), gguf.MODEL_ARCH.QWEN3),
    "gpt2": ("GPT2", GPT2, gguf.MODEL_ARCH.GPT2),
    "quantized": ("Llama", SIZES, gguf.MODEL_ARCH.LLAMA),
    "llama3": ("Llama", dict(SIZES, max_position_embeddings=1024, rope_scaling=LLAMA3), gguf.MODEL_ARCH.LLAMA),
}
#: Models that Transformers' reader of such files gets wrong: it leaves out the width of Qwen3's heads, the factors of
#: frequencies, and the number of GPT-2's positions. The model that was written computes their logits.
NOT_READ = ("qwen3", "llama3", "gpt2")
#: The types of the quantized model's tensors, by a part of their names.
TYPES = {
    "token_embd": Type.Q8_0,
    "attn_q": Type.Q4_1,
    "attn_k": Type.Q4_0,
    "attn_v": Type.Q5_0,
    "attn_output": Type.Q5_1,
    "ffn_gate": Type.F16,
    "ffn_up": Type.BF16,
    "ffn_down": Type.Q4_1,
    "output.weight": Type.Q8_0,
}
TEXTS = [
    "The sea is blue.",
    "  two spaces, 1234 and 5.6\n\nlines\t",
    "naïve café — “quotes” 数字 ٣ 🙂",
    "<|im_start|>user\nHello<|im_end|>",
    "",
]


def trained_tokenizer():
    """A byte-level BPE of some text of this script, with control tokens before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=SIZES["vocab_size"],
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator([__doc__] * 3 + TEXTS, trainer)
    return tokenizer


#: Syllables of which the text is made that the SentencePiece models are trained on.
SYLLABLES = "ka lo mi ren tu sha pel o an ber ist ing er the qu é ñ".split()
#: Texts for SentencePiece: spaces, line breaks, characters without a piece, tokens in the text.
SPACED = [
    "",
    " ",
    "    ",
    "the",
    " the kalo",
    "  the   kalo    mi",
    "the ",
    "the\n\n kalo\t12.5, 3!\r\n",
    "🙂 ok 👩‍👩‍👧 數字 ٣ ᚠᛇᚻ ka",
    "naïve café e\u0301\u0000",
    "▁the▁▁kalo",
    "aaa aaaa anan ananan",
]
MARKED = ["<s>the kalo</s>", "<|im_end|> the<|user|>kalo  <|user|>", "<unk>the<unk>", "the<|im_end|>\n<s>"]


def sentence(numbers, words):
    return " ".join(words[at] for at in numbers.integers(len(words), size=8)) + ".!?"[numbers.integers(3)]


def sentencepiece_model(prefix):
    """A model of SentencePiece, trained on words of syllables; without a space before texts it has pieces of spaces."""
    numbers = generator("sentencepiece")
    word = lambda: "".join(SYLLABLES[at] for at in numbers.integers(len(SYLLABLES), size=numbers.integers(1, 5)))
    words = [word() for _ in range(300)] + ["12", "3.5"]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([sentence(numbers, words) for _ in range(1000)]),
        model_writer=written,
        model_type="bpe",
        vocab_size=480,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        control_symbols=["<|im_end|>"],
        user_defined_symbols=["<|user|>"] if prefix else ["<|user|>", "▁▁", "▁▁▁▁", "\n\n"],
        num_threads=1,
        minloglevel=2,
    )
    proto = ModelProto()
    proto.ParseFromString(written.getvalue())
    return proto, [sentence(numbers, words) for _ in range(20)]


def parts(text, marks):
    """The parts of a text: tokens that it names, and what is between them."""
    while text:
        found = [(text.find(mark), -len(mark), mark) for mark in marks if mark in text]
        start, _, mark = min(found, default=(len(text), 0, ""))
        yield from [text[:start]] * bool(start) + [mark] * bool(mark)
        text = text[start + len(mark) :]


def unused(proto):
    """Makes a third of the longer pieces parts of larger ones alone, some scores equal, and leaves out bytes."""
    proto.trainer_spec.byte_fallback = False
    for id, piece in enumerate(proto.pieces):
        if piece.type == piece.BYTE:
            piece.type = piece.CONTROL
        elif piece.type == piece.NORMAL:
            piece.score = float(int(piece.score) // 9)
            if len(piece.piece) > 1 and id % 3 == 0:
                piece.type = piece.UNUSED


def write_sentencepiece(name):
    """A Llama with a vocabulary of SentencePiece. Ids are its own; as llama.cpp and Transformers do, what follows a token that
    the text names is encoded as if it were a text."""
    prefix = not name.endswith("_bare")
    proto, sentences = sentencepiece_model(prefix)
    if name.endswith("_unused"):
        unused(proto)
    sizes = dict(SIZES, num_hidden_layers=1, vocab_size=len(proto.pieces))
    config = transformers.LlamaConfig(**sizes)
    model = transformers.LlamaForCausalLM(config)
    drawn(model, name, gguf.MODEL_ARCH.LLAMA)
    # llama.cpp finds user-defined tokens in texts with spaces.
    text_of = lambda piece: piece.piece.replace("▁", " ") if piece.type == piece.USER_DEFINED else piece.piece

    def tokenizer(writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([text_of(piece) for piece in proto.pieces])
        writer.add_token_scores([piece.score for piece in proto.pieces])
        writer.add_token_types([piece.type for piece in proto.pieces])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(not prefix)
        if not prefix:
            writer.add_add_space_prefix(False)

    write_file(name, model, config, gguf.MODEL_ARCH.LLAMA, tokenizer)
    processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())
    marks = [text_of(piece) for piece in proto.pieces if piece.type in (piece.UNKNOWN, piece.CONTROL, piece.USER_DEFINED)]
    ids = {piece: id for id, piece in enumerate(map(text_of, proto.pieces))}
    encode = lambda part: [ids[part]] if part in marks else processor.encode(part)
    theirs = transformers.AutoTokenizer.from_pretrained(".", gguf_file=f"{name}.gguf").backend_tokenizer
    texts = []
    for text in SPACED + MARKED + sentences:
        found = [id for part in parts(text, marks) for id in encode(part)]
        decoded = theirs.decode(found, skip_special_tokens=False)
        texts.append({"text": text, "ids": found, "decoded": decoded})
        if text in MARKED:
            continue
        assert processor.encode(text) == found, text
        # The unknown token is another text there.
        assert 0 in found or processor.decode(found) == decoded, text
        # Transformers' reader has neither user-defined tokens nor unused ones.
        if name == "sentencepiece":
            assert theirs.encode(text, add_special_tokens=False).ids == found, text
    return texts


def interleaved(weight, heads):
    """The rows of each head as llama.cpp has them: neighboring pairs instead of halves."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def is_transposed(key):
    """Whether a weight is one of GPT-2's matrices, which llama.cpp has as other models have them: `[output, input]`."""
    return key.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))


def drawn(model, name, architecture):
    """Fills a model. What llama.cpp has in another order is drawn in that order, so that archives can do without it."""
    randomize(model, name)
    config = model.config
    for key, parameter in model.named_parameters():
        if is_transposed(key):
            with torch.no_grad():
                parameter.copy_(normal(parameter.shape[::-1], name, key, "stored", std=0.25).T)
    if architecture != gguf.MODEL_ARCH.LLAMA:
        return
    heads = {"q_proj.weight": config.num_attention_heads, "k_proj.weight": config.num_key_value_heads}
    for key, parameter in model.named_parameters():
        count = heads.get(".".join(key.split(".")[-2:]))
        if count:
            stored = normal(parameter.shape, name, key, "stored", std=0.25)
            with torch.no_grad():
                parameter.copy_(stored.reshape(count, -1, 2, stored.shape[1]).swapaxes(1, 2).reshape(stored.shape))


def rope_factors(config):
    """What Llama 3's scaling divides each frequency by, in double precision: 1 where a turn takes few positions, the factor
    where it takes many, and between them such that the inverse changes evenly with the number of turns."""
    scaling = config.rope_scaling
    pairs = np.arange(config.hidden_size // config.num_attention_heads // 2)
    turns = scaling["original_max_position_embeddings"] * config.rope_theta ** (-pairs / len(pairs)) / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    share = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / (share + (1 - share) / scaling["factor"])).astype(np.float32)


def byte_level(tokenizer):
    """What writes the metadata of a byte-level BPE."""

    def write_metadata(writer):
        vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list([token for token, _ in vocabulary])
        writer.add_token_types([3 if index < 3 else 1 for index in range(len(vocabulary))])
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(0)
        writer.add_add_bos_token(False)

    return write_metadata


def write_file(name, model, config, architecture, tokenizer):
    writer = gguf.GGUFWriter(f"{name}.gguf", gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    is_gpt2 = architecture == gguf.MODEL_ARCH.GPT2
    writer.add_feed_forward_length(config.n_inner if is_gpt2 else config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if is_gpt2:
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_rope_freq_base(config.rope_theta)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if name == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if getattr(config, "rope_scaling", None) is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors(config))
    tokenizer(writer)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for key, parameter in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = parameter.numpy()
        if is_transposed(key):
            values = values.T
        if architecture == gguf.MODEL_ARCH.LLAMA and key.endswith("q_proj.weight"):
            values = interleaved(values, config.num_attention_heads)
        if architecture == gguf.MODEL_ARCH.LLAMA and key.endswith("k_proj.weight"):
            values = interleaved(values, config.num_key_value_heads)
        stored = names.get_name(key, try_suffixes=(".weight", ".bias"))
        kind = next((kind for part, kind in TYPES.items() if part in stored), Type.F32) if name == "quantized" else Type.F32
        if values.ndim == 1:
            kind = Type.F32
        data = gguf.quants.quantize(np.ascontiguousarray(values, dtype=np.float32), kind)
        writer.add_tensor(stored, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write(name, tokenizer):
    classes, sizes, architecture = MODELS[name]
    config = getattr(transformers, f"{classes}Config")(**sizes)
    model = getattr(transformers, "GPT2LMHeadModel" if classes == "GPT2" else f"{classes}ForCausalLM")(config)
    if name in ("llama3", "gpt2"):
        drawn(model, name, architecture)
    else:
        randomize(model, name)
    write_file(name, model, config, architecture, byte_level(tokenizer))
    read = model.eval()
    if name not in NOT_READ:
        read = transformers.AutoModelForCausalLM.from_pretrained(
            ".", gguf_file=f"{name}.gguf", attn_implementation="eager", dtype=torch.float32
        ).eval()
    ids = torch.from_numpy(generator(name, "input_ids").integers(3, sizes["vocab_size"], size=(1, 8)))
    with torch.no_grad():
        logits = read(ids).logits
        if name != "quantized":
            torch.testing.assert_close(logits, model.eval()(ids).logits, atol=1e-5, rtol=1e-5)
    write_golden(f"{name}.safetensors", {"input_ids": ids, "logits": logits})


#: Texts for BERT, some of them pairs: capital letters, accents, signs, characters of a word each, tokens in the text.
PAIRS = [
    ("The Sea is BLUE, isn't it?", None),
    ("Naïve CAFÉ ångström e\u0301", "“quotes” 1234 + 5.6 = $7 #8 ##9 [x] [] _a_"),
    ("数字 is 数 字, ٣ 🙂 \u0000\ufffd\tend\r\n", None),
    ("[CLS] the [MASK] tokenizer [SEP]", "a [mask] [UNK]"),
    ("llama llamas unllamaed transformersgguf", None),
    ("", None),
]


SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def word_pieces(text):
    """A vocabulary for BERT: the letters of a text, its frequent words, and their ends."""
    normal = normalizers.BertNormalizer(lowercase=True).normalize_str(text)
    words = [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(normal)]
    letters = sorted({letter for word in words for letter in word if letter.isascii()})
    frequent = sorted({word for word in words if words.count(word) > 1 and len(word) > 1})
    ends = sorted({word[-3:] for word in words if word.isalpha() and len(word) > 5})
    return [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent, *(f"##{end}" for end in ends)]


def write_encoder(name, config, positions, weights, tokens):
    writer = gguf.GGUFWriter(f"{name}.gguf", "bert")
    writer.add_context_length(positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_type_count(config.type_vocab_size)
    tokens(writer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config.num_hidden_layers)
    for key, parameter in weights.items():
        writer.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), parameter.detach().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def encoded(tokenizer, pairs):
    rows = [(text, pair, tokenizer(text, pair, return_token_type_ids=True)) for text, pair in pairs]
    return [{"text": text, "pair": pair, "ids": row.input_ids, "types": row.token_type_ids} for text, pair, row in rows]


def write_bert():
    """A BERT without a pooler, as llama.cpp has it, and its tokenizer."""
    vocabulary = word_pieces(" ".join([__doc__, *TEXTS, PAIRS[0][0]]))
    sizes = {key: SIZES[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")}
    config = transformers.BertConfig(**sizes, vocab_size=len(vocabulary), max_position_embeddings=64, layer_norm_eps=1e-6)
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    randomize(model, "bert")

    def tokens(writer):
        writer.add_tokenizer_model("bert")
        writer.add_tokenizer_pre("bert-bge")
        is_part = lambda token: token.startswith("##")
        writer.add_token_list([token[2:] if is_part(token) else token if token in SPECIAL else "▁" + token for token in vocabulary])
        writer.add_token_types([3 if token in SPECIAL else 1 for token in vocabulary])
        writer.add_pad_token_id(0)
        writer.add_unk_token_id(1)
        writer.add_bos_token_id(2)
        writer.add_sep_token_id(3)
        writer.add_mask_token_id(4)

    write_encoder("bert", config, config.max_position_embeddings, dict(model.named_parameters()), tokens)
    ids = torch.from_numpy(generator("bert", "input_ids").integers(5, len(vocabulary), size=(1, 10)))
    types = torch.tensor([[0] * 6 + [1] * 4])
    with torch.no_grad():
        hidden = model(ids, token_type_ids=types).last_hidden_state
    write_golden("bert.safetensors", {"input_ids": ids, "token_type_ids": types, "hidden": hidden})
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/vocab.txt", "w", encoding="utf-8") as file:
            file.writelines(f"{token}\n" for token in vocabulary)
        tokenizer = transformers.BertTokenizerFast(f"{folder}/vocab.txt")
    write_json("bert.json", encoded(tokenizer, PAIRS))


#: Texts for XLM-RoBERTa, some of them pairs.
MULTILINGUAL = [
    ("the kalo mi", None),
    ("  The   KALO\t\nka ", "anberist qué 12.5, 3! ﬁ Ａ"),
    ("▁the▁▁kalo 🙂 数字 e\u0301", None),
    ("<s>the</s> kalo<pad>", "<unk>the"),
    ("", None),
]


def write_xlm_roberta():
    """An XLM-RoBERTa as llama.cpp has it: a BERT without the positions that are never used, with a vocabulary of Unigram."""
    numbers = generator("unigram")
    word = lambda: "".join(SYLLABLES[at] for at in numbers.integers(len(SYLLABLES), size=numbers.integers(1, 4)))
    words = [word() for _ in range(200)] + ["12", "3.5"]
    written = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        # A ligature, a wide letter, white space, and an accent after its letter; the usual rules would be 200 kB.
        rules = ["FB01\t66 69", "FF21\t41", "9\t20", "A\t20", "65 301\tE9"]
        with open(f"{folder}/rules.tsv", "w", encoding="utf-8") as file:
            file.writelines(f"{rule}\n" for rule in rules)
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([sentence(numbers, words) for _ in range(1000)]),
            model_writer=written,
            model_type="unigram",
            vocab_size=180,
            normalization_rule_tsv=f"{folder}/rules.tsv",
            num_threads=1,
            minloglevel=2,
        )
        with open(f"{folder}/sentencepiece.bpe.model", "wb") as file:
            file.write(written.getvalue())
        tokenizer = transformers.XLMRobertaTokenizerFast(f"{folder}/sentencepiece.bpe.model")
    proto = ModelProto()
    proto.ParseFromString(written.getvalue())
    pieces = [(piece.piece, piece.score, piece.type) for piece in proto.pieces[3:]]
    pieces = [("<s>", 0.0, 3), ("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), *pieces, ("<mask>", 0.0, 3)]
    assert [piece for piece, _, _ in pieces] == tokenizer.convert_ids_to_tokens(range(len(pieces)))
    sizes = {key: SIZES[key] for key in ("hidden_size", "num_attention_heads", "intermediate_size")}
    sizes = dict(sizes, num_hidden_layers=1, vocab_size=len(pieces), max_position_embeddings=66, type_vocab_size=1)
    config = transformers.XLMRobertaConfig(**sizes, layer_norm_eps=1e-5)
    model = transformers.XLMRobertaModel(config, add_pooling_layer=False).eval()
    randomize(model, "xlm_roberta")
    unused = config.pad_token_id + 1
    # What is written is drawn, and the rows before it are not.
    table = model.embeddings.position_embeddings.weight
    with torch.no_grad():
        table.copy_(torch.cat([torch.zeros(unused, 32), normal((64, 32), "xlm_roberta", "positions", std=0.25)]))

    def tokens(writer):
        writer.add_tokenizer_model("t5")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([piece for piece, _, _ in pieces])
        writer.add_token_scores([score for _, score, _ in pieces])
        writer.add_token_types([kind for _, _, kind in pieces])
        writer.add_add_space_prefix(True)
        writer.add_remove_extra_whitespaces(True)
        writer.add_precompiled_charsmap(proto.normalizer_spec.precompiled_charsmap)
        writer.add_bos_token_id(0)
        writer.add_pad_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(3)
        writer.add_add_bos_token(True)
        writer.add_add_eos_token(True)

    weights = dict(model.named_parameters()) | {"embeddings.position_embeddings.weight": table[unused:]}
    write_encoder("xlm_roberta", config, 64, weights, tokens)
    ids = torch.from_numpy(generator("xlm_roberta", "input_ids").integers(4, len(pieces), size=(1, 10)))
    with torch.no_grad():
        hidden = model(ids).last_hidden_state
    write_golden("xlm_roberta.safetensors", {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "hidden": hidden})
    write_json("xlm_roberta.json", encoded(tokenizer, MULTILINGUAL))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, help="the folder of goldens; its `gguf/` is replaced")
    output = parser.parse_args().output
    make_deterministic(output)
    root = os.path.join(output, "gguf")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    os.chdir(root)
    tokenizer = trained_tokenizer()
    for name in MODELS:
        write(name, tokenizer)
    # Transformers' reader of such files puts a token before each text, whatever the file says.
    write_json("tokens.json", [{"text": text, "ids": tokenizer.encode(text).ids} for text in TEXTS])
    names = ["sentencepiece", "sentencepiece_bare", "sentencepiece_unused"]
    write_json("sentencepiece.json", {name: write_sentencepiece(name) for name in names})
    write_bert()
    write_xlm_roberta()
    print(f"{len(MODELS)} files, {folder_size('.') / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
