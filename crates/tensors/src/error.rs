//! Errors of files of tensors.

use std::path::{Path, PathBuf};

use burn_adapters_files::{FileError, SaveError};
use thiserror::Error;

use crate::NotFinite;

/// A file of tensors that cannot be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorFileError {
    /// The file cannot be opened or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file cannot be written.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The file is truncated, damaged, or of another kind.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// A tensor whose elements are not floating point numbers.
    #[error("{}: the tensor `{tensor}` holds {found}, expected floating point numbers (f32, f64, f16 or bf16)",
        path.display())]
    DataType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type of its elements.
        found: String,
    },
    /// A tensor of a GGUF file whose type is not read.
    #[error("{}: the tensor `{tensor}` is quantized as {found}, which is not supported: F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, \
        Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and MXFP4 are; take the file of another quantization", path.display())]
    BlockType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The name of its type.
        found: String,
    },
    /// A tensor with elements that are NaN or infinite, or become so in the requested number format.
    #[error("{}: the tensor `{tensor}` cannot be used: {found}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The elements that were found.
        found: NotFinite,
    },
}

impl TensorFileError {
    pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn no_tensor(path: &Path, name: &str) -> Self {
        Self::damaged(path, format!("it holds no tensor `{name}`"))
    }
}
