//! What loading found, as values.

use std::fmt;
use std::path::PathBuf;

use burn_adapters_files::{Listed, shorten};

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

/// How weights differ from what a configuration describes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Mismatch {
    /// Weights of the model that no file holds.
    pub missing: Vec<String>,
    /// Tensors in the files that the model does not have.
    pub unexpected: Vec<String>,
    /// Weights of another shape.
    pub reshaped: Vec<Reshaped>,
}

/// A weight of another shape than expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshaped {
    /// Its name.
    pub name: String,
    /// The shape that the configuration describes, as it is in a file.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
}

impl fmt::Display for Reshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = format!("{:?}", self.found);
        write!(f, "{} (expected {:?}, found {})", self.name, self.expected, shorten(&found))
    }
}

impl Mismatch {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.reshaped.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if !self.missing.is_empty() {
            write!(f, "{} missing: ", self.missing.len())?;
            write!(f, "{}", Listed(&self.missing))?;
            separator = "; ";
        }
        if !self.unexpected.is_empty() {
            write!(f, "{separator}{} unexpected: ", self.unexpected.len())?;
            write!(f, "{}", Listed(&self.unexpected))?;
            separator = "; ";
        }
        if !self.reshaped.is_empty() {
            write!(f, "{separator}{} of another shape: ", self.reshaped.len())?;
            write!(f, "{}", Listed(&self.reshaped))?;
        }
        Ok(())
    }
}
