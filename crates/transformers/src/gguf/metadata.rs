//! The metadata of a GGUF file, from a Hugging Face folder.

use std::collections::BTreeMap;
use std::path::Path;

use burn_adapters_files::{MAX_CONFIG, parse_json, read_text};
use burn_adapters_tensors::GgufValue;
use serde_json::Value;

use super::{ARCHITECTURE, Architecture, CAUSAL, KEY_HEADS, rope};
use crate::plan::ModelPlan;
use crate::{ModelChatTemplate, ModelSaveError, Tokenizer};

/// The keys of the architecture that are numbers in single precision.
const FLOATS: [&str; 3] = ["attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon", "rope.freq_base"];

/// The metadata of a folder's model and tokenizer.
pub(super) fn of_folder(
    dir: &Path,
    plan: &ModelPlan,
    architecture: &Architecture,
) -> Result<BTreeMap<String, GgufValue>, ModelSaveError> {
    let path = dir.join("config.json");
    let refused = |reason: String| ModelSaveError::GgufMetadata { path: path.clone(), reason };
    let text = read_text(&path, MAX_CONFIG).map_err(|error| refused(error.kind.to_string()))?;
    let config: Value = parse_json(&text).map_err(|error| refused(error.to_string()))?;
    let layer = &plan.stack.layer;
    let head = layer.attention.key.size[1] / layer.attention.key_value_heads.max(1);
    // What the folder may leave to defaults is the plan's.
    let planned = |key: &str| match key {
        "embedding_length" => Some(layer.hidden as f64),
        "block_count" => Some(plan.stack.layers as f64),
        "feed_forward_length" => Some(layer.feed_forward.up.size[1] as f64),
        "attention.head_count" => Some(layer.attention.heads as f64),
        KEY_HEADS => Some(layer.attention.key_value_heads as f64),
        "attention.key_length" => Some(head as f64),
        "attention.layer_norm_epsilon" | "attention.layer_norm_rms_epsilon" => {
            Some(plan.norm.as_ref().or(layer.attention_norm.as_ref())?.epsilon)
        }
        "context_length" => Some(plan.limits.sequence as f64),
        "vocab_size" => Some(plan.limits.vocabulary as f64),
        _ => None,
    };
    let mut values = BTreeMap::new();
    for (own, key) in architecture.keys {
        let found = config.get(key).and_then(Value::as_f64).or_else(|| planned(own));
        let Some(number) = found else { continue };
        let value =
            if FLOATS.contains(own) { GgufValue::F32(number as f32) } else { GgufValue::Unsigned(number as u64) };
        values.insert(format!("{}.{own}", architecture.name), value);
    }
    if architecture.is_encoder() {
        values.insert(format!("{}.{CAUSAL}", architecture.name), GgufValue::Bool(false));
        let types = GgufValue::Unsigned(plan.limits.token_types as u64);
        values.insert("tokenizer.ggml.token_type_count".to_owned(), types);
    }
    if layer.attention.rotary.is_some() {
        for key in ["attention.value_length", "rope.dimension_count"] {
            values.insert(format!("{}.{key}", architecture.name), GgufValue::Unsigned(head as u64));
        }
    }
    for (key, value) in rope::metadata(&config).map_err(refused)? {
        values.insert(format!("{}.rope.{key}", architecture.name), value);
    }
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    values.insert("general.name".to_owned(), GgufValue::Text(name.unwrap_or_default()));
    values.insert("general.type".to_owned(), GgufValue::Text("model".to_owned()));
    values.insert(ARCHITECTURE.to_owned(), GgufValue::Text(architecture.name.to_owned()));
    let tokenizer = Tokenizer::from_dir(dir).map_err(|error| refused(error.to_string()))?;
    let templates = ModelChatTemplate::all(dir).map_err(|error| refused(error.to_string()))?;
    if let Some(template) = ModelChatTemplate::choose(&templates, false) {
        values.insert("tokenizer.chat_template".to_owned(), GgufValue::Text(template.source.clone()));
    }
    values.extend(tokenizer.gguf_metadata(plan.limits.vocabulary).map_err(refused)?);
    Ok(values)
}
