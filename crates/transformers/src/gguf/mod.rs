//! Models in GGUF files: their configuration, and their weights under Hugging Face's names.
//!
//! The metadata of a file becomes the keys of a `config.json`, so that a family's plan is the same for both. Of some
//! architectures, llama.cpp stores the rows of query and key in another order, or matrices transposed; tensors become those of
//! Hugging Face's files when they are read.

mod metadata;
mod names;
mod rope;
mod write;

use std::path::Path;

use burn_adapters_tensors::{Gguf, GgufValue, TensorFileError};
use serde_json::{Map, Value};

pub(crate) use self::names::{Layout, Names};
pub(crate) use self::rope::{divide, is_factors};
pub use self::write::GgufFormat;
use crate::ModelConfigError;
use crate::families::{ARCHITECTURES, Architecture};

/// The key of the architecture.
const ARCHITECTURE: &str = "general.architecture";

/// Whether a path is that of a GGUF file instead of a folder.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}

/// Opens a GGUF file.
pub(crate) fn open(path: &Path) -> Result<Gguf, TensorFileError> {
    // Of any size: no tensor is read before its shape is known to be the model's.
    Gguf::open(path, u64::MAX)
}

/// Opens a GGUF file for its configuration.
pub(crate) fn open_config(path: &Path) -> Result<Gguf, ModelConfigError> {
    open(path).map_err(|error| ModelConfigError::Gguf { message: error.to_string() })
}

/// The architecture of a file.
pub(crate) fn architecture(file: &Gguf) -> Result<&'static Architecture, ModelConfigError> {
    let name = file.metadata().get(ARCHITECTURE).and_then(GgufValue::as_text);
    let name = name.ok_or_else(|| ModelConfigError::MissingKey { file: shown(file), key: ARCHITECTURE })?;
    ARCHITECTURES.iter().find(|known| known.name == name).ok_or_else(|| ModelConfigError::Unsupported {
        file: shown(file),
        key: ARCHITECTURE,
        found: format!("\"{name}\""),
        supported: ARCHITECTURES.iter().map(|known| format!("\"{}\"", known.name)).collect::<Vec<_>>().join(", "),
    })
}

fn shown(file: &Gguf) -> String {
    file.path().display().to_string()
}

/// The ids of special tokens, and their keys in `config.json`.
const TOKENS: [(&str, &str); 3] = [
    ("tokenizer.ggml.bos_token_id", "bos_token_id"),
    ("tokenizer.ggml.eos_token_id", "eos_token_id"),
    ("tokenizer.ggml.padding_token_id", "pad_token_id"),
];

/// The ids of further tokens that end what a model says: a turn, or a message of several.
const TURN_ENDS: [&str; 2] = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// The tokens that end a turn, beside the one that ends a text.
pub(crate) fn turn_ends(file: &Gguf) -> Result<Vec<u32>, ModelConfigError> {
    let read = |key: &'static str| {
        let value = file.metadata().get(key)?;
        let id = value.as_unsigned().and_then(|id| u32::try_from(id).ok());
        Some(id.ok_or_else(|| ModelConfigError::Gguf {
            message: format!("{}: {key} is {}, expected the id of a token", shown(file), value.kind()),
        }))
    };
    TURN_ENDS.into_iter().filter_map(read).collect()
}

