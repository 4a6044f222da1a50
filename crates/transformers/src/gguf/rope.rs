//! Rotary positions in GGUF files: how they are stretched, and factors for single frequencies.
//!
//! The metadata names one of llama.cpp's scalings, `linear` or `yarn`. Llama 3's has no name there: its files have the tensor
//! `rope_freqs.weight`, with a factor for each pair of a head's elements by which the pair's frequency is divided.

use burn_adapters_tensors::{BlockType, Gguf, GgufTensor, GgufValue, TensorFileError};
use serde_json::{Map, Value, json};

use super::{Architecture, shown};
use crate::ModelConfigError;
use crate::plan::ModelPlan;

/// The tensor of the factors, f32.
pub(super) const FACTORS: &str = "rope_freqs.weight";

/// The keys that are read here, and the base of the frequencies, which is one of `config.json`.
const KEYS: [&str; 14] = [
    ROTATED,
    "freq_base",
    SCALING,
    FACTOR,
    "scale_linear",
    ORIGINAL,
    ATTENTION_FACTOR,
    // A note for people.
    "scaling.finetuned",
    "scaling.yarn_beta_fast",
    "scaling.yarn_beta_slow",
    "scaling.alpha",
    "scaling.yarn_attn_factor",
    "scaling.yarn_ext_factor",
    "scaling.yarn_log_multiplier",
];

/// The number of elements of a head that are rotated: all of them in these architectures.
const ROTATED: &str = "dimension_count";
const SCALING: &str = "scaling.type";
const FACTOR: &str = "scaling.factor";
const ORIGINAL: &str = "scaling.original_context_length";
const ATTENTION_FACTOR: &str = "scaling.attn_factor";

/// Keys that change the scaling in ways that are not known here, with the only value that does not.
const NEUTRAL: [(&str, f64); 6] = [
    ("scaling.alpha", 0.0),
    ("scaling.yarn_attn_factor", 1.0),
    // llama.cpp has them for some architectures, and takes these values for others.
    ("scaling.yarn_beta_fast", 32.0),
    ("scaling.yarn_beta_slow", 1.0),
    ("scaling.yarn_ext_factor", 1.0),
    ("scaling.yarn_log_multiplier", 0.0),
];

/// The keys of an architecture's rotary positions.
struct Keys<'a> {
    file: &'a Gguf,
    /// `llama.rope.`.
    prefix: String,
}

impl Keys<'_> {
    fn wrong(&self, reason: impl std::fmt::Display) -> ModelConfigError {
        ModelConfigError::Gguf { message: format!("{}: {reason}", shown(self.file)) }
    }

    fn get(&self, key: &str) -> Option<&GgufValue> {
        self.file.metadata().get(&format!("{}{key}", self.prefix))
    }

    /// A number of at least 0.
    fn number(&self, key: &str) -> Result<Option<f64>, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_float().filter(|number| number.is_finite() && *number >= 0.0);
        number.map(Some).ok_or_else(|| {
            let found = value.as_float().map_or(value.kind().to_owned(), |number| number.to_string());
            self.wrong(format!("`{}{key}` is {found}, expected a number of at least 0", self.prefix))
        })
    }

    /// The error for a value that is not known.
    fn unsupported(&self, key: &str, found: impl std::fmt::Display, supported: &str) -> ModelConfigError {
        self.wrong(format!("`{}{key}` is {found}, which is not supported; supported: {supported}", self.prefix))
    }
}

