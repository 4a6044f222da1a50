//! The keys of a `config.json`, read one by one so that an error can name the key.

use burn_adapters_core::Activation;
use burn_adapters_files::parse_json;
use serde_json::{Map, Value};

use crate::ModelConfigError;

/// More layers than any model has: a bound for what a file may ask for.
const MOST_LAYERS: usize = 10_000;

/// The largest size that a key may give: no model comes near, and products of two of them cannot overflow.
const LARGEST: u64 = 1 << 24;

/// The object of a `config.json`.
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    file: &'a str,
}

impl<'a> Fields<'a> {
    /// The keys of `value`; `file` is what errors call it.
    pub(crate) fn new(value: &'a Value, file: &'a str) -> Result<Self, ModelConfigError> {
        match value {
            Value::Object(map) => Ok(Self { map, file }),
            other => Err(ModelConfigError::NotAnObject { file: file.to_owned(), found: kind(other) }),
        }
    }

    /// What errors call the file.
    pub(crate) fn file(&self) -> String {
        self.file.to_owned()
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// The object of a key; `file` is what errors call it.
    pub(crate) fn part<'b>(&'b self, key: &'static str, file: &'b str) -> Result<Fields<'b>, ModelConfigError> {
        Ok(Fields { map: self.object(key)?.ok_or_else(|| self.missing(key))?, file })
    }

    /// A copy of the object without some keys.
    pub(crate) fn without(&self, keys: &[&str]) -> Value {
        Value::Object(
            self.map
                .iter()
                .filter(|(key, _)| !keys.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    fn wrong(&self, key: &'static str, expected: &'static str, found: &Value) -> ModelConfigError {
        ModelConfigError::WrongType { file: self.file(), key, expected, found: shown(found) }
    }

    /// The error for a key that is needed.
    pub(crate) fn missing(&self, key: &'static str) -> ModelConfigError {
        ModelConfigError::MissingKey { file: self.file(), key }
    }

    /// A size: a whole number of at least 1.
    pub(crate) fn size(&self, key: &'static str) -> Result<usize, ModelConfigError> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
    }

    /// As [`size`](Self::size), where the key may be absent.
    pub(crate) fn optional_size(&self, key: &'static str) -> Result<Option<usize>, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64() {
            Some(size @ 1..=LARGEST) => Ok(Some(size as usize)),
            Some(_) => Err(self.wrong(key, "a whole number between 1 and 16777216", value)),
            None => Err(self.wrong(key, "a whole number of at least 1", value)),
        }
    }

    /// A whole number of at least 0.
    pub(crate) fn index(&self, key: &'static str, default: usize) -> Result<usize, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match value.as_u64() {
            Some(index @ 0..=LARGEST) => Ok(index as usize),
            _ => Err(self.wrong(key, "a whole number of at least 0", value)),
        }
    }

    /// A whole number of at least 1; `None` if the key is absent, 0 or negative.
    pub(crate) fn bound(&self, key: &'static str) -> Result<Option<usize>, ModelConfigError> {
        match self.get(key) {
            Some(value) if value.as_i64().is_some_and(|number| number < 1) => Ok(None),
            _ => self.optional_size(key),
        }
    }

    /// A probability, in `[0, 1]`.
    pub(crate) fn probability(&self, key: &'static str, default: f64) -> Result<f64, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match value.as_f64() {
            Some(p) if (0.0..=1.0).contains(&p) => Ok(p),
            _ => Err(self.wrong(key, "a number between 0 and 1", value)),
        }
    }

    /// As [`probability`](Self::probability), where the key may be absent.
    pub(crate) fn optional_probability(&self, key: &'static str) -> Result<Option<f64>, ModelConfigError> {
        self.get(key).map(|_| self.probability(key, 0.0)).transpose()
    }

    /// Whether a key has a value.
    pub(crate) fn is_set(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether a key has another value than null, an empty list, or this number, for which false may stand if it is 0.
    pub(crate) fn differs_from(&self, key: &str, neutral: f64) -> bool {
        self.get(key).is_some_and(|value| match value {
            Value::Bool(flag) => f64::from(u8::from(*flag)) != neutral,
            Value::Array(values) => !values.is_empty(),
            value => value.as_f64() != Some(neutral),
        })
    }

    /// A number, where the key may be absent.
    pub(crate) fn number(&self, key: &'static str) -> Result<Option<f64>, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_f64().map(Some).ok_or_else(|| self.wrong(key, "a number", value))
    }

    /// A number above 0.
    pub(crate) fn positive(&self, key: &'static str, default: f64) -> Result<f64, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match value.as_f64() {
            Some(number) if number > 0.0 && number.is_finite() => Ok(number),
            _ => Err(self.wrong(key, "a number above 0", value)),
        }
    }

    /// Whether the key is present and null, if that differs from an absent key.
    pub(crate) fn is_null(&self, key: &str) -> bool {
        self.map.get(key).is_some_and(Value::is_null)
    }

    /// The layers whose attention has a window: those that `layer_types` names, or else the usual ones.
    pub(crate) fn sliding_layers(
        &self,
        layers: usize,
        is_usual: impl Fn(usize) -> bool,
    ) -> Result<Vec<usize>, ModelConfigError> {
        const KEY: &str = "layer_types";
        let Some(value) = self.get(KEY) else { return Ok((0..layers).filter(|layer| is_usual(*layer)).collect()) };
        let types = value.as_array().ok_or_else(|| self.wrong(KEY, "a list", value))?;
        if types.len() != layers {
            let reason = format!("{KEY} has {} entries for num_hidden_layers ({layers})", types.len());
            return Err(self.inconsistent(reason));
        }
        let mut sliding = Vec::new();
        for (layer, kind) in types.iter().enumerate() {
            match kind.as_str() {
                Some("sliding_attention") => sliding.push(layer),
                Some("full_attention") => {}
                _ => return Err(self.unsupported(KEY, shown(kind), "\"full_attention\", \"sliding_attention\"")),
            }
        }
        Ok(sliding)
    }

    /// As [`positive`](Self::positive), where the key may be absent.
    pub(crate) fn optional_positive(&self, key: &'static str) -> Result<Option<f64>, ModelConfigError> {
        self.get(key).map(|_| self.positive(key, 1.0)).transpose()
    }

    /// True or false, where the key may be absent.
    pub(crate) fn optional_flag(&self, key: &'static str) -> Result<Option<bool>, ModelConfigError> {
        self.get(key).map(|_| self.flag(key)).transpose()
    }

    /// A token, or a list of tokens; empty if the key is absent.
    pub(crate) fn ids(&self, key: &'static str) -> Result<Vec<u32>, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let id = |value: &Value| value.as_u64().filter(|id| *id <= LARGEST).map(|id| id as u32);
        let ids: Option<Vec<u32>> = match value {
            Value::Array(values) => values.iter().map(id).collect(),
            value => id(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.wrong(key, "a token's number, or a list of them", value))
    }

    /// A string, where the key may be absent.
    pub(crate) fn string(&self, key: &'static str) -> Result<Option<&'a str>, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(key, "a string", value))
    }

    /// A string.
    pub(crate) fn required_string(&self, key: &'static str) -> Result<&'a str, ModelConfigError> {
        self.string(key)?.ok_or_else(|| self.missing(key))
    }

    /// A list of strings, where the key may be absent.
    pub(crate) fn strings(&self, key: &'static str) -> Result<Option<Vec<String>>, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let strings = |list: &Vec<Value>| list.iter().map(|one| one.as_str().map(str::to_owned)).collect();
        let strings: Option<Vec<String>> = value.as_array().and_then(strings);
        strings.map(Some).ok_or_else(|| self.wrong(key, "a list of strings", value))
    }

    /// A list of strings, or strings joined with `|`; empty if the key is absent.
    pub(crate) fn alternatives(&self, key: &'static str) -> Result<Vec<String>, ModelConfigError> {
        match self.get(key) {
            Some(Value::String(text)) => Ok(text.to_lowercase().split('|').map(|one| one.trim().to_owned()).collect()),
            _ => Ok(self.strings(key)?.unwrap_or_default()),
        }
    }

    /// An error if the key has a value other than null, false or an empty one.
    pub(crate) fn absent(&self, key: &'static str) -> Result<(), ModelConfigError> {
        match self.get(key) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(Value::Object(map)) if map.is_empty() => Ok(()),
            Some(value) => Err(self.unsupported(key, shown(value), "nothing else than its default")),
        }
    }

    /// The error for a value that this crate does not compute.
    pub(crate) fn unsupported(
        &self,
        key: &'static str,
        found: String,
        supported: impl Into<String>,
    ) -> ModelConfigError {
        ModelConfigError::Unsupported { file: self.file(), key, found, supported: supported.into() }
    }
}

