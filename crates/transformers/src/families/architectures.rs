//! The names of llama.cpp, which GGUF files hold: architectures, tokenizers, and how a text is split into words.

/// An architecture of llama.cpp.
pub(crate) struct Architecture {
    pub(crate) name: &'static str,
    /// The `model_type` of Hugging Face.
    pub(crate) model_type: &'static str,
    /// That of models that llama.cpp has under the same name.
    pub(crate) also: Option<&'static str>,
    /// Whether the rows of query and key are those of neighboring rotated pairs.
    pub(crate) is_interleaved: bool,
    /// Whether files may have factors for the frequencies of rotary positions.
    pub(crate) has_rope_factors: bool,
}

/// The architectures that are read.
pub(crate) const ARCHITECTURES: [Architecture; 3] = [
    Architecture {
        name: "llama",
        model_type: "llama",
        also: Some("mistral"),
        is_interleaved: true,
        has_rope_factors: true,
    },
    Architecture { name: "qwen2", model_type: "qwen2", also: None, is_interleaved: false, has_rope_factors: false },
    Architecture { name: "qwen3", model_type: "qwen3", also: None, is_interleaved: false, has_rope_factors: false },
];

/// The tokenizer of byte-level BPE.
pub(crate) const BYTE_LEVEL: &str = "gpt2";

/// The tokenizer of SentencePiece's BPE.
pub(crate) const SENTENCEPIECE: &str = "llama";

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
