//! What can go wrong with a folder.

use std::io;
use std::path::PathBuf;

use burn_adapters_composition::{AdapterSetup, JsonError};
use burn_adapters_config::ConfigError;
use burn_adapters_core::Site;
use burn_adapters_files::{FileError, FileErrorKind, FolderKind, Listed};
use burn_adapters_heads::HeadError;
use burn_adapters_model::BankError;
use burn_adapters_reft::ReftError;
use burn_adapters_tensors::{Mismatch, NotFinite, TensorFileError};
use thiserror::Error;

/// A folder that cannot be read, loaded or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// No such file.
    #[error("`{}` holds no {what}: expected {} in it", dir.display(), expected.join(" or "))]
    NotFound {
        /// The folder.
        dir: PathBuf,
        /// `adapter`, `head` or `fusion`.
        what: &'static str,
        /// The file names that were looked for.
        expected: Vec<&'static str>,
    },
    /// A folder of another kind.
    #[error("`{}` holds {found}, expected {}: {}", dir.display(), expectation(what), other_kind(found, what))]
    OtherKind {
        /// The folder.
        dir: PathBuf,
        /// `adapter`, `head` or `fusion`: what was expected.
        what: &'static str,
        /// What it holds.
        found: FolderKind,
    },
    /// A tensor with numbers that are NaN or infinite, or become so in f32.
    #[error(
        "cannot {doing} `{}`: the tensor `{tensor}` cannot be used: {found}; {}",
        path.display(),
        not_finite(doing)
    )]
    NotFinite {
        /// `load` or `save`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What was found.
        found: NotFinite,
    },
    /// The file system refused, or the file is not a regular one.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process is writing to the folder.
    #[error(
        "another process{} is writing to `{}`: wait until it is done, or choose another folder",
        pid.map(|pid| format!(" (number {pid})")).unwrap_or_default(), dir.display()
    )]
    Busy {
        /// The folder.
        dir: PathBuf,
        /// The other process, where the system tells.
        pid: Option<u32>,
    },
    /// A configuration file that is not what it should be.
    #[error("`{}`: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An adapter configuration that is wrong.
    #[error("`{}`: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// A head configuration that is wrong, or a head that cannot be built.
    #[error("`{}`: {source}", path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: HeadError,
    },
    /// A fusion's configuration that is wrong.
    #[error("`{}`: {source}", path.display())]
    Fusion {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<ConfigError>,
    },
    /// A fusion of adapters that are not there.
    #[error(
        "the fusion `{fusion}` fuses {}, but {place} has no {}; {}",
        listed(adapters),
        listed(missing),
        advice(place)
    )]
    FusedAdapters {
        /// The fusion's name.
        fusion: String,
        /// The adapters that it fuses.
        adapters: Vec<String>,
        /// Those of them that are missing.
        missing: Vec<String>,
        /// Where: `the bank` or `the setup`.
        place: &'static str,
    },
    /// A file `adapter_setup.json` that is wrong.
    #[error("`{}`: {source}", path.display())]
    Setup {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<JsonError>,
    },
    /// A folder that lacks what its `adapter_setup.json` names.
    #[error("`{}` lacks what its {} names: {}", dir.display(), AdapterSetup::FILE_NAME, Listed(missing))]
    Incomplete {
        /// The folder.
        dir: PathBuf,
        /// What is missing, and where it was looked for.
        missing: Vec<String>,
    },
    /// A name that cannot be a folder's: a path, or a part of one.
    #[error(
        "the {what} `{name}` cannot have a folder of its own name: expected one without `/` and `\\`, and not `.` or `..`; \
        rename it"
    )]
    FolderName {
        /// `adapter`, `head` or `fusion`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A file of weights that is cut short, damaged, or no such file at all.
    #[error("`{}` cannot be read, it is damaged or not what its name says: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor that does not hold floating point numbers.
    #[error("`{}`: the tensor `{tensor}` holds {found}, expected floating point numbers (f32, f64, f16 or bf16)",
        path.display())]
    DataType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its data type.
        found: String,
    },
    /// An adapter, head or fusion of another model family.
    #[error("the {what} `{name}` is for a model of type `{file}`, but this model is of type `{model}`")]
    ModelType {
        /// `adapter`, `head` or `fusion`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The type in the folder.
        file: String,
        /// The type of the model.
        model: String,
    },
    /// An adapter, head or fusion of a model of another width.
    #[error("the {what} `{name}` is for a model with hidden size {file}, but this model has hidden size {model}")]
    HiddenSize {
        /// `adapter`, `head` or `fusion`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The hidden size in the folder.
        file: usize,
        /// The hidden size of the model.
        model: usize,
    },
    /// An adapter or fusion of a model of another depth.
    #[error("the {what} `{name}` is for a model with {file} layers, but this model has {model} layers")]
    Depth {
        /// `adapter` or `fusion`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The layers in the folder.
        file: usize,
        /// The layers of the model.
        model: usize,
    },
    /// Tensors that do not fit.
    #[error("the tensors of `{}` do not fit its configuration and this model: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The tensors.
        mismatch: Box<Mismatch>,
    },
    /// One parameter under two names, with two values.
    #[error("`{}`: the tensors `{first}` and `{second}` are one parameter, but differ", path.display())]
    Disagreement {
        /// The file.
        path: PathBuf,
        /// The one name.
        first: String,
        /// The other.
        second: String,
    },
    /// An orthogonal projection that is none.
    #[error("`{}`: at {site}: {source}", path.display())]
    Reft {
        /// The file.
        path: PathBuf,
        /// Where.
        site: Site,
        /// Why.
        source: ReftError,
    },
    /// The adapter cannot be built for the model, or added.
    #[error(transparent)]
    Bank(#[from] BankError),
    /// A parameter that the format has no name for.
    #[error("AdapterHub's format has no name for the parameter `{path}` in a model of type `{model_type}`")]
    NoName {
        /// The parameter's path in the adapter.
        path: String,
        /// The type of the model.
        model_type: String,
    },
    /// The parameters could not be read from the device.
    #[error("reading the parameters from the device failed: {0}")]
    Device(String),
    /// Tensors that the format cannot hold.
    #[error("cannot write `{}`: {reason}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl CheckpointError {
    /// Whether this is a head that may be whole, but of a kind that there is not here: for language modeling, tagging.
    pub fn is_unknown_head(&self) -> bool {
        matches!(self, Self::Head { source: HeadError::UnknownType { .. }, .. })
    }
}

