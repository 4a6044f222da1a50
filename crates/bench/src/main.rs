//! Our side of `cargo xtask bench`: a server of measured jobs, and the drawing of the results.
//!
//! `burn-adapters-bench serve` reads one JSON request per line and answers each with one line (see [`protocol`]). The
//! Python reference has the same protocol, so the two can run in turn without the start-up time of either. Only the
//! units of a job are timed, not loading, tokenizing and checking.

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

/// The error of a program that only measures: a message.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Our side of `cargo xtask bench`.
#[derive(Debug, Parser)]
#[command(name = "burn-adapters-bench")]
enum Command {
    /// Answer requests: one JSON object per line on standard input, one answer per line on standard output.
    Serve,
    /// Draw the charts of a results file.
    Charts {
        /// The output of `cargo xtask bench --json`.
        results: PathBuf,
        /// The folder for the charts.
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    // As in the main program.
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
