//! Our side of `cargo xtask bench`: a server of measured jobs, and the drawing of what came out.
//!
//! `burn-adapters-bench serve` reads one JSON request a line and answers each with one line (see [`protocol`]), so that
//! it and the Python reference, which speaks the same, can be run in turn without the start-up of either. Nothing is
//! timed but the units of a job; loading, tokenizing and checking lie outside.

mod chart;
mod data;
mod job;
mod jobs;
mod make;
mod protocol;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// What goes wrong in a program that only measures: a message.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Our side of `cargo xtask bench`.
#[derive(Debug, Parser)]
#[command(name = "burn-adapters-bench")]
enum Command {
    /// Answer requests: a JSON object a line on standard input, one a line on standard output.
    Serve,
    /// Draw the charts of a results file.
    Charts {
        /// What `cargo xtask bench --json` wrote.
        results: PathBuf,
        /// Where to put the charts.
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    // As the program does it.
    burn_adapters_ops::keep_freed_memory();
    let command = Command::parse();
    let done = burn_adapters_ops::on_working_thread(|| match command {
        Command::Serve => server::serve(std::io::stdin().lock(), std::io::stdout().lock()),
        Command::Charts { results, dir } => chart::draw_all(&results, &dir),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("burn-adapters-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
