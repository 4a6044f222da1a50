//! Models, adapters and data, as several commands use them.

use std::path::Path;

use burn::tensor::Device;
use burn_adapters_checkpoint::{CheckpointError, LoadReport};
use burn_adapters_config::{AdapterConfig, MethodConfig, PromptInit};
use burn_adapters_core::{Init, ModelSpec};
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{Adapter, AdapterBank, AddReport, BankError, BaseError, Forward};
use burn_adapters_train::{Dataset, GroupError, Lengths, TextForm, TokenData, TrainError};
use burn_adapters_transformers::{
    AutoModel, LoadError, MatrixFormats, ModelConfig, ModelConfigError, Tokenizer, TokenizerError, WeightFormat,
    is_gguf,
};

use super::data::data_error;
use crate::draw;
use crate::error::{CliError, CliResult, chain};
use crate::output::shown;
use crate::progress::Style;

/// The model's configuration.
pub(super) fn read_config(dir: &Path) -> CliResult<ModelConfig> {
    ModelConfig::from_dir(dir).map_err(|error| model_config_error(dir, &error))
}

/// The model without its weights.
pub(super) fn read_spec(dir: &Path) -> CliResult<ModelSpec> {
    Ok(read_config(dir)?.spec().clone())
}

/// Checks that a configuration fits a model, before the weights are read.
pub(super) fn check_fits(config: &AdapterConfig, dir: &Path) -> CliResult {
    let bank = AdapterBank::new(read_spec(dir)?, &Device::default());
    bank.plan("planned", config.clone()).map(|_| ()).map_err(|error| bank_error(&error))
}

/// Checks a new adapter's name as [`AdapterBank`] does.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('.') || text.chars().any(char::is_control) {
        return Err("a name must not be empty, or contain a dot or a control character".into());
    }
    Ok(text.to_owned())
}

/// Adds a new adapter, which may start from the model's weights (DoRA) or from the embeddings of a text (prompt tuning
/// with `prompt_init=from_string`).
pub(super) fn add_adapter(
    bank: &mut AdapterBank,
    model: &Model,
    name: &str,
    config: AdapterConfig,
    seed: u64,
) -> CliResult<AddReport> {
    let text = config.methods().iter().find_map(|method| match method {
        MethodConfig::PromptTuning(prompt) if prompt.prompt_init == PromptInit::FromString => {
            prompt.prompt_init_text.clone()
        }
        _ => None,
    });
    let Some(text) = text else {
        return bank.add_for(&model.base, name, config, seed).map_err(|error| bank_error(&error));
    };
    let built = Adapter::build(name, config, bank.spec(), &mut Init::from_seed(seed), bank.device());
    let (mut adapter, report) = built.map_err(|error| bank_error(&error.into()))?;
    let encoded = model.tokenizer.encode(&[text], model.tokenizer.max_length());
    let tokens = encoded.map_err(|error| CliError::mistake(chain(&error)))?.rows.into_iter().flat_map(|row| row.ids);
    let embeddings = model.base.word_embeddings(&tokens.collect::<Vec<_>>());
    let embeddings = embeddings.map_err(|error| CliError::failure(chain(&error)))?;
    let started = adapter.start_prompt(embeddings, bank.device()).and_then(|()| adapter.start_from(&model.base));
    started.map_err(|error| bank_error(&error.into()))?;
    bank.insert(adapter).map_err(|error| bank_error(&error))?;
    Ok(report)
}

/// A model with its tokenizer.
pub(super) struct Model {
    pub(super) base: AutoModel,
    pub(super) tokenizer: Tokenizer,
    /// The name of its folder, for display.
    pub(super) name: String,
}

