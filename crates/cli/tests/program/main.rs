//! The integration tests of this crate, in one program: a file of its own for each would be linked for itself.
//! It is not named `all`, because `cargo xtask test-backends` runs the programs of that name on every backend, and the
//! program is tested on the CPU alone.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// The examples, which are modules here, share files.
#![allow(clippy::duplicate_mod)]

mod answering;
mod chat;
mod choosing;
mod command_line;
#[path = "../common/mod.rs"]
mod common;
mod compositions;
mod data;
#[cfg(all(target_os = "linux", feature = "mpi"))]
mod distributed;
mod foreign;
mod fusion_example;
mod generate;
mod inspect;
mod language;
mod madx_example;
mod models;
mod pairs;
mod parsing;
mod predicting;
mod preferences;
mod python_reader;
mod quickstart;
mod read;
mod resume;
mod save;
#[cfg(all(unix, feature = "serve"))]
mod serve;
mod several;
mod sizes;
mod tagging;
mod tok;
mod training;
mod trust;
