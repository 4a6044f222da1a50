//! Reports of loading and saving.

use std::fmt;
use std::path::PathBuf;

/// The result of loading an adapter, a head or a fusion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The name under which it was loaded.
    pub name: String,
    /// Its name in the folder.
    pub saved_name: String,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The names of the loaded tensors, sorted: every tensor in the files.
    pub applied: Vec<String>,
    /// The number of parameters that were set.
    pub parameters: usize,
    /// Notes on what was updated while reading and on settings without effect.
    pub notes: Vec<String>,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "loaded `{}`", self.name)?;
        if self.name != self.saved_name {
            write!(f, " (saved as `{}`)", self.saved_name)?;
        }
        write!(f, ": {} tensors, {} parameters", self.applied.len(), self.parameters)?;
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}

/// The result of saving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveReport {
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of parameters.
    pub parameters: usize,
    /// The total size of the files.
    pub bytes: u64,
    /// Deleted files of the previous adapter or head, which a reader could mistake for files of this one.
    pub removed: Vec<PathBuf>,
    /// Notes on what the Python library reads differently; empty if it computes the same.
    pub notes: Vec<String>,
}

impl fmt::Display for SaveReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "saved {} tensors, {} parameters, {} bytes", self.tensors, self.parameters, self.bytes)?;
        for path in &self.files {
            write!(f, "\n  {}", path.display())?;
        }
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}

/// Information on the base model that is written into a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// The Hugging Face name of the base model, for information; may be empty.
    pub model_name: String,
    /// The Python class of the model; without one, that of the model's names
    /// ([`SiteNames::model_class`](burn_adapters_core::SiteNames::model_class)).
    pub model_class: Option<String>,
}

impl SaveOptions {
    /// Options for a base model with this Hugging Face name.
    pub fn new(model_name: impl Into<String>) -> Self {
        Self { model_name: model_name.into(), model_class: None }
    }
}