impl Model {
    /// Loads a model; gives the formats of its matrices as well. With `mmap`, weights stay in the pages of a GGUF file.
    pub(super) fn load(
        dir: &Path,
        format: WeightFormat,
        mmap: bool,
        device: &Device,
        style: Style,
    ) -> CliResult<(Self, MatrixFormats)> {
        let tokenizer = Tokenizer::from_dir(dir).map_err(|error| tokenizer_error(dir, &error))?;
        let loaded = match mmap {
            // SAFETY: whoever passes `--mmap` promises that the file does not change, as its help says.
            true => unsafe { AutoModel::from_mapped_gguf(dir, format, device) },
            false => AutoModel::from_dir_as(dir, format, device),
        };
        let (base, report) = loaded.map_err(|error| match &error {
            LoadError::Config(error) => model_config_error(dir, error),
            LoadError::Bf16(error) => {
                CliError::mistake(chain(error)).with_help("with `--quantize none` the model is f32, on every device")
            }
            LoadError::NotMapped { .. } => CliError::mistake(chain(&error)).with_help("leave --mmap out"),
            error => CliError::mistake(chain(error)),
        })?;
        let name = folder_name(dir);
        style.say(format_args!("loaded {name}: {} parameters", crate::output::thousands(report.parameters)));
        Ok((Self { base, tokenizer, name }, report.formats))
    }
}

impl Model {
    /// The model with its first layers in bf16.
    pub(super) fn in_bf16_below(self, layers: usize) -> CliResult<Self> {
        let all = self.base.config().spec().layers();
        if !(1..=all).contains(&layers) {
            let message = format!("--bf16-below takes a number of layers from 1 to {all}, found {layers}");
            return Err(CliError::mistake(message));
        }
        let base = self.base.in_bf16_below(layers).map_err(|error| CliError::mistake(chain(&error)))?;
        Ok(Self { base, ..self })
    }
}

/// A tokenizer that cannot be read.
pub(super) fn tokenizer_error(dir: &Path, error: &TokenizerError) -> CliError {
    match error {
        TokenizerError::Config(error) => model_config_error(dir, error),
        error => CliError::mistake(chain(error)),
    }
}

pub(super) fn model_config_error(dir: &Path, error: &ModelConfigError) -> CliError {
    let error = CliError::mistake(chain(error));
    if dir.is_dir() || is_gguf(dir) {
        error
    } else {
        error.with_help(
            "--model takes a folder as Hugging Face stores a model (config.json, model.safetensors, tokenizer.json), or a GGUF \
             file",
        )
    }
}