/// The `rope_scaling` of `config.json` that the metadata stands for.
///
/// # Errors
/// If a key of rotary positions has a meaning that is not known here.
pub(super) fn scaling(file: &Gguf, architecture: &Architecture) -> Result<Option<Value>, ModelConfigError> {
    let keys = Keys { file, prefix: format!("{}.rope.", architecture.name) };
    let is_rotary = architecture.keys.iter().any(|(key, _)| *key == "rope.freq_base");
    for key in file.metadata().keys().filter_map(|key| key.strip_prefix(&keys.prefix)) {
        if !is_rotary {
            let name = architecture.name;
            return Err(
                keys.wrong(format!("it has the key `{}{key}`, but {name} has no rotary positions", keys.prefix))
            );
        }
        if !KEYS.contains(&key) {
            let known = KEYS.join(", ");
            return Err(keys.wrong(format!("the key `{}{key}` is not known; known there: {known}", keys.prefix)));
        }
    }
    keys.check_width(architecture)?;
    for (key, neutral) in NEUTRAL {
        if let Some(found) = keys.number(key)?.filter(|found| *found != neutral) {
            return Err(keys.unsupported(key, found, &format!("no such key, or {neutral}")));
        }
    }
    // As in llama.cpp, 0 is as good as no factor, and a factor without a type is that of "linear".
    let factor = keys.number(FACTOR)?.or(keys.number("scale_linear")?).filter(|factor| *factor != 0.0);
    let attention = keys.number(ATTENTION_FACTOR)?.unwrap_or(1.0);
    let kind = match keys.get(SCALING) {
        None => "linear",
        Some(value) => value
            .as_text()
            .ok_or_else(|| keys.wrong(format!("`{}{SCALING}` is {}, expected a text", keys.prefix, value.kind())))?,
    };
    match (kind, factor) {
        ("yarn", Some(factor)) if factor >= 1.0 => return keys.yarn(factor, attention).map(Some),
        ("yarn", found) => {
            let found = found.map_or("missing".to_owned(), |found| found.to_string());
            return Err(keys.unsupported(FACTOR, found, "with \"yarn\", a number of at least 1"));
        }
        ("none" | "linear", _) if attention != 1.0 => {
            return Err(keys.unsupported(ATTENTION_FACTOR, attention, "1, or another with \"yarn\""));
        }
        ("linear", Some(factor)) => return Ok(Some(json!({ "rope_type": "linear", "factor": factor }))),
        ("none" | "linear", _) => {}
        (kind, _) => return Err(keys.unsupported(SCALING, format!("\"{kind}\""), "\"none\", \"linear\", \"yarn\"")),
    }
    Ok(None)
}

impl Keys<'_> {
    /// Checks that whole heads are rotated.
    fn check_width(&self, architecture: &Architecture) -> Result<(), ModelConfigError> {
        let of_architecture = |key: &str| {
            self.file.metadata().get(&format!("{}.{key}", architecture.name)).and_then(GgufValue::as_unsigned)
        };
        let part = || Some(of_architecture("embedding_length")? / of_architecture("attention.head_count")?.max(1));
        let rotated = self.get(ROTATED).and_then(GgufValue::as_unsigned);
        match rotated.zip(of_architecture("attention.key_length").or_else(part)) {
            Some((rotated, head)) if rotated != head => {
                Err(self.unsupported(ROTATED, rotated, &format!("{head}, the width of a head")))
            }
            _ => Ok(()),
        }
    }

    /// YaRN. Without a length, that of the model is the one that it was first trained on.
    fn yarn(&self, factor: f64, attention: f64) -> Result<Value, ModelConfigError> {
        let mut scaling = Map::new();
        scaling.insert("rope_type".into(), "yarn".into());
        scaling.insert("factor".into(), factor.into());
        // 0 is as good as no value, in both programs.
        if let Some(length) = self.number(ORIGINAL)? {
            scaling.insert("original_max_position_embeddings".into(), length.into());
        }
        if attention != 1.0 {
            if attention == 0.0 {
                return Err(self.unsupported(ATTENTION_FACTOR, attention, "a number above 0"));
            }
            // There it comes on top of YaRN's own factor.
            scaling.insert("attention_factor".into(), (attention * (0.1 * factor.ln() + 1.0)).into());
        }
        Ok(Value::Object(scaling))
    }
}

/// Whether a tensor of a file has the factors, and so is not a weight.
pub(crate) fn is_factors(name: &str, architecture: &Architecture) -> bool {
    architecture.has_rope_factors && name == FACTORS
}

