//! The names of llama.cpp, which GGUF files hold: architectures, tokenizers, and how a text is split into words.

use burn_adapters_core::{Activation, SiteNames, StackKind};

/// An architecture of llama.cpp.
#[derive(Debug)]
pub(crate) struct Architecture {
    pub(crate) name: &'static str,
    /// The `model_type` of Hugging Face.
    pub(crate) model_type: &'static str,
    /// That of models that llama.cpp has under the same name.
    pub(crate) also: Option<&'static str>,
    /// The keys of the metadata, and the keys of `config.json` that they become.
    pub(crate) keys: &'static [(&'static str, &'static str)],
    /// The modules outside of layers: their names there, and in the model.
    pub(crate) outside: &'static [(&'static str, &'static str)],
    /// The norms of a layer.
    pub(crate) norms: &'static [(&'static str, &'static str)],
    /// The names of matrices in the model; [there](SiteNames::llama_cpp_name) they are the same in all architectures.
    pub(crate) sites: SiteNames,
    /// The activations of feed-forward blocks that are computed there.
    pub(crate) activations: &'static [Activation],
    /// Whether the rows of query and key are those of neighboring rotated pairs.
    pub(crate) is_interleaved: bool,
    /// Whether Hugging Face's files have the matrices of layers as `[input, output]`.
    pub(crate) is_input_first: bool,
    /// Whether files may have factors for the frequencies of rotary positions.
    pub(crate) has_rope_factors: bool,
}

impl Architecture {
    /// Whether tokens see all of a text.
    pub(crate) fn is_encoder(&self) -> bool {
        self.sites.stack(StackKind::Encoder).is_some()
    }
}

/// Llama, with what its relatives have in common.
const LLAMA: Architecture = Architecture {
    name: "llama",
    model_type: "llama",
    also: Some("mistral"),
    keys: &[
        ("embedding_length", "hidden_size"),
        ("block_count", "num_hidden_layers"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        ("rope.freq_base", "rope_theta"),
        ("context_length", "max_position_embeddings"),
        ("vocab_size", "vocab_size"),
    ],
    outside: &[("token_embd", "embed_tokens"), ("output_norm", "norm"), ("output", "lm_head")],
    norms: &[
        ("attn_norm", "input_layernorm"),
        ("attn_q_norm", "self_attn.q_norm"),
        ("attn_k_norm", "self_attn.k_norm"),
        ("ffn_norm", "post_attention_layernorm"),
    ],
    sites: super::llama::NAMES,
    activations: &[Activation::Silu, Activation::Swish],
    is_interleaved: true,
    is_input_first: false,
    has_rope_factors: true,
};

/// Qwen2's and Qwen3's.
const fn qwen(name: &'static str) -> Architecture {
    Architecture { name, model_type: name, also: None, is_interleaved: false, has_rope_factors: false, ..LLAMA }
}

const GPT2: Architecture = Architecture {
    name: "gpt2",
    model_type: "gpt2",
    also: None,
    keys: &[
        ("embedding_length", "n_embd"),
        ("block_count", "n_layer"),
        ("feed_forward_length", "n_inner"),
        ("attention.head_count", "n_head"),
        ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        ("context_length", "n_positions"),
        ("vocab_size", "vocab_size"),
    ],
    outside: &[("token_embd", "wte"), ("position_embd", "wpe"), ("output_norm", "ln_f"), ("output", "lm_head")],
    norms: &[("attn_norm", "ln_1"), ("ffn_norm", "ln_2")],
    sites: super::gpt2::NAMES,
    activations: &[Activation::GeluNew, Activation::GeluPytorchTanh],
    is_interleaved: false,
    is_input_first: true,
    has_rope_factors: false,
};

const BERT: Architecture = Architecture {
    name: "bert",
    model_type: "bert",
    also: None,
    keys: &[
        ("embedding_length", "hidden_size"),
        ("block_count", "num_hidden_layers"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.layer_norm_epsilon", "layer_norm_eps"),
        ("context_length", "max_position_embeddings"),
        ("vocab_size", "vocab_size"),
    ],
    outside: &[
        ("token_embd", "embeddings.word_embeddings"),
        ("position_embd", "embeddings.position_embeddings"),
        ("token_types", "embeddings.token_type_embeddings"),
        ("token_embd_norm", "embeddings.LayerNorm"),
    ],
    norms: &[("attn_output_norm", "attention.output.LayerNorm"), ("layer_output_norm", "output.LayerNorm")],
    sites: super::bert::NAMES,
    // llama.cpp has the tanh approximation in their place.
    activations: &[Activation::Gelu, Activation::GeluPython],
    is_interleaved: false,
    is_input_first: false,
    has_rope_factors: false,
};

/// The architectures that are read.
pub(crate) const ARCHITECTURES: [Architecture; 5] = [LLAMA, qwen("qwen2"), qwen("qwen3"), GPT2, BERT];

/// The tokenizer of byte-level BPE.
pub(crate) const BYTE_LEVEL: &str = "gpt2";

/// The tokenizer of SentencePiece's BPE.
pub(crate) const SENTENCEPIECE: &str = "llama";

/// The tokenizer of BERT's word pieces.
pub(crate) const WORD_PIECES: &str = "bert";

/// The tokenizer of SentencePiece's Unigram.
pub(crate) const UNIGRAM: &str = "t5";

/// How a text is split into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// As GPT-2 does.
    Gpt2,
    /// As GPT-2 does, and each digit alone.
    Digits,
    /// As Llama 3 does.
    Llama3,
    /// As Qwen2 does.
    Qwen2,
}

/// The names of these ways.
pub(crate) const WORDS: [(&str, Words); 11] = [
    ("default", Words::Gpt2),
    ("gpt-2", Words::Gpt2),
    ("gpt2", Words::Gpt2),
    ("command-r", Words::Digits),
    ("refact", Words::Digits),
    ("smollm", Words::Digits),
    ("starcoder", Words::Digits),
    ("llama-bpe", Words::Llama3),
    ("llama-v3", Words::Llama3),
    ("llama3", Words::Llama3),
    ("qwen2", Words::Qwen2),
];
