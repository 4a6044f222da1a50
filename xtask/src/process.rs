//! Running other programs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// The result of this crate's commands: nothing, or an error message.
pub(crate) type Done = Result<(), String>;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// Cargo, the one that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command, and prints its name and time; an exit code other than 0 is an error.
pub(crate) fn run(what: &str, command: &mut Command) -> Done {
    eprintln!("xtask: {what} …");
    let start = Instant::now();
    let status = command.status().map_err(|error| format!("{what}: cannot start {command:?}: {error}"))?;
    if !status.success() {
        return Err(format!("{what} failed ({status})"));
    }
    eprintln!("xtask: {what}: done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
