//! The files beside a vocabulary or a `tokenizer.json`: what they say of the text, and which class reads it.

use std::path::{Path, PathBuf};

use burn_adapters_files::{MAX_TEXT, is_there, parse_json, read_text};
use serde_json::{Map, Value};
use tokenizers::TruncationDirection;

use super::class::Class;
use super::tokens::Tokens;
use super::unusable;
use crate::TokenizerError;

/// A JSON file that holds an object.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: PathBuf,
    map: Map<String, Value>,
}

impl File {
    /// Reads a file, if it is there.
    pub(super) fn read(path: PathBuf) -> Result<Option<Self>, TokenizerError> {
        let text = match read_text(&path, MAX_TEXT) {
            Ok(text) => text,
            Err(_) if !is_there(&path) => return Ok(None),
            Err(error) => return Err(unusable(&path, error.kind)),
        };
        Self::parse(path, &text).map(Some)
    }

    /// Parses the text of a file.
    pub(super) fn parse(path: PathBuf, text: &str) -> Result<Self, TokenizerError> {
        match parse_json(text) {
            Ok(Value::Object(map)) => Ok(Self { path, map }),
            Ok(_) => Err(unusable(&path, "expected a JSON object")),
            Err(error) => Err(unusable(&path, format!("it is not JSON: {error}"))),
        }
    }

    /// The value of a key, which may be null.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// The value of a key that is not null.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.map.iter()
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, TokenizerError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    fn string(&self, key: &'static str) -> Result<Option<&str>, TokenizerError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(key, "a string", other)),
        }
    }

    /// The error for a value of another type.
    pub(super) fn wrong(&self, key: &str, expected: &str, found: &Value) -> TokenizerError {
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(60) {
            found.truncate(end);
            found.push('…');
        }
        unusable(&self.path, format!("`{key}`: expected {expected}, found {found}"))
    }
}

/// The tokenizer settings in the files.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) class: Class,
    /// The class by its name.
    pub(super) class_name: String,
    pub(super) lower_case: bool,
    pub(super) chinese: bool,
    pub(super) strip_accents: Option<bool>,
    pub(super) add_prefix_space: bool,
    /// Special tokens in a text are split like any other.
    pub(super) split_special: bool,
    /// Decoded text is without spaces before punctuation.
    pub(super) clean_up_spaces: bool,
    pub(super) truncation: Option<TruncationDirection>,
    /// The longest row that the tokenizer is meant for.
    pub(super) max_length: Option<usize>,
    pub(super) tokens: Tokens,
}

/// The files beside the vocabulary, as far as they are there.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// `tokenizer_config.json`.
    pub(super) config: Option<File>,
    /// `special_tokens_map.json`.
    pub(super) map: Option<File>,
    /// `added_tokens.json`.
    pub(super) added: Option<File>,
    /// `config.json`.
    model: Option<File>,
}

impl Files {
    fn read(dir: &Path) -> Result<Self, TokenizerError> {
        let read = |name| File::read(dir.join(name));
        Ok(Self {
            config: read("tokenizer_config.json")?,
            map: read("special_tokens_map.json")?,
            added: read("added_tokens.json")?,
            model: read("config.json")?,
        })
    }
}

impl Settings {
    /// Reads the files of a folder; `json` is its `tokenizer.json`, if it has one.
    pub(super) fn read(dir: &Path, json: Option<&File>) -> Result<Self, TokenizerError> {
        let files = Files::read(dir)?;
        let (class, class_name) = class(&files)?;
        let tokens = Tokens::read(class, &files, json)?;
        let config = files.config.as_ref();
        // The default of the slow tokenizer, which is converted where there is no `tokenizer.json`.
        let cleans = json.is_none() && class == Class::Bert;
        let flag = |key| config.map_or(Ok(None), |config| config.flag(key));
        Ok(Self {
            class,
            class_name,
            lower_case: flag("do_lower_case")?.unwrap_or(true),
            chinese: flag("tokenize_chinese_chars")?.unwrap_or(true),
            strip_accents: flag("strip_accents")?,
            add_prefix_space: flag("add_prefix_space")?.unwrap_or(false),
            split_special: flag("split_special_tokens")?.unwrap_or(false),
            clean_up_spaces: flag("clean_up_tokenization_spaces")?.unwrap_or(cleans),
            truncation: config.map_or(Ok(None), truncation)?,
            max_length: config.map_or(Ok(None), max_length)?,
            tokens,
        })
    }
}

/// The class that a folder names, or that of its model.
fn class(files: &Files) -> Result<(Class, String), TokenizerError> {
    for file in [&files.config, &files.model].into_iter().flatten() {
        if let Some(name) = file.string("tokenizer_class")? {
            let unknown = || TokenizerError::UnknownClass {
                file: file.path.clone(),
                class: name.to_owned(),
                supported: Class::names(),
            };
            return Ok((Class::of(name).ok_or_else(unknown)?, name.to_owned()));
        }
    }
    let model_type = files.model.as_ref().map_or(Ok(None), |model| model.string("model_type"))?;
    let shown = model_type.unwrap_or("a model without a model_type");
    Ok((Class::of_model(model_type), format!("the tokenizer of {shown}")))
}

fn truncation(config: &File) -> Result<Option<TruncationDirection>, TokenizerError> {
    match config.string("truncation_side")? {
        None => Ok(None),
        Some("right") => Ok(Some(TruncationDirection::Right)),
        Some("left") => Ok(Some(TruncationDirection::Left)),
        Some(other) => Err(config.wrong("truncation_side", "\"left\" or \"right\"", &other.into())),
    }
}

/// The reference writes 10³⁰ where there is no limit.
fn max_length(config: &File) -> Result<Option<usize>, TokenizerError> {
    let Some(value) = config.get("model_max_length").or_else(|| config.get("max_len")) else { return Ok(None) };
    match value.as_f64() {
        Some(length) if length >= 1.0 => Ok(Some(length.min(1e9) as usize)),
        _ => Err(config.wrong("model_max_length", "a number of at least 1", value)),
    }
}
