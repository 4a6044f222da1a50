//! The `burn-adapters` program: adapters for pre-trained models, trained, used and looked at from the command line.

mod chart;
mod commands;
mod device;
mod draw;
mod error;
mod fetch;
mod input;
mod memory;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    burn_adapters_ops::keep_freed_memory();
    // Clap itself exits with 2 for what it cannot parse, and with 0 after --help.
    let cli = commands::Cli::parse();
    match burn_adapters_ops::on_working_thread(|| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            if code != 0 {
                draw::print(&error);
            }
            ExitCode::from(code)
        }
    }
}
