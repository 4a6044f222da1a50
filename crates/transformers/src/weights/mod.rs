//! The files with a model's weights: which there are, what they hold, and how they fit.

mod files;
mod folder;
mod format;
mod report;
mod source;

pub(crate) use files::FromFiles;
pub(crate) use folder::Weights;
pub use format::{MatrixFormats, WeightFormat};
pub use report::{ModelLoadReport, ModelSaveReport};
pub(crate) use source::{Fresh, Listed, ListedParameter, Source};
