//! The configuration of any supported model.

use std::path::Path;

use burn_adapters_core::ModelSpec;
use burn_adapters_files::{FolderKind, MAX_CONFIG, read_text};
use burn_adapters_model::Limits;
use burn_adapters_tensors::Gguf;
use serde_json::Value;

use crate::ModelConfigError;
use crate::families::{FAMILIES, family};
use crate::fields::{Fields, parse};
use crate::gguf::{self, is_gguf};
use crate::plan::ModelPlan;

/// The configuration of any supported model.
///
/// ```
/// use burn_adapters_transformers::ModelConfig;
///
/// let config = ModelConfig::from_json_str(
///     r#"{"model_type": "bert", "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2,
///         "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 40}"#,
/// )?;
/// assert_eq!(config.spec().layers(), 2);
/// assert!(ModelConfig::from_json_str(r#"{"model_type": "xlnet"}"#).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub(crate) plan: ModelPlan,
    spec: ModelSpec,
}

impl ModelConfig {
    pub(crate) fn new(plan: ModelPlan) -> Self {
        Self { spec: plan.spec(), plan }
    }

    /// The supported values of `model_type`.
    pub fn supported() -> impl Iterator<Item = &'static str> {
        FAMILIES.iter().flat_map(|family| family.model_types).copied()
    }

    /// Reads the `config.json` of a Hugging Face folder, or the metadata of a GGUF file.
    ///
    /// # Errors
    /// If it cannot be read, or does not describe a supported model.
    pub fn from_dir(dir: &Path) -> Result<Self, ModelConfigError> {
        if is_gguf(dir) {
            return Self::from_gguf(&gguf::open_config(dir)?);
        }
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
        plan_of(&parse(text, file)?, file).map(Self::new)
    }

    pub(crate) fn from_gguf(file: &Gguf) -> Result<Self, ModelConfigError> {
        let mut plan = plan_of(&gguf::config(file)?, &file.path().display().to_string())?;
        gguf::divide(&mut plan, file, gguf::architecture(file)?)?;
        Ok(Self::new(plan))
    }

    /// The specification that adapters are built from.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The inputs that the model takes.
    pub fn limits(&self) -> Limits {
        self.plan.limits
    }

    /// The inputs that the decoder of an encoder-decoder model takes, and the vocabulary of its output.
    pub fn decoder_limits(&self) -> Limits {
        self.plan.decoder_limits()
    }
}

/// The plan that a `config.json` describes.
fn plan_of(value: &Value, file: &str) -> Result<ModelPlan, ModelConfigError> {
    let fields = Fields::new(value, file)?;
    let model_type = fields.required_string("model_type")?;
    let family = family(model_type)
        .ok_or_else(|| ModelConfigError::UnknownModelType { file: fields.file(), found: model_type.to_owned() })?;
    (family.plan)(&fields)
}

impl From<&ModelConfig> for ModelConfig {
    fn from(config: &ModelConfig) -> Self {
        config.clone()
    }
}
