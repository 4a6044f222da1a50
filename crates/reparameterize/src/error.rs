//! Errors.

use std::io;
use std::path::PathBuf;

use burn_adapters_config::ConfigError;
use burn_adapters_core::TooLarge;
use burn_adapters_files::Listed;
use burn_adapters_ia3::Ia3Error;
use burn_adapters_lora::LoraError;
use burn_adapters_tensors::{Mismatch, NotFinite, TensorFileError};
use thiserror::Error;

use crate::Skipped;

/// An adapter that cannot be added, found, merged, saved or loaded. The module is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WeightAdapterError {
    /// The pattern of [`Targets::regex`](crate::Targets::regex).
    #[error("`{pattern}` is not a valid regular expression: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        reason: String,
    },
    /// A name that cannot be part of a parameter path.
    #[error("`{name}` is not a valid adapter name: it must not be empty or contain dots or control characters")]
    BadName {
        /// The name.
        name: String,
    },
    /// The name is taken.
    #[error("the module already has an adapter `{name}`: choose another name, or remove that one first")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// No adapter has this name.
    #[error("the module has no adapter `{name}`; it has {}", list(.known))]
    UnknownAdapter {
        /// The name.
        name: String,
        /// The names of the adapters.
        known: Vec<String>,
    },
    /// The targets matched nothing that can be adapted.
    #[error("{targets} matched no matrix{}; the module's matrices are {}", left_out(.skipped), list(.matrices))]
    NothingMatched {
        /// The targets, in words.
        targets: String,
        /// Parameters that matched, but cannot be adapted.
        skipped: Vec<Skipped>,
        /// The paths of the first ten matrices that can be adapted.
        matrices: Vec<String>,
    },
    /// Named parameters that the module does not have.
    #[error("the module has no parameter {}", list(.paths))]
    NoSuchParameter {
        /// Their paths.
        paths: Vec<String>,
    },
    /// A named parameter that cannot be adapted.
    #[error("cannot adapt {skipped}")]
    NotAdaptable {
        /// The parameter, and the reason.
        skipped: Skipped,
    },
    /// Burn keeps one reparameterization per parameter, and would silently nest a second one inside the first.
    #[error(
        "`{path}` already has the reparameterization `{found}`; materialize it first, or choose parameters without one"
    )]
    Occupied {
        /// The parameter.
        path: String,
        /// The name of the reparameterization.
        found: String,
    },
    /// Two parameters have the same path.
    #[error("the module has two parameters with the path `{path}`, so neither can be adapted or saved by it")]
    AmbiguousPath {
        /// The path.
        path: String,
    },
    /// Merging uses Burn's `materialize`, which merges everything.
    #[error(
        "`{path}` has the reparameterization `{found}`, which would be merged with the adapter: materialize it first, or \
         attach it after merging"
    )]
    Foreign {
        /// The parameter.
        path: String,
        /// The name of the reparameterization.
        found: String,
    },
    /// A key that does not apply to weights.
    #[error("`{key}` does not apply to weights: {reason}")]
    Unsupported {
        /// The key of the configuration.
        key: &'static str,
        /// The reason.
        reason: &'static str,
    },
    /// More parameters than fit into memory.
    #[error("the adapter is {0}")]
    TooLarge(#[from] Box<TooLarge>),
    /// The configuration itself is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The module of LoRA or VeRA cannot be built.
    #[error("`{path}`: {source}")]
    Lora {
        /// The parameter.
        path: String,
        /// The cause.
        source: LoraError,
    },
    /// The module of (IA)³ cannot be built.
    #[error("`{path}`: {source}")]
    Ia3 {
        /// The parameter.
        path: String,
        /// The cause.
        source: Ia3Error,
    },
    /// A file cannot be read or written.
    #[error("cannot {doing} {}: {source}", .file.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// A tensor with elements that are NaN or infinite.
    #[error("cannot {doing} {}: the tensor `{tensor}` cannot be used: {found}", .file.display())]
    NotFinite {
        /// `load` or `save`.
        doing: &'static str,
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The description of the element.
        found: NotFinite,
    },
    /// A file that is not what [`save_adapter`](crate::WeightAdapters::save_adapter) writes.
    #[error("{} is not the file of a weight adapter: {reason}", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The file's tensors do not fit the adapter on this module.
    #[error("the tensors of {} do not fit its adapter on this module: {mismatch}", .file.display())]
    Mismatch {
        /// The file.
        file: PathBuf,
        /// The differences.
        mismatch: Box<Mismatch>,
    },
    /// The adapter's parameters could not be read from the device.
    #[error("reading the adapter's parameters from the device failed: {0}")]
    Device(String),
}

impl From<TensorFileError> for WeightAdapterError {
    fn from(error: TensorFileError) -> Self {
        match error {
            TensorFileError::File(error) => {
                Self::Io { doing: "read", file: error.path.clone(), source: error.into_io() }
            }
            TensorFileError::Damaged { path, reason } => Self::Damaged { file: path, reason },
            TensorFileError::DataType { path, tensor, found } => {
                Self::Damaged { file: path, reason: format!("the tensor `{tensor}` must be F32, found {found}") }
            }
            TensorFileError::NotFinite { path, tensor, found } => {
                Self::NotFinite { doing: "load", file: path, tensor, found }
            }
            other => Self::Damaged { file: PathBuf::new(), reason: other.to_string() },
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    Listed(&quoted).to_string()
}

fn left_out(skipped: &[Skipped]) -> String {
    match skipped {
        [] => String::new(),
        [one] => format!(" (it matched {one})"),
        [one, rest @ ..] => format!(" (it matched {one}, and {} like it)", rest.len()),
    }
}
