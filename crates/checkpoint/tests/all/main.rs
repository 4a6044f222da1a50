//! The integration tests of this crate, in one program: a file of its own for each would be linked for itself.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
mod fused;
mod fusions;
mod goldens;
mod hostile;
mod python_reader;
mod reading;
mod round_trip;
mod setups;
mod shapes;
mod whole_saves;
