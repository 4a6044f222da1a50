//! The configuration of any model that this crate can build.

use std::path::Path;

use burn_adapters_core::ModelSpec;
use burn_adapters_files::{FolderKind, MAX_CONFIG, read_text};

use crate::config::parse;
use crate::{BertConfig, ModelConfigError};

/// The configuration of any model that this crate can build.
///
/// ```
/// use burn_adapters_transformers::ModelConfig;
///
/// let config = ModelConfig::from_json_str(
///     r#"{"model_type": "bert", "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
///         "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 40}"#,
/// )?;
/// assert_eq!(config.spec().layers(), 2);
/// assert!(ModelConfig::from_json_str(r#"{"model_type": "gpt2"}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ModelConfig {
    /// BERT, RoBERTa, XLM-RoBERTa or ELECTRA.
    Bert(BertConfig),
}

impl ModelConfig {
    /// The `model_type`s that this crate can build.
    pub fn supported() -> impl Iterator<Item = &'static str> {
        crate::BertFamily::ALL.into_iter().map(crate::BertFamily::model_type)
    }

    /// Reads the `config.json` of a Hugging Face folder.
    ///
    /// # Errors
    /// If it cannot be read, or is no configuration of a model that this crate can build.
    pub fn from_dir(dir: &Path) -> Result<Self, ModelConfigError> {
        let path = dir.join("config.json");
        let file = path.display().to_string();
        let text = read_text(&path, MAX_CONFIG).map_err(|error| match FolderKind::of(dir) {
            Some(found) if error.is_not_found() && found != FolderKind::Model => {
                ModelConfigError::OtherKind { file: file.clone(), dir: dir.to_owned(), found }
            }
            _ => ModelConfigError::Unreadable { file: file.clone(), message: error.kind.to_string() },
        })?;
        Self::from_named_str(&text, &file)
    }

    /// Reads the text of a `config.json`.
    pub fn from_json_str(text: &str) -> Result<Self, ModelConfigError> {
        Self::from_named_str(text, "config.json")
    }

    fn from_named_str(text: &str, file: &str) -> Result<Self, ModelConfigError> {
        BertConfig::from_value(&parse(text, file)?, file).map(Self::Bert)
    }

    /// What adapters need to know of the model.
    pub fn spec(&self) -> ModelSpec {
        match self {
            Self::Bert(config) => config.spec(),
        }
    }

    /// The number of tokens that the model knows.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.vocab_size,
        }
    }

    /// The longest sequence that the model takes, in tokens.
    pub fn max_sequence_length(&self) -> usize {
        match self {
            Self::Bert(config) => config.max_sequence_length(),
        }
    }

    /// The token that fills up rows.
    pub fn pad_token_id(&self) -> usize {
        match self {
            Self::Bert(config) => config.pad_token_id,
        }
    }
}
