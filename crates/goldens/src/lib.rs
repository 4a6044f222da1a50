//! The goldens of `tests/goldens`, unpacked for tests.
//!
//! Thousands of small files would be slow to check out and large on a disk, so that they lie in the repository as one
//! archive a folder, which `cargo xtask goldens` packs.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use liblzma::read::XzDecoder;

/// The archives, named after the folders in them.
const FOLDERS: [&str; 5] = ["models", "cases", "compositions", "folders", "heads"];

/// The archives of model families, named after the folders in `families`.
const FAMILIES: [&str; 1] = ["distilbert"];

/// The folder of the unpacked goldens: `models`, `cases`, `compositions`, `folders`, `heads` and `families`.
///
/// They are unpacked once beside the build's other files, and again when an archive changes.
///
/// # Panics
/// If an archive is missing or damaged: no test could go on without.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| unpacked().unwrap_or_else(|error| panic!("cannot unpack the goldens: {error}")))
}

fn unpacked() -> io::Result<PathBuf> {
    let archives = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let archives = FOLDERS.iter().chain(&FAMILIES).map(|name| archives.join(format!("{name}.tar.xz")));
    let archives: Vec<PathBuf> = archives.collect();
    // Tests run in `target/<profile>/deps`.
    let program = std::env::current_exe()?;
    let build = program.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let folder = build.join(format!("goldens-{:016x}", hash(&archives)?));
    if folder.exists() {
        return Ok(folder);
    }
    let beside = tempfile::Builder::new().prefix("unpacking-").tempdir_in(build)?;
    for archive in &archives {
        tar::Archive::new(XzDecoder::new(BufReader::new(File::open(archive)?))).unpack(beside.path())?;
    }
    match fs::rename(beside.path(), &folder) {
        Ok(()) => drop(beside.keep()),
        // Another test process was faster.
        Err(_) if folder.exists() => {}
        Err(error) => return Err(error),
    }
    Ok(folder)
}

fn hash(files: &[PathBuf]) -> io::Result<u64> {
    let mut hasher = std::hash::DefaultHasher::new();
    for file in files {
        hasher.write(&fs::read(file)?);
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_unpacked_once() {
        assert!(FOLDERS.iter().all(|name| folder().join(name).is_dir()));
        assert!(FAMILIES.iter().all(|name| folder().join("families").join(name).is_dir()));
        assert_eq!(unpacked().ok().as_deref(), Some(folder()));
    }
}