/// Keys that change what a model computes, in ways that are not known here, with the only value that does not.
const UNSUPPORTED: [(&str, f64); 6] = [
    ("attention.sliding_window", 0.0),
    ("attention.scale", 0.0),
    ("embedding_scale", 1.0),
    ("expert_count", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
];

/// The keys that llama.cpp has defaults for, beside the number of heads of keys, which is that of queries.
const OPTIONAL: [&str; 3] = ["attention.key_length", "rope.freq_base", "vocab_size"];

/// The numbers of heads of queries, and of keys and values.
const HEADS: &str = "attention.head_count";
const KEY_HEADS: &str = "attention.head_count_kv";

/// Whether tokens see only what is before them.
const CAUSAL: &str = "attention.causal";

/// The `config.json` that the metadata stands for.
pub(crate) fn config(file: &Gguf) -> Result<Value, ModelConfigError> {
    let architecture = architecture(file)?;
    let of_architecture = |key: &str| file.metadata().get(&format!("{}.{key}", architecture.name));
    for (key, neutral) in UNSUPPORTED {
        if let Some(value) = of_architecture(key).filter(|value| value.as_float() != Some(neutral)) {
            let found = value.as_float().map_or(value.kind().to_owned(), |value| value.to_string());
            let supported = format!("no such key, or {neutral}");
            return Err(ModelConfigError::Unsupported { file: shown(file), key, found, supported });
        }
    }
    // Without grouped heads, the key is superfluous.
    let has = |key: &str| architecture.keys.iter().any(|(known, _)| *known == key);
    let [heads, of_keys] = [HEADS, KEY_HEADS].map(|key| of_architecture(key).and_then(GgufValue::as_unsigned));
    if let (false, Some(found)) = (has(KEY_HEADS), of_keys.filter(|count| Some(*count) != heads)) {
        let supported = format!("that of {HEADS}, {}", heads.unwrap_or_default());
        return Err(ModelConfigError::Unsupported {
            file: shown(file),
            key: KEY_HEADS,
            found: found.to_string(),
            supported,
        });
    }
    let mut config = Map::new();
    config.insert("model_type".into(), architecture.model_type.into());
    for &(own, key) in architecture.keys {
        match of_architecture(own) {
            Some(value) => drop(config.insert(key.into(), number(value))),
            None if own == KEY_HEADS => drop(heads.map(|heads| config.insert(key.into(), heads.into()))),
            None if OPTIONAL.contains(&own) => {}
            // Here the default of the family's `config.json` could be that of another model.
            None => return Err(ModelConfigError::MissingKey { file: shown(file), key: own }),
        }
    }
    for (own, key) in TOKENS {
        if let Some(value) = file.metadata().get(own) {
            config.insert(key.into(), number(value));
        }
    }
    if !config.contains_key("vocab_size")
        && let Some(tokens) = file.metadata().get("tokenizer.ggml.tokens").and_then(GgufValue::as_texts)
    {
        config.insert("vocab_size".into(), tokens.len().into());
    }
    // Models of other architectures may have been trained without the mask of a decoder.
    let is_encoder = architecture.is_encoder();
    if let Some(value) = of_architecture(CAUSAL).filter(|value| value.as_bool() != Some(!is_encoder)) {
        let found = value.as_bool().map_or(value.kind().to_owned(), |causal| causal.to_string());
        let supported = (!is_encoder).to_string();
        return Err(ModelConfigError::Unsupported { file: shown(file), key: CAUSAL, found, supported });
    }
    if is_encoder {
        // The number of types is also a key of the tokenizer, which files may leave out.
        let types = file.tensors().find(|(name, _)| *name == "token_types.weight").and_then(|(_, shape)| shape.first());
        let types =
            types.ok_or_else(|| ModelConfigError::MissingKey { file: shown(file), key: "token_types.weight" })?;
        config.insert("type_vocab_size".into(), (*types).into());
    }
    // Files of llama.cpp have no output layer of their own where it is the table of word embeddings.
    let is_tied = is_encoder || !file.tensors().any(|(name, _)| name == "output.weight");
    config.insert("tie_word_embeddings".into(), is_tied.into());
    if file.tensors().any(|(name, _)| name == "blk.0.attn_q.bias") {
        config.insert("attention_bias".into(), true.into());
    }
    if let Some(scaling) = rope::scaling(file, architecture)? {
        config.insert("rope_scaling".into(), scaling);
    }
    Ok(Value::Object(config))
}

/// A number as JSON. Any other value becomes a text that names its kind, which the error of the key then shows.
fn number(value: &GgufValue) -> Value {
    match value {
        GgufValue::Unsigned(value) => (*value).into(),
        GgufValue::Signed(value) => (*value).into(),
        // As short as single precision has it.
        GgufValue::F32(value) => value.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        GgufValue::F64(value) => (*value).into(),
        value => value.kind().into(),
    }
}
