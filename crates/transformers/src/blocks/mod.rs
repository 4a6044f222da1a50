//! The blocks that models are made of, each built from its part of a plan.

mod attention;
mod embeddings;
mod feed_forward;
mod layer;
mod norm;

pub(crate) use embeddings::Embeddings;
pub(crate) use layer::Layer;
pub(crate) use norm::Normalization;
