//! The `burn-adapters` program: trains, uses and inspects adapters for pre-trained models from the command line.

mod arguments;
mod chart;
mod commands;
mod device;
mod draw;
mod error;
mod fetch;
mod input;
mod interrupt;
mod memory;
mod output;
mod progress;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

fn main() -> ExitCode {
    burn_adapters_ops::keep_freed_memory();
    let cli = match commands::Cli::try_parse_from(arguments::joined(std::env::args_os())) {
        Ok(cli) => cli,
        // Processes that train together have the same arguments: one of them complains.
        Err(error) if error.use_stderr() && burn_adapters_distributed::is_follower() => {
            wait_for_report();
            return ExitCode::from(2);
        }
        Err(error) => return refuse(&error),
    };
    // A server waits most of the time, which a working thread must not.
    let threads = burn_adapters_distributed::threads();
    let done = if cli.is_server() { cli.run() } else { burn_adapters_ops::on_working_thread_of(threads, || cli.run()) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            if error.is_told_elsewhere() {
                wait_for_report();
            } else if code != 0 {
                draw::print(&error);
            }
            ExitCode::from(code)
        }
    }
}

/// Leaves the process that reports an error time to do so: a launcher ends all processes with the first one that fails.
fn wait_for_report() {
    std::thread::sleep(Duration::from_secs(3));
}

/// Prints clap's output: help, or an error that quotes the arguments.
fn refuse(error: &clap::Error) -> ExitCode {
    let mut text = error.to_string();
    let mut deceptive = false;
    for argument in std::env::args_os() {
        let argument = argument.to_string_lossy();
        let shown = output::shown(&argument);
        if shown != argument {
            deceptive = true;
            text = text.replace(&*argument, &shown);
        }
    }
    if deceptive && error.use_stderr() {
        draw::say(text.trim_end());
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    }
    // Exits with 2 for what it cannot parse, and with 0 after --help.
    error.exit()
}
