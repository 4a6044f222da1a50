//! Running other programs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// What the commands of this crate give: nothing, or what went wrong.
pub(crate) type Done = Result<(), String>;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

/// Cargo, as it runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command, saying what and how long; an exit code other than 0 is an error.
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
