//! The generation settings of a model's folder.

use std::path::Path;

use burn_adapters_files::{MAX_CONFIG, is_there, read_text};

use crate::ModelConfigError;
use crate::fields::{Fields, parse};
use crate::gguf::{self, is_gguf};

/// The default generation settings of a Hugging Face folder, from `generation_config.json` or otherwise from
/// `config.json`.
///
/// ```no_run
/// use std::path::Path;
///
/// use burn_adapters_transformers::GenerationConfig;
///
/// let config = GenerationConfig::from_dir(Path::new("SmolLM2-135M-Instruct"))?;
/// println!("a text ends with one of {:?}", config.end_ids);
/// # Ok::<(), burn_adapters_transformers::ModelConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// The tokens that end a text.
    pub end_ids: Vec<u32>,
    /// The forced first token.
    pub first_id: Option<u32>,
    /// Whether tokens are sampled.
    pub is_sampled: Option<bool>,
    /// The temperature, which divides the logits.
    pub temperature: Option<f64>,
    /// The number of sequences of a beam search.
    pub beams: Option<usize>,
    /// The power of the length that scores of a beam search are divided by.
    pub length_penalty: Option<f64>,
    /// The number of most probable tokens that may be chosen; 0 for all.
    pub top_k: Option<usize>,
    /// The total probability of the tokens that may be chosen.
    pub top_p: Option<f64>,
    /// The smallest fraction of the largest probability that a token must have.
    pub min_p: Option<f64>,
    /// The repetition penalty.
    pub repetition_penalty: Option<f64>,
    /// The keys of settings that are not supported, and that would change the text.
    pub unsupported: Vec<&'static str>,
}

/// Settings that are not supported, and the value, beside null, that has no effect.
const UNSUPPORTED: [(&str, f64); 14] = [
    ("min_length", 0.0),
    ("min_new_tokens", 0.0),
    ("no_repeat_ngram_size", 0.0),
    ("encoder_no_repeat_ngram_size", 0.0),
    ("early_stopping", 0.0),
    ("forced_eos_token_id", f64::NAN),
    ("bad_words_ids", f64::NAN),
    ("suppress_tokens", f64::NAN),
    ("begin_suppress_tokens", f64::NAN),
    ("num_beam_groups", 1.0),
    ("typical_p", 1.0),
    ("penalty_alpha", 0.0),
    ("encoder_repetition_penalty", 1.0),
    ("exponential_decay_length_penalty", f64::NAN),
];

impl GenerationConfig {
    /// Reads the files of a folder, or the metadata of a GGUF file.
    ///
    /// # Errors
    /// If a file cannot be read, or a value is of the wrong type.
    pub fn from_dir(dir: &Path) -> Result<Self, ModelConfigError> {
        if is_gguf(dir) {
            let file = gguf::open_config(dir)?;
            let config = gguf::config(&file)?;
            let mut own = Self::from_fields(&Fields::new(&config, &dir.display().to_string())?)?;
            own.end_ids.extend(gguf::turn_ends(&file)?);
            own.end_ids.sort_unstable();
            own.end_ids.dedup();
            return Ok(own);
        }
        for name in ["generation_config.json", "config.json"] {
            let path = dir.join(name);
            if !is_there(&path) {
                continue;
            }
            let file = path.display().to_string();
            let text = read_text(&path, MAX_CONFIG).map_err(|error| ModelConfigError::Unreadable {
                file: file.clone(),
                message: error.kind.to_string(),
            })?;
            return Self::from_fields(&Fields::new(&parse(&text, &file)?, &file)?);
        }
        Ok(Self::default())
    }

    fn from_fields(fields: &Fields<'_>) -> Result<Self, ModelConfigError> {
        Ok(Self {
            end_ids: fields.ids("eos_token_id")?,
            first_id: fields.ids("forced_bos_token_id")?.first().copied(),
            is_sampled: fields.optional_flag("do_sample")?,
            temperature: fields.optional_positive("temperature")?,
            beams: fields.optional_size("num_beams")?,
            length_penalty: fields.number("length_penalty")?,
            top_k: fields.is_set("top_k").then(|| fields.index("top_k", 0)).transpose()?,
            top_p: fields.optional_positive("top_p")?,
            min_p: fields.optional_probability("min_p")?,
            repetition_penalty: fields.optional_positive("repetition_penalty")?,
            unsupported: (UNSUPPORTED.iter())
                .filter(|(key, neutral)| fields.differs_from(key, *neutral))
                .map(|(key, _)| *key)
                .collect(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<GenerationConfig, ModelConfigError> {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(dir.path().join(name), text).unwrap());
        GenerationConfig::from_dir(dir.path())
    }

    #[test]
    fn the_file_of_generation_goes_before_that_of_the_model() {
        let model = ("config.json", r#"{"eos_token_id": 2}"#);
        assert_eq!(read(&[model]).unwrap().end_ids, [2]);
        let own = ("generation_config.json", r#"{"eos_token_id": [5, 7], "do_sample": true, "top_p": 0.9}"#);
        let config = read(&[model, own]).unwrap();
        assert_eq!((config.end_ids, config.is_sampled, config.top_p), (vec![5, 7], Some(true), Some(0.9)));
        assert_eq!(read(&[]).unwrap(), GenerationConfig::default());
    }

    #[test]
    fn settings_that_are_not_supported_are_listed_where_they_have_an_effect() {
        let none = r#"{"top_k": 0, "min_length": 0, "early_stopping": false, "suppress_tokens": [], "bad_words_ids": null,
                       "typical_p": 1.0, "max_length": 20}"#;
        let config = read(&[("generation_config.json", none)]).unwrap();
        assert_eq!((config.top_k, config.unsupported), (Some(0), vec![]));
        let some = r#"{"num_beams": 4, "length_penalty": 2, "min_length": 56, "early_stopping": true, "forced_eos_token_id": 2}"#;
        let config = read(&[("generation_config.json", some)]).unwrap();
        assert_eq!((config.beams, config.length_penalty), (Some(4), Some(2.0)));
        assert_eq!(config.unsupported, ["min_length", "early_stopping", "forced_eos_token_id"]);
    }

    #[test]
    fn values_of_another_type_are_errors_that_name_the_key() {
        for text in [r#"{"eos_token_id": "</s>"}"#, r#"{"eos_token_id": [1, -2]}"#, r#"{"temperature": 0}"#] {
            let error = read(&[("generation_config.json", text)]).unwrap_err().to_string();
            assert!(error.contains("eos_token_id") || error.contains("temperature"), "{error}");
        }
    }
}
