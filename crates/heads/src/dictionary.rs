//! The reference's dictionary of a head: JSON, read and written.

use std::collections::BTreeMap;

use burn_adapters_config::Activation;
use burn_adapters_files::{deserialize_unique, shorten};
use serde_json::{Map, Value, json};

use crate::{HeadConfig, HeadError, HeadType, Transform};

impl HeadConfig {
    /// The reference's dictionary. Only a [`Transform`] is not one of its keys, and is written only where there is one.
    pub fn to_json_value(&self) -> Value {
        if self.head_type.is_language_model() {
            return self.language_json();
        }
        let mut value = json!({
            "head_type": self.head_type.name(),
            (self.head_type.count): self.num_labels,
            "layers": self.layers,
            "activation_function": self.activation_function.map(Activation::name),
            "label2id": self.label2id,
            "use_pooler": self.use_pooler,
            "bias": self.bias,
            "dropout_prob": self.dropout_prob,
        });
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| match key.as_str() {
                "use_pooler" | "bias" => self.head_type.has(key),
                "layers" | "activation_function" | "dropout_prob" => !self.head_type.biaffine,
                _ => true,
            });
            let transform =
                self.transform.map(|transform| json!({BIAS: transform.bias, NORM_BIAS: transform.norm_bias}));
            object.extend(transform.map(|transform| (TRANSFORM.to_owned(), transform)));
        }
        value
    }

    fn language_json(&self) -> Value {
        let mut value = json!({
            "head_type": self.head_type.name(),
            "vocab_size": self.num_labels,
            "embedding_size": self.embedding_size,
            "layers": self.layers,
            "activation_function": self.activation_function.map(Activation::name),
            "layer_norm": self.layer_norm,
            "bias": self.bias,
            "shift_labels": self.shift_labels,
            "label2id": self.label2id,
            "dropout_prob": self.dropout_prob,
        });
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, value| match key.as_str() {
                "dropout_prob" => self.head_type.has(key),
                "embedding_size" => self.head_type.has(key) && !value.is_null(),
                _ => true,
            });
        }
        value
    }

    /// Reads the reference's dictionary. Keys that older versions did not write get the reference's defaults;
    /// `id2label` takes precedence over `label2id`.
    ///
    /// # Errors
    /// If a key is unknown or has a value of the wrong type, the head type is not one of ours, or
    /// [`check`](Self::check) fails.
    pub fn from_json_value(value: &Value) -> Result<Self, HeadError> {
        let object = value.as_object().ok_or_else(|| json_error("expected an object"))?;
        let mut read = Reader(object.clone());
        let name = read.required("head_type", |v| v.as_str().map(str::to_owned), "a string")?;
        let unknown = || HeadError::UnknownType { found: shorten(&name).into_owned() };
        let head_type = HeadType::named(&name).ok_or_else(unknown)?;
        if head_type.biaffine
            && let Some(key) =
                ["layers", "activation_function", "dropout_prob"].iter().find(|key| read.0.contains_key(**key))
        {
            return Err(json_error(format!("unknown key `{key}`")));
        }
        let flag = |read: &mut Reader, key: &'static str, default: bool| -> Result<bool, HeadError> {
            if !head_type.has(key) {
                return Ok(default);
            }
            Ok(read.optional(key, Value::as_bool, "true or false")?.unwrap_or(default))
        };
        let language_flag = |read: &mut Reader, key: &'static str, default: bool| match head_type.language {
            Some(_) => Ok(read.optional(key, Value::as_bool, "true or false")?.unwrap_or(default)),
            None => Ok::<bool, HeadError>(false),
        };
        let default = Self::new(head_type, 1);
        let count = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
        let mut config = Self {
            head_type,
            num_labels: match head_type.language {
                Some(_) => read.required(head_type.count, count, "a count")?,
                None => read.optional(head_type.count, count, "a count")?.unwrap_or(2),
            },
            layers: read.optional("layers", count, "a count")?.unwrap_or(head_type.layers),
            activation_function: default.activation_function,
            label2id: read.optional("label2id", label2id, "an object from names to numbers")?,
            use_pooler: flag(&mut read, "use_pooler", false)?,
            bias: flag(&mut read, "bias", default.bias)?,
            dropout_prob: read.optional("dropout_prob", Value::as_f64, "a number")?,
            embedding_size: match head_type.has("embedding_size") {
                true => read.optional("embedding_size", count, "a count")?,
                false => None,
            },
            layer_norm: language_flag(&mut read, "layer_norm", false)?,
            shift_labels: language_flag(&mut read, "shift_labels", default.shift_labels)?,
            transform: read.optional(
                TRANSFORM,
                transform,
                "an object with true or false for `bias` and `norm_bias`",
            )?,
        };
        if let Some(map) = read.optional("id2label", id2label, "an object from numbers to names")? {
            config.label2id = Some(map);
        }
        // Here null does not mean the default, but no activation.
        match read.0.remove("activation_function") {
            None => {}
            Some(Value::Null) => config.activation_function = None,
            Some(value) => {
                let activation = value.as_str().and_then(Activation::from_name);
                config.activation_function = Some(activation.ok_or_else(|| HeadError::BadValue {
                    key: "activation_function",
                    expected: "null or the name of an activation",
                    found: shorten(&value.to_string()).into_owned(),
                })?);
            }
        }
        if let Some(key) = read.0.keys().next() {
            return Err(json_error(format!("unknown key `{}`", shorten(key))));
        }
        config.check()?;
        Ok(config)
    }
}

impl serde::Serialize for HeadConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for HeadConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserialize_unique(deserializer)?;
        Self::from_json_value(&value).map_err(serde::de::Error::custom)
    }
}

/// The keys of a [`Transform`].
const TRANSFORM: &str = "transform";
const BIAS: &str = "bias";
const NORM_BIAS: &str = "norm_bias";

fn transform(value: &Value) -> Option<Transform> {
    let object = value.as_object().filter(|object| object.len() == 2)?;
    let flag = |key: &str| object.get(key)?.as_bool();
    Some(Transform { bias: flag(BIAS)?, norm_bias: flag(NORM_BIAS)? })
}

fn json_error(reason: impl Into<String>) -> HeadError {
    HeadError::Json { reason: reason.into() }
}

struct Reader(Map<String, Value>);

impl Reader {
    /// The value of a key; none if it is absent or null.
    fn optional<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, HeadError> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => {
                    let value = value.to_string();
                    Err(json_error(format!("`{key}` must be {expected}, found {}", shorten(&value))))
                }
            },
        }
    }

    fn required<T>(&mut self, key: &str, read: impl Fn(&Value) -> Option<T>, expected: &str) -> Result<T, HeadError> {
        self.optional(key, read, expected)?.ok_or_else(|| json_error(format!("the key `{key}` is missing")))
    }
}

fn label2id(value: &Value) -> Option<BTreeMap<String, usize>> {
    // Some files quote the numbers.
    let number = |v: &Value| match v {
        Value::String(digits) => digits.parse().ok(),
        v => v.as_u64().and_then(|n| usize::try_from(n).ok()),
    };
    value.as_object()?.iter().map(|(label, id)| Some((label.clone(), number(id)?))).collect()
}

fn id2label(value: &Value) -> Option<BTreeMap<String, usize>> {
    value.as_object()?.iter().map(|(id, label)| Some((label.as_str()?.to_owned(), id.parse().ok()?))).collect()
}
