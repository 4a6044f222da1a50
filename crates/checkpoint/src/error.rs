//! Errors of reading, loading and saving folders.

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
    /// The folder does not have the expected file.
    #[error("`{}` holds no {what}: expected {} in it", dir.display(), expected.join(" or "))]
    NotFound {
        /// The folder.
        dir: PathBuf,
        /// `adapter`, `head` or `fusion`.
        what: &'static str,
        /// The expected file names.
        expected: Vec<&'static str>,
    },
    /// An adapter of another program that cannot be read.
    #[error("`{}` cannot be read as an adapter of {format}: {reason}", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// The program.
        format: &'static str,
        /// The reason.
        reason: String,
    },
    /// An adapter that another library has no counterpart of.
    #[error("the adapter `{name}` cannot be written for {format}: {reason}")]
    Export {
        /// The adapter.
        name: String,
        /// The format.
        format: &'static str,
        /// The reason.
        reason: String,
    },
    /// A folder of another kind.
    #[error("`{}` holds {found}, expected {}: {}", dir.display(), expectation(what), other_kind(found, what))]
    OtherKind {
        /// The folder.
        dir: PathBuf,
        /// The expected kind: `adapter`, `head` or `fusion`.
        what: &'static str,
        /// The kind of folder that it is.
        found: FolderKind,
    },
    /// A tensor with values that are NaN or infinite, or become so in f32.
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
        /// The values that were found.
        found: NotFinite,
    },
    /// An error of the file system, or a file that is not a regular one.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// The operation that failed.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The reason.
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
        /// The number of the other process, if the system reports it.
        pid: Option<u32>,
    },
    /// An invalid configuration file.
    #[error("`{}`: {reason}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// An adapter of a fused module that cannot be converted.
    #[error("cannot load `{}`: {reason}", path.display())]
    Fused {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// An invalid adapter configuration.
    #[error("`{}`: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: ConfigError,
    },
    /// An invalid head configuration, or a head that cannot be built.
    #[error("`{}`: {source}", path.display())]
    Head {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: HeadError,
    },
    /// An invalid fusion configuration.
    #[error("`{}`: {source}", path.display())]
    Fusion {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: Box<ConfigError>,
    },
    /// A fusion of adapters that are missing.
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
        /// The missing adapters.
        missing: Vec<String>,
        /// Where they are missing: `the bank` or `the setup`.
        place: &'static str,
    },
    /// An invalid `adapter_setup.json`.
    #[error("`{}`: {source}", path.display())]
    Setup {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: Box<JsonError>,
    },
    /// A folder that lacks parts that its `adapter_setup.json` names.
    #[error("`{}` lacks parts that its {} names: {}", dir.display(), AdapterSetup::FILE_NAME, Listed(missing))]
    Incomplete {
        /// The folder.
        dir: PathBuf,
        /// The missing parts, and where they were expected.
        missing: Vec<String>,
    },
    /// A name that cannot name a folder because it is a path or a part of one.
    #[error(
        "the {what} `{name}` cannot have a folder of its own name: expected a name without `/` or `\\` that is not `.` or `..`; \
        rename it"
    )]
    FolderName {
        /// `adapter`, `head` or `fusion`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A file of weights that is truncated, damaged or of another format.
    #[error("`{}` cannot be read: the file is damaged or of another format: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem.
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
    /// Tensors that do not fit the configuration and the model.
    #[error("the tensors of `{}` do not fit its configuration and this model: {mismatch}", path.display())]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The tensors.
        mismatch: Box<Mismatch>,
    },
    /// One parameter stored under two names with different values.
    #[error("`{}`: the tensors `{first}` and `{second}` are the same parameter, but their values differ", path.display())]
    Disagreement {
        /// The file.
        path: PathBuf,
        /// One name.
        first: String,
        /// The other name.
        second: String,
    },
    /// A projection that should be orthogonal, but is not.
    #[error("`{}`: at {site}: {source}", path.display())]
    Reft {
        /// The file.
        path: PathBuf,
        /// The site.
        site: Site,
        /// The reason.
        source: ReftError,
    },
    /// An adapter that cannot be built for the model, or not be added.
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
    /// Something that the format cannot hold.
    #[error("cannot write `{}`: {reason}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
}

impl CheckpointError {
    /// Whether the head is of a type that this crate does not have, such as language modeling. The folder may be intact.
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
            TensorFileError::Save(error) => error.into(),
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

/// Advice on a folder of another kind.
fn other_kind(found: &FolderKind, what: &str) -> &'static str {
    match (found, what) {
        (FolderKind::Peft { .. } | FolderKind::Mlx, _) => {
            "such adapters are read for a model; to have one as a folder of AdapterHub, export it (`--to adapterhub`)"
        }
        (FolderKind::Model, "adapter") => "pass it as the model, and pass the folder of an adapter as the adapter",
        (FolderKind::Model, _) => "the classifier of a model is not read as a head; train an adapter with a head",
        (FolderKind::Fusion, _) => "load it as a fusion, together with the adapters that it fuses",
        (FolderKind::Head, _) => "load it as a head, together with an adapter",
        (FolderKind::Setup, _) => "load it as a setup, or load one of its subfolders as an adapter",
        _ => "load it as an adapter",
    }
}

fn not_finite(doing: &str) -> &'static str {
    match doing {
        "load" => "its training diverged, or the file is damaged; save or download it again",
        _ => "the training diverged; train again with a lower learning rate",
    }
}

fn listed(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    Listed(&quoted).to_string()
}

fn advice(place: &str) -> &'static str {
    if place == "the bank" { "load them first, under these names" } else { "add them to it" }
}
