//! The files with a model's weights: which there are, what they hold, and how they fit.

mod folder;
mod pytorch;
mod report;
mod source;

pub(crate) use folder::Weights;
pub use report::{LoadReport, Mismatch, Reshaped, SaveReport};
pub(crate) use source::{Expected, Fresh, FromFiles, Source, transposed};
