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
    /// Whether `add_prefix_space` is given: some classes then build their tokenizer anew.
    pub(super) names_prefix_space: bool,
    /// The first tokens of a text are split as they were before their class was mended.
    pub(super) legacy: bool,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    pub(super) keep_accents: bool,
    pub(super) split_by_punct: bool,
    /// All of PLBART's languages have a token, and there is no mask.
    pub(super) all_languages: bool,
    src_lang: Option<String>,
    /// The number of T5's sentinels.
    pub(super) extra_ids: usize,
    /// Rows have token types.
    pub(super) token_types: bool,
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
        let cleans = json.is_none() && class.cleans_up_spaces();
        let flag = |key| config.map_or(Ok(None), |config| config.flag(key));
        Ok(Self {
            class,
            class_name,
            lower_case: flag("do_lower_case")?.unwrap_or(class.lower_case()),
            chinese: flag("tokenize_chinese_chars")?.unwrap_or(true),
            strip_accents: flag("strip_accents")?,
            // The slow tokenizers take null for false.
            add_prefix_space: match config.and_then(|config| config.value("add_prefix_space")) {
                None => class.prefix_space(),
                Some(_) => flag("add_prefix_space")?.unwrap_or(false),
            },
            names_prefix_space: config.is_some_and(|config| config.get("add_prefix_space").is_some()),
            legacy: flag("legacy")?.unwrap_or(true),
            add_bos: flag("add_bos_token")?,
            add_eos: flag("add_eos_token")?,
            keep_accents: flag("keep_accents")?.unwrap_or(false),
            split_by_punct: flag("split_by_punct")?.unwrap_or(false),
            all_languages: config.map_or(Ok(false), all_languages)?,
            src_lang: config.map_or(Ok(None), |config| config.string("src_lang"))?.map(str::to_owned),
            extra_ids: config.map_or(Ok(EXTRA_IDS), extra_ids)?,
            token_types: config.map_or(Ok(None), token_types)?.unwrap_or(class.has_token_types()),
            split_special: flag("split_special_tokens")?.unwrap_or(false),
            clean_up_spaces: flag("clean_up_tokenization_spaces")?.unwrap_or(cleans),
            truncation: config.map_or(Ok(None), truncation)?,
            max_length: config.map_or(Ok(None), max_length)?,
            tokens,
        })
    }
}

impl Settings {
    /// The language of the texts, as its token: PLBART's may be written without the signs around them.
    pub(super) fn source_language(&self) -> Option<&str> {
        let name = self.src_lang.as_deref().or((self.all_languages).then_some("__en_XX__"))?;
        let languages = self.class.languages(true);
        let known = languages.iter().find(|language| language.trim_matches('_') == name.trim_matches('_'));
        Some(known.copied().unwrap_or(name))
    }
}

/// The number of T5's sentinels where a folder does not name it, and the largest that is read.
pub(super) const EXTRA_IDS: usize = 100;
const MOST_EXTRA_IDS: usize = 10_000;

pub(super) fn extra_ids(config: &File) -> Result<usize, TokenizerError> {
    let Some(value) = config.get("extra_ids") else { return Ok(EXTRA_IDS) };
    let count = value.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|count| *count <= MOST_EXTRA_IDS);
    count.ok_or_else(|| config.wrong("extra_ids", &format!("a whole number of at most {MOST_EXTRA_IDS}"), value))
}

pub(super) fn all_languages(config: &File) -> Result<bool, TokenizerError> {
    match config.string("language_codes")? {
        None | Some("base") => Ok(false),
        Some("multi") => Ok(true),
        Some(other) => Err(config.wrong("language_codes", "\"base\" or \"multi\"", &other.into())),
    }
}

/// Whether the model reads token types, where a folder names its inputs.
fn token_types(config: &File) -> Result<Option<bool>, TokenizerError> {
    match config.get("model_input_names") {
        None => Ok(None),
        Some(Value::Array(names)) => Ok(Some(names.iter().any(|name| name == "token_type_ids"))),
        Some(other) => Err(config.wrong("model_input_names", "a list of names", other)),
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
