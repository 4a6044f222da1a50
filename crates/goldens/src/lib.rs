//! The goldens of `tests/goldens`, unpacked for tests.
//!
//! Thousands of small files would be slow to check out and take much disk space. So the repository has one archive per
//! folder, which `cargo xtask goldens` packs. Weights that the scripts drew are not in it: they follow from their names.

mod drawn;
#[cfg(feature = "noise")]
mod noise;

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use liblzma::read::XzDecoder;

pub use drawn::mixed;
#[cfg(feature = "noise")]
pub use noise::Noise;

/// The folder of the unpacked goldens: one subfolder per archive, and below `families` one per model family.
///
/// They are unpacked once, in the build folder, and again when an archive changes.
///
/// # Panics
/// If an archive is missing or damaged: no test could run without it.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| unpacked().unwrap_or_else(|error| panic!("cannot unpack the goldens: {error}")))
}

/// The text of a golden that is compressed by itself, such as `include_bytes!("goldens/phm.json.xz")`.
///
/// # Panics
/// If it is damaged.
pub fn text(packed: &[u8]) -> String {
    let mut text = String::new();
    let read = XzDecoder::new(packed).read_to_string(&mut text);
    read.unwrap_or_else(|error| panic!("cannot unpack a golden: {error}"));
    text
}

fn unpacked() -> io::Result<PathBuf> {
    let archives = archives()?;
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
        drawn::fill(beside.path())?;
    }
    match fs::rename(beside.path(), &folder) {
        Ok(()) => drop(beside.keep()),
        // Another test process was faster.
        Err(_) if folder.exists() => {}
        Err(error) => return Err(error),
    }
    Ok(folder)
}

/// Every archive, in order.
fn archives() -> io::Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens");
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut archives: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "xz"));
    archives.sort();
    Ok(archives)
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
        assert!(["models", "cases", "families/distilbert"].iter().all(|name| folder().join(name).is_dir()));
        assert_eq!(unpacked().ok().as_deref(), Some(folder()));
    }
}
