//! The files with a model's weights: which there are, what they hold, and how they fit.

mod folder;
mod report;
mod source;

pub(crate) use folder::Weights;
pub use report::{ModelLoadReport, ModelSaveReport};
pub use source::WeightFormat;
pub(crate) use source::{Fresh, FromFiles, Listed, ListedParameter, Source};
