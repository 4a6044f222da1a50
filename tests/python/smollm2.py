"""SmolLM2 in a GGUF file as a Hugging Face folder with its dequantized weights, for Transformers."""

import gguf
import numpy
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}  # fmt: skip


def make_tokenizer(fields):
    """The tokenizer of the file: byte-level BPE after each digit stands alone (`smollm`)."""
    kind = fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]
    if kind != ("gpt2", "smollm"):
        raise SystemExit(f"expected the tokenizer gpt2, smollm, found {', '.join(kind)}")
    tokens = fields["tokenizer.ggml.tokens"]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])
    tokenizer.decoder = decoders.ByteLevel()
    control = [token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"]) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    special = {"eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]], "pad_token": tokens[0]}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=fields["tokenizer.chat_template"], **special
    )


def make_model(path, folder):
    """The GGUF file as a Hugging Face folder in f32."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    size = {key: fields[f"llama.{key}"] for key in ("embedding_length", "feed_forward_length", "block_count")}
    heads = {"q": fields["llama.attention.head_count"], "k": fields["llama.attention.head_count_kv"]}
    tensors = {}
    for tensor in reader.tensors:
        *layer, kind, _ = tensor.name.split(".")
        name = "".join(f"model.layers.{number}." for number in layer[1:]) + NAMES[kind] + ".weight"
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        if kind in ("attn_q", "attn_k"):
            # llama.cpp rotates neighboring rows, Transformers the two halves of a head.
            rows = values.reshape(heads[kind[-1]], -1, 2, values.shape[1])
            values = rows.swapaxes(1, 2).reshape(values.shape)
        tensors[name] = numpy.ascontiguousarray(values)
    folder.mkdir()
    make_tokenizer(fields).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=size["embedding_length"],
        intermediate_size=size["feed_forward_length"],
        num_hidden_layers=size["block_count"],
        num_attention_heads=heads["q"],
        num_key_value_heads=heads["k"],
        max_position_embeddings=fields["llama.context_length"],
        rms_norm_eps=float(fields["llama.attention.layer_norm_rms_epsilon"]),
        rope_theta=float(fields["llama.rope.freq_base"]),
        tie_word_embeddings="output.weight" not in tensors,
        architectures=["LlamaForCausalLM"],
    )
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)  # last: the folder is whole
