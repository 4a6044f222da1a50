//! What loading found, as values.

use std::fmt;
use std::path::PathBuf;

use burn_adapters_files::Listed;

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The number of tensors that the model took.
    pub tensors: usize,
    /// The number of its parameters.
    pub parameters: usize,
    /// Tensors in the files that a base model does not use: buffers, and the heads of task models.
    pub unused: Vec<String>,
    /// Whether the files hold no pooler although the family has one; the model then gives no pooled output.
    pub missing_pooler: bool,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        write!(f, "loaded {} parameters in {} tensors from ", self.parameters, self.tensors)?;
        write!(f, "{}", Listed(&files))?;
        if self.missing_pooler {
            write!(f, "\nthe files hold no pooler: there is no pooled output")?;
        }
        if !self.unused.is_empty() {
            write!(f, "\nnot used: ")?;
            write!(f, "{}", Listed(&self.unused))?;
        }
        Ok(())
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SaveReport {
    /// The number of tensors.
    pub tensors: usize,
    /// The number of their elements.
    pub parameters: usize,
    /// Their bytes.
    pub bytes: u64,
    /// How many tensors differ from those in the files that the model was read from.
    pub changed: usize,
    /// How many of those files' tensors had another type than f32.
    pub widened: usize,
}
