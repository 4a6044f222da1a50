//! The integration tests of this crate, in one program: a file of its own for each would be linked for itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod errors;
mod fusion;
mod goldens;
mod json;
mod properties;
