//! The configuration file of a folder.

use std::path::Path;

use burn_adapters_core::ModelSpec;
use burn_adapters_files::{parse_json, shorten};
use serde_json::{Map, Value};

use crate::CheckpointError;

/// The version that is written: that of the Python library whose format this is.
pub(crate) const VERSION: &str = "adapters.1.3.0";

/// The name, model and version in a folder's configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderMeta {
    /// The adapter's or head's name.
    pub name: String,
    /// The `model_type` of the model (`bert`); old folders may lack it.
    pub model_type: Option<String>,
    /// The width of the model's hidden states.
    pub hidden_size: Option<usize>,
    /// The Hugging Face name of the model.
    pub model_name: Option<String>,
    /// The Python class of the model.
    pub model_class: Option<String>,
    /// The version of the library that wrote the folder.
    pub version: Option<String>,
}

impl FolderMeta {
    /// The same with the version that is written. Reading has updated what older versions wrote differently.
    pub(crate) fn stamped(&self) -> Self {
        Self { version: Some(VERSION.to_owned()), ..self.clone() }
    }

    /// Checks that the folder is for this model.
    pub(crate) fn check_model(&self, what: &'static str, spec: &ModelSpec) -> Result<(), CheckpointError> {
        let name = self.name.clone();
        if let Some(file) = self.model_type.clone().filter(|file| *file != spec.model_type) {
            return Err(CheckpointError::ModelType { what, name, file, model: spec.model_type.clone() });
        }
        if let Some(file) = self.hidden_size.filter(|file| *file != spec.hidden_size) {
            return Err(CheckpointError::HiddenSize { what, name, file, model: spec.hidden_size });
        }
        Ok(())
    }
}

/// The longest name or version, in bytes.
const LONGEST: usize = 4096;

/// The other keys of a configuration file.
type Rest = Map<String, Value>;

/// Parses an adapter's configuration file into its metadata, its `config` and its other keys.
pub(crate) fn parse_adapter(path: &Path, text: &str) -> Result<(FolderMeta, Value, Rest), CheckpointError> {
    match parse_with(path, text)? {
        (meta, config @ (Value::Object(_) | Value::String(_)), rest) => Ok((meta, config, rest)),
        (_, other, _) => {
            let reason =
                format!("`config` must be an object or a configuration string, found {}", shorten(&other.to_string()));
            Err(CheckpointError::Json { path: path.to_owned(), reason })
        }
    }
}

/// As [`parse_adapter`], but `config` may be of any type.
pub(crate) fn parse_with(path: &Path, text: &str) -> Result<(FolderMeta, Value, Rest), CheckpointError> {
    let (meta, config, rest) = parse_unnamed(path, text)?;
    let fail = |reason: &str| CheckpointError::Json { path: path.to_owned(), reason: reason.to_owned() };
    let name = meta.name.clone().ok_or_else(|| fail("the key `name` is missing"))?;
    let config = config.ok_or_else(|| fail("the key `config` is missing"))?;
    Ok((meta.named(name), config, rest))
}

/// As [`parse_with`], but `name` may be null and `config` missing.
pub(crate) fn parse_unnamed(path: &Path, text: &str) -> Result<(Unnamed, Option<Value>, Rest), CheckpointError> {
    let fail = |reason: String| CheckpointError::Json { path: path.to_owned(), reason };
    let value: Value = parse_json(text).map_err(|error| fail(format!("not valid JSON: {error}")))?;
    let Value::Object(mut object) = value else {
        return Err(fail("expected a JSON object".into()));
    };
    let mut string = |key: &str| match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() > LONGEST => {
            Err(fail(format!("`{key}` has {} bytes, expected at most {LONGEST}", text.len())))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(fail(format!("`{key}` must be a string, found {}", shorten(&other.to_string())))),
    };
    let (model_type, model_name) = (string("model_type")?, string("model_name")?);
    let (model_class, version, name) = (string("model_class")?, string("version")?, string("name")?);
    let hidden_size = match object.remove("hidden_size") {
        None | Some(Value::Null) => None,
        Some(number) => match number.as_u64().and_then(|size| usize::try_from(size).ok()) {
            Some(size) => Some(size),
            None => return Err(fail(format!("`hidden_size` must be a count, found {}", shorten(&number.to_string())))),
        },
    };
    if name.as_deref() == Some("") {
        return Err(fail("`name` is empty".into()));
    }
    let config = object.remove("config");
    Ok((Unnamed { name, model_type, hidden_size, model_name, model_class, version }, config, object))
}

/// A [`FolderMeta`] that may lack its name.
#[derive(Debug, Clone)]
pub(crate) struct Unnamed {
    pub(crate) name: Option<String>,
    model_type: Option<String>,
    hidden_size: Option<usize>,
    model_name: Option<String>,
    pub(crate) model_class: Option<String>,
    version: Option<String>,
}

impl Unnamed {
    /// The same with this name.
    pub(crate) fn named(self, name: String) -> FolderMeta {
        let Self { name: _, model_type, hidden_size, model_name, model_class, version } = self;
        FolderMeta { name, model_type, hidden_size, model_name, model_class, version }
    }
}

/// The text of a configuration file, as the Python library formats it.
pub(crate) fn format(meta: &FolderMeta, config: Value) -> String {
    format_with(meta, config, Map::new())
}

/// As [`format()`], with further keys.
pub(crate) fn format_with(meta: &FolderMeta, config: Value, mut object: Map<String, Value>) -> String {
    object.insert("config".into(), config);
    object.insert("hidden_size".into(), meta.hidden_size.into());
    object.insert("model_class".into(), meta.model_class.clone().into());
    object.insert("model_name".into(), meta.model_name.clone().into());
    object.insert("model_type".into(), meta.model_type.clone().into());
    object.insert("name".into(), meta.name.clone().into());
    object.insert("version".into(), meta.version.clone().into());
    pretty(Value::Object(object))
}

/// JSON text with sorted keys, indented by two spaces.
pub(crate) fn pretty(value: Value) -> String {
    // The alternate form of a value cannot fail.
    format!("{:#}", sorted(value))
}

/// The same value with the keys of all objects sorted, whatever order the map keeps.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> = object.into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
