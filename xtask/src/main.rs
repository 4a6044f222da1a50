//! The workspace's own commands: `cargo xtask test`, `test-backends`, `test-distributed`, `goldens`, `examples`, `bench`, `check`,
//! `tidy`.

mod backends;
mod bench;
mod check;
mod examples;
mod goldens;
mod process;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::backends::Backend;

/// The workspace's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that CI runs: formatting, lints and docs, all tests, the examples, and the backend tests.
    Test {
        /// The tests on the default CPU backend only: no lints, no other backends.
        #[arg(long)]
        quick: bool,
    },
    /// The tests of methods, models and training on every backend that this machine can run.
    TestBackends {
        /// Only this backend.
        #[arg(long)]
        backend: Option<Backend>,
    },
    /// The tests of training in several processes, which need MPI; without it they are skipped.
    TestDistributed,
    /// Regenerates the test goldens with the pinned Python reference, and checks that it reads what we write.
    Goldens {
        /// Only check; do not change the goldens.
        #[arg(long)]
        check_only: bool,
    },
    /// Measures our crates and the Python reference in turn, on the same weights and sentences.
    Bench(bench::Arguments),
    /// Runs the examples with short settings.
    Examples,
    /// Formatting, tidiness (the floors of the crates, the shape of files, spelling), clippy and docs.
    Check,
    /// Only tidiness; takes a second.
    Tidy,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Test { quick } => check::test(quick),
        Command::TestBackends { backend } => backends::test_backends(backend),
        Command::TestDistributed => backends::test_distributed(),
        Command::Goldens { check_only } => goldens::goldens(check_only),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Examples => examples::examples(),
        Command::Check => check::check(),
        Command::Tidy => tidy::tidy(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