/// The display name of the model in this folder.
pub(super) fn folder_name(dir: &Path) -> String {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    absolute.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Reports what was loaded. Anything that was changed or ignored affects the adapter's meaning, so it is a warning,
/// which --quiet does not hide.
pub(super) fn report_loaded(report: &LoadReport, style: Style) {
    style.say(LoadReport { notes: Vec::new(), ..report.clone() });
    warn_notes(&report.name, &report.notes);
}

/// Warnings about the adapter, head or fusion `name`.
pub(super) fn warn_notes(name: &str, notes: &[String]) {
    notes.iter().for_each(|note| draw::warning(&format!("`{}`: {note}", shown(name))));
}

/// An adapter folder that cannot be used: a user error, unless it is an error of the system.
pub(super) fn checkpoint_error(error: &CheckpointError) -> CliError {
    match error {
        // What is drawn is the dictionary in the file, not the file itself.
        CheckpointError::Config { path, source } => {
            CliError::text(source, Some(&format!("the `config` in {}", path.display())))
        }
        CheckpointError::Fusion { path, source } => {
            CliError::text(source, Some(&format!("the `config` in {}", path.display())))
        }
        CheckpointError::Bank(error) => bank_error(error),
        CheckpointError::Io { doing, path, source } => CliError::io(doing, path, source),
        CheckpointError::NotFinite { doing: "save", .. } => CliError::failure(chain(error)),
        CheckpointError::Damaged { .. } => {
            CliError::mistake(chain(error)).with_help("the file is damaged: fetch or save the adapter again")
        }
        error => CliError::mistake(chain(error)),
    }
}

/// A configuration or composition that does not fit the model, or names something that does not exist.
pub(super) fn bank_error(error: &BankError) -> CliError {
    match error {
        BankError::Config(error) => CliError::text(error, None),
        BankError::Composition(error) => CliError::text(error, None),
        BankError::UnknownFusion { .. } => CliError::mistake(chain(error)).with_help(
            "--fusion DIR loads a fusion; without a name of its own it is named after its adapters, with commas \
             between \
             them, and `Fuse(a, b, name=…)` uses one of another name",
        ),
        error => CliError::mistake(chain(error)),
    }
}

/// A failed training, evaluation or prediction.
pub(super) fn train_error(error: &TrainError) -> CliError {
    match error {
        TrainError::Data(error) => data_error(error),
        TrainError::Bank(error) => bank_error(error),
        TrainError::BadConfig { option, expected, found } => {
            let option = option.replace(['_', ' '], "-");
            CliError::mistake(format!("--{option} must be {expected}, found {found}"))
        }
        TrainError::Io { path, error } => CliError::io("use", path, error),
        TrainError::NotEmpty { .. } => CliError::mistake(chain(error))
            .with_help("--resume continues that training; delete the folder to start over"),
        TrainError::Base(error) => base_error(error),
        TrainError::Group(GroupError::Failed { .. }) => CliError::elsewhere(1, chain(error)),
        TrainError::Group(GroupError::Differs { .. } | GroupError::OutOfStep { .. }) => CliError::mistake(chain(error)),
        TrainError::Device(_)
        | TrainError::Group(_)
        | TrainError::Diverged { .. }
        | TrainError::NotFinite { .. }
        | TrainError::NotFiniteLogits { .. }
        | TrainError::NotFiniteLoss { .. } => CliError::failure(chain(error)),
        error => CliError::mistake(chain(error)),
    }
}

/// A failed pass: a user error if the adapters do not fit the batch.
pub(super) fn base_error(error: &BaseError) -> CliError {
    match error {
        BaseError::Adapter(error) => bank_error(error),
        error => CliError::failure(chain(error)),
    }
}

/// Turns texts into tokens and their labels into numbers. Warns once if texts were truncated.
pub(super) fn tokenize(
    model: &Model,
    data: &Dataset,
    head: &HeadConfig,
    lengths: impl Into<Lengths>,
) -> CliResult<TokenData> {
    let tokens = TokenData::tokenize(data, head, &model.tokenizer, lengths).map_err(|error| train_error(&error))?;
    warn_tokens(&tokens);
    Ok(tokens)
}

/// As [`tokenize`], without labels; with the piece of text of each token if a head labels words.
pub(super) fn tokenize_unlabeled(
    model: &Model,
    data: &Dataset,
    form: TextForm,
    lengths: Lengths,
) -> CliResult<TokenData> {
    let tokens = TokenData::unlabeled(data, form, &model.tokenizer, lengths).map_err(|error| train_error(&error))?;
    warn_tokens(&tokens);
    Ok(tokens)
}

fn warn_tokens(tokens: &TokenData) {
    let cut = [tokens.truncation(), tokens.target_truncation()];
    cut.into_iter().flatten().for_each(|truncation| draw::warning(&truncation.to_string()));
    tokens.untrained().into_iter().for_each(|untrained| draw::warning(&untrained.to_string()));
    tokens.unpreferred().into_iter().for_each(|pairs| draw::warning(&pairs.to_string()));
    tokens.lost_words().into_iter().for_each(|lost| draw::warning(&lost.to_string()));
}

/// The maximum length of texts in tokens, by `--max-length`.
pub(super) fn max_length(model: &Model, asked: Option<usize>) -> CliResult<usize> {
    let (least, most) = (model.tokenizer.min_length(), model.tokenizer.model_limit());
    match asked {
        Some(asked) if asked < least => Err(CliError::mistake(format!(
            "--max-length is {asked}, but the model {} begins and ends each text with {} special tokens: --max-length must \
             be at least {least}",
            model.name,
            least - 1
        ))),
        Some(asked) if asked > most => Err(CliError::mistake(format!(
            "--max-length is {asked}, but the model {} takes at most {most} tokens",
            model.name
        ))),
        asked => Ok(asked.unwrap_or(model.tokenizer.max_length())),
    }
}
