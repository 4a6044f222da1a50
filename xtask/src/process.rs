//! Running other programs.

use std::path::{Path, PathBuf};
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

// Python environments: with the pinned reference, and with mlx-lm.

/// The Python of `BURN_ADAPTERS_PYTHON`, or of a virtual environment in this folder, which is created if missing.
pub(crate) fn reference(environment: &Path) -> Result<PathBuf, String> {
    let what = "installing the reference (once, about two minutes)";
    python(environment, "BURN_ADAPTERS_PYTHON", "requirements.txt", what)
}

/// The Python of `BURN_ADAPTERS_MLX_PYTHON`, or of a virtual environment in this folder, which is created if missing.
pub(crate) fn mlx(environment: &Path) -> Result<PathBuf, String> {
    python(environment, "BURN_ADAPTERS_MLX_PYTHON", "requirements_mlx.txt", "installing mlx-lm (once)")
}

fn python(environment: &Path, variable: &str, requirements: &str, what: &str) -> Result<PathBuf, String> {
    if let Some(python) = std::env::var_os(variable) {
        return Ok(python.into());
    }
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let complete = environment.join("complete");
    if !complete.exists() {
        // Isolated (`-I`), so that no `venv.py` or `pip.py` of the current folder is run.
        run("a virtual environment", Command::new("python3").args(["-I", "-m", "venv"]).arg(environment))?;
        let requirements = root().join("tests/python").join(requirements);
        run(what, Command::new(&python).args(["-I", "-m", "pip", "install", "--quiet", "-r"]).arg(requirements))?;
        std::fs::write(&complete, "").map_err(|error| format!("cannot write {}: {error}", complete.display()))?;
    }
    Ok(python)
}