impl From<FileError> for CheckpointError {
    fn from(error: FileError) -> Self {
        let path = error.path.clone();
        match error.kind {
            FileErrorKind::NotUtf8 { .. } => Self::Json { path, reason: error.kind.to_string() },
            _ => Self::Io { doing: "read", path, source: error.into_io() },
        }
    }
}

impl From<TensorFileError> for CheckpointError {
    fn from(error: TensorFileError) -> Self {
        match error {
            TensorFileError::File(error) => error.into(),
            TensorFileError::Damaged { path, reason } => Self::Damaged { path, reason },
            TensorFileError::DataType { path, tensor, found } => Self::DataType { path, tensor, found },
            TensorFileError::NotFinite { path, tensor, found } => {
                Self::NotFinite { doing: "load", path, tensor, found }
            }
            other => Self::Damaged { path: PathBuf::new(), reason: other.to_string() },
        }
    }
}

fn expectation(what: &str) -> &'static str {
    match what {
        "adapter" => "an AdapterHub adapter (adapter_config.json, adapter.safetensors)",
        "head" => "a prediction head (head_config.json, model_head.safetensors)",
        _ => "an AdapterFusion (adapter_fusion_config.json, model_adapter_fusion.safetensors)",
    }
}

/// What to do about a folder of another kind.
fn other_kind(found: &FolderKind, what: &str) -> &'static str {
    match (found, what) {
        (FolderKind::Peft { .. }, _) => {
            "folders of PEFT cannot be read yet; train the adapter with `adapters` or burn-adapters, or merge it into \
             its model with PEFT (`merge_and_unload`, `save_pretrained`) and use that as the model"
        }
        (FolderKind::Model, "adapter") => "give it as the model, and as the adapter the folder of an adapter",
        (FolderKind::Model, _) => "the classifier of a whole model is not read as a head; train an adapter with a head",
        (FolderKind::Fusion, _) => "it is loaded as a fusion, beside the adapters that it fuses",
        (FolderKind::Head, _) => "it is loaded as a head, beside an adapter",
        (FolderKind::Setup, _) => "it is loaded as a setup, or one of the folders in it as an adapter",
        _ => "it is loaded as an adapter",
    }
}

fn not_finite(doing: &str) -> &'static str {
    match doing {
        "load" => "the training that made it diverged, or the file is damaged: save or fetch it again",
        _ => "the training diverged: train again, with a lower learning rate",
    }
}

fn listed(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    Listed(&quoted).to_string()
}

fn advice(place: &str) -> &'static str {
    if place == "the bank" { "load them first, under these names" } else { "add them to it" }
}
