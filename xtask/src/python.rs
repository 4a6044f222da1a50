//! A Python environment with the pinned reference.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{root, run};

/// The Python of `BURN_ADAPTERS_PYTHON`, or of a virtual environment in this folder, which is created if missing.
pub(crate) fn reference(environment: &Path) -> Result<PathBuf, String> {
    if let Some(python) = std::env::var_os("BURN_ADAPTERS_PYTHON") {
        return Ok(python.into());
    }
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let complete = environment.join("complete");
    if !complete.exists() {
        // Isolated (`-I`), so that no `venv.py` or `pip.py` of the current folder is run.
        run("a virtual environment", Command::new("python3").args(["-I", "-m", "venv"]).arg(environment))?;
        let requirements = root().join("tests/python/requirements.txt");
        run(
            "installing the reference (once, about two minutes)",
            Command::new(&python).args(["-I", "-m", "pip", "install", "--quiet", "-r"]).arg(requirements),
        )?;
        std::fs::write(&complete, "").map_err(|error| format!("cannot write {}: {error}", complete.display()))?;
    }
    Ok(python)
}
