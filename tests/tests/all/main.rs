//! The integration tests of this crate, in one program: a file of its own for each would be linked for itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cache;
mod composed_training;
mod compositions;
mod counts;
mod families;
mod family_compositions;
mod folders;
mod generation;
mod gguf;
mod gguf_quantized;
mod heads;
mod interface;
mod language;
mod matrix;
mod merging;
mod optimizers;
mod outputs;
mod own_decoder;
mod pairs;
mod parity;
mod parsing;
mod peft;
mod preferences;
mod roundtrip;
mod smollm2;
