//! Reports of loading and saving.

use std::fmt;
use std::path::PathBuf;

use burn_adapters_files::Listed;

use super::MatrixFormats;

/// The result of loading a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelLoadReport {
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The number of tensors that were loaded.
    pub tensors: usize,
    /// The number of its parameters.
    pub parameters: usize,
    /// Tensors that a base model does not use: buffers, and the heads of task models.
    pub unused: Vec<String>,
    /// The number formats of its matrices.
    pub formats: MatrixFormats,
    /// Whether the files lack the pooler that the family has; the model then has no pooled output.
    pub missing_pooler: bool,
}

impl fmt::Display for ModelLoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        write!(f, "loaded {} parameters in {} tensors from ", self.parameters, self.tensors)?;
        write!(f, "{}", Listed(&files))?;
        if self.formats.is_quantized() || self.formats.dequantized || !self.formats.not_quantized.is_empty() {
            write!(f, "\n{}", self.formats)?;
        }
        if self.missing_pooler {
            write!(f, "\nthe files contain no pooler: there is no pooled output")?;
        }
        if !self.unused.is_empty() {
            write!(f, "\nnot used: ")?;
            write!(f, "{}", Listed(&self.unused))?;
        }
        Ok(())
    }
}

/// The result of saving a model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ModelSaveReport {
    /// The number of tensors.
    pub tensors: usize,
    /// The number of their elements.
    pub parameters: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The number of tensors that differ from the files that the model was read from; 0 for a GGUF file, whose tensors are not
    /// compared.
    pub changed: usize,
    /// The number of tensors that were of another number format in those files.
    pub converted: usize,
    /// Weights that the format has no place for: the pooler and the head for masked language modeling of an encoder in a GGUF
    /// file.
    pub left_out: Vec<String>,
}