/// Divides the frequencies of a model by the factors of its file, if that has any.
///
/// # Errors
/// If they are not a finite number above 0 for each pair of a head's elements.
pub(crate) fn divide(plan: &mut ModelPlan, file: &Gguf, architecture: &Architecture) -> Result<(), ModelConfigError> {
    let Some((_, shape)) = file.tensors().find(|(name, _)| is_factors(name, architecture)) else { return Ok(()) };
    let wrong = |reason: String| ModelConfigError::Gguf {
        message: format!("{}: the tensor `{FACTORS}` {reason}; convert the model again", shown(file)),
    };
    let failed = |error: TensorFileError| ModelConfigError::Gguf { message: error.to_string() };
    let attention = &mut plan.stack.layer.attention;
    let Some(rotary) = attention.rotary.take() else {
        return Err(wrong("is there, but positions are not rotary".into()));
    };
    let pairs = rotary.dims() / 2;
    if shape != [pairs] {
        return Err(wrong(format!(
            "has the shape {shape:?}, expected [{pairs}]: a factor for each pair of a head's elements"
        )));
    }
    let kind = file.block_type(FACTORS).map_err(failed)?;
    if kind != BlockType::F32 {
        return Err(wrong(format!("is in {kind}, expected F32")));
    }
    let factors: Vec<f32> = file.read(FACTORS).map_err(failed)?;
    // The inverse of the smallest numbers is infinite.
    if let Some(at) = factors.iter().position(|factor| *factor <= 0.0 || !factor.recip().is_finite()) {
        return Err(wrong(format!("has the factor {} at {at}, expected finite numbers above 0", factors[at])));
    }
    attention.rotary = rotary.divided(&factors);
    Ok(())
}

/// The tensor of a model's factors, and its values, if the model has any.
///
/// # Errors
/// The reason why a file of this architecture cannot hold them.
pub(super) fn factors(plan: &ModelPlan, architecture: &Architecture) -> Result<Option<(GgufTensor, Vec<f32>)>, String> {
    let rotary = plan.stack.layer.attention.rotary.as_ref();
    let Some(factors) = rotary.and_then(|rotary| rotary.factors()) else { return Ok(None) };
    if !architecture.has_rope_factors {
        return Err(format!(
            "its rotary positions are scaled (\"llama3\"), which llama.cpp lacks for {}",
            architecture.name
        ));
    }
    let tensor = GgufTensor { name: FACTORS.to_owned(), kind: BlockType::F32, shape: vec![factors.len()] };
    Ok(Some((tensor, factors.to_vec())))
}

/// The keys that stand for the `rope_scaling` of a `config.json`; that of Llama 3 is a [tensor](factors).
///
/// # Errors
/// The reason why there are none.
pub(super) fn metadata(config: &Value) -> Result<Vec<(&'static str, GgufValue)>, String> {
    let Some(scaling) = config.get("rope_scaling").filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or_default();
    let refused = |reason: String| Err(format!("its rotary positions are scaled ({scaling}), {reason}"));
    let number = |key: &str| scaling.get(key).and_then(Value::as_f64);
    let text = |kind: &str| (SCALING, GgufValue::Text(kind.to_owned()));
    match (kind, number("factor")) {
        ("default" | "llama3", _) => Ok(Vec::new()),
        ("linear", Some(factor)) => Ok(vec![text(kind), (FACTOR, GgufValue::F32(factor as f32))]),
        ("yarn", Some(factor)) if factor >= 1.0 => {
            let read = ["rope_type", "type", "factor", "original_max_position_embeddings", "finetuned"];
            let is_default = |(key, value): &(&String, &Value)| match key.as_str() {
                "beta_fast" => value.as_f64() == Some(32.0),
                "beta_slow" => value.as_f64() == Some(1.0),
                "truncate" => value.as_bool() == Some(true),
                _ => false,
            };
            let mut other = scaling.as_object().into_iter().flatten().filter(|entry| !is_default(entry));
            let other = other.find(|(key, value)| !read.contains(&key.as_str()) && !value.is_null());
            if let Some((key, _)) = other {
                return refused(format!("and GGUF files have no `{key}`"));
            }
            let original = number("original_max_position_embeddings").filter(|length| *length > 0.0);
            let original = original.map(|length| (ORIGINAL, GgufValue::Unsigned(length as u64)));
            Ok([text(kind), (FACTOR, GgufValue::F32(factor as f32))].into_iter().chain(original).collect())
        }
        _ => refused("which is not written to GGUF files".to_owned()),
    }
}