impl Fields<'_> {
    /// The name of an activation; GELU where the key is absent.
    pub(crate) fn activation(&self, key: &'static str) -> Result<Activation, ModelConfigError> {
        self.activation_or(key, Activation::Gelu)
    }

    /// The name of an activation, with the default where the key is absent.
    pub(crate) fn activation_or(&self, key: &'static str, default: Activation) -> Result<Activation, ModelConfigError> {
        let Some(name) = self.string(key)? else {
            return Ok(default);
        };
        // `leakyrelu` is the adapters' name for it; base models know `leaky_relu` only.
        let mut known = Activation::ALL.iter().copied().filter(|known| *known != Activation::Leakyrelu);
        known.clone().find(|known| known.name() == name).ok_or_else(|| {
            let names: Vec<String> = known.by_ref().map(|known| format!("\"{}\"", known.name())).collect();
            self.unsupported(key, format!("\"{name}\""), names.join(", "))
        })
    }

    /// True or false; false where the key is absent.
    pub(crate) fn flag(&self, key: &'static str) -> Result<bool, ModelConfigError> {
        self.flag_or(key, false)
    }

    /// True or false, with the default where the key is absent.
    pub(crate) fn flag_or(&self, key: &'static str, default: bool) -> Result<bool, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value))
    }

    /// An object, where the key may be absent.
    pub(crate) fn object(&self, key: &'static str) -> Result<Option<&Map<String, Value>>, ModelConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_object().map(Some).ok_or_else(|| self.wrong(key, "an object", value))
    }

    /// The error for keys that contradict each other.
    pub(crate) fn inconsistent(&self, reason: String) -> ModelConfigError {
        ModelConfigError::Inconsistent { file: self.file(), reason }
    }

    /// Refuses an absurd number of layers.
    pub(crate) fn check_layers(&self, key: &str, layers: usize) -> Result<(), ModelConfigError> {
        if layers > MOST_LAYERS {
            return Err(self.inconsistent(format!("{key} is {layers}, above {MOST_LAYERS}")));
        }
        Ok(())
    }

    /// Refuses a width that heads cannot share.
    pub(crate) fn check_heads(
        &self,
        (width_key, width): (&str, usize),
        (heads_key, heads): (&str, usize),
    ) -> Result<(), ModelConfigError> {
        if !width.is_multiple_of(heads) {
            return Err(self.inconsistent(format!("{width_key} ({width}) is not a multiple of {heads_key} ({heads})")));
        }
        Ok(())
    }

    /// Refuses a padding token outside the vocabulary.
    pub(crate) fn check_padding(&self, pad_token_id: usize, vocab_size: usize) -> Result<(), ModelConfigError> {
        if pad_token_id >= vocab_size {
            return Err(
                self.inconsistent(format!("pad_token_id ({pad_token_id}) is not below vocab_size ({vocab_size})"))
            );
        }
        Ok(())
    }
}

/// Parses JSON text that errors call `file`.
pub(crate) fn parse(text: &str, file: &str) -> Result<Value, ModelConfigError> {
    parse_json(text).map_err(|error| ModelConfigError::NotJson { file: file.to_owned(), message: error.to_string() })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value as JSON, cut where it gets long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
