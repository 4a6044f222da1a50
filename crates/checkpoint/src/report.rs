//! What loading and saving did, as values.

use std::fmt;
use std::path::PathBuf;

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadReport {
    /// The name that the adapter or head has now.
    pub name: String,
    /// The name that it has in its folder.
    pub saved_name: String,
    /// The files that were read.
    pub files: Vec<PathBuf>,
    /// The names of the tensors that were taken over, in order; all that the files hold.
    pub applied: Vec<String>,
    /// The parameters that were filled.
    pub parameters: usize,
    /// What was changed on the way, and has no effect here.
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

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveReport {
    /// The files that were written.
    pub files: Vec<PathBuf>,
    /// The number of tensors.
    pub tensors: usize,
    /// The number of parameters.
    pub parameters: usize,
    /// The size of the files together.
    pub bytes: u64,
    /// Files of the adapter or head that was there before, deleted because a reader might take them for this one's.
    pub removed: Vec<PathBuf>,
    /// What the Python library will read otherwise than it is here; empty if it computes the same.
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

/// What a folder says of the model beside its sizes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaveOptions {
    /// The Hugging Face name of the base model, for readers; may stay empty.
    pub model_name: String,
    /// The Python class that the Python library would load the folder into; none for the family's usual one
    /// (`BertAdapterModel`).
    pub model_class: Option<String>,
}

impl SaveOptions {
    /// Options for a base model with this Hugging Face name.
    pub fn new(model_name: impl Into<String>) -> Self {
        Self { model_name: model_name.into(), model_class: None }
    }
}
