//! The integration tests of this crate, in one program: a file of its own for each would be linked for itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bf16;
mod common;
mod config;
mod first_position;
mod hidden_states;
mod loading;
#[cfg(target_os = "linux")]
mod memory;
mod quantized;
mod recorded;
mod tokenizer;
mod tokenizer_goldens;
mod tokenizer_hostile;
