//! Python environments: with the pinned reference, and with mlx-lm.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{root, run};

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
