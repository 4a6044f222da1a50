//! BERT and what shares its code.

mod attention;
mod embeddings;
mod input;
mod layer;
mod load;
mod model;
mod names;
mod packing;
mod save;

pub use input::{Batch, BertInput};
pub use model::{Bert, BertOutput};
