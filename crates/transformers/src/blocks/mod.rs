//! The blocks that models are made of, each built from its part of a plan.

mod attention;
mod convolution;
mod disentangled;
mod embeddings;
mod feed_forward;
mod languages;
mod layer;
mod norm;
mod output;
mod projected;
mod relative;
mod stack;

pub(crate) use embeddings::{Added, Embeddings};
pub(crate) use norm::Normalization;
pub(crate) use output::Output;
pub(crate) use stack::Stack;
