//! Writing a folder so that a failure leaves what was there, and a reader sees no half of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::files::Kind;
use crate::{CheckpointError, SaveReport, Tensors, tensors};

/// Writes configuration and weights of one kind into a folder.
///
/// Both files are complete on the disk under other names before the first takes its place, the weights first; if the
/// second cannot, the old weights come back.
pub(crate) fn write_folder(
    dir: &Path,
    kind: Kind,
    config: &str,
    weights: &Tensors,
    parameters: usize,
) -> Result<SaveReport, CheckpointError> {
    let (weights_path, config_path) = (dir.join(kind.safetensors), dir.join(kind.config));
    let bytes = tensors::encode_safetensors(&weights_path, weights)?;
    create_dir(dir)?;
    let new_weights = write_beside(&weights_path, &bytes)?;
    let new_config = write_beside(&config_path, config.as_bytes())?;
    let old_weights = keep(&weights_path)?;
    new_weights.persist(&weights_path).map_err(|error| io_error("write", &weights_path, error.error))?;
    if let Err(error) = new_config.persist(&config_path) {
        // The first error is the one to tell; an old file that cannot come back stays beside.
        let _ = match old_weights {
            Some(old) => old.persist(&weights_path).map_err(|error| error.error),
            None => fs::remove_file(&weights_path),
        };
        return Err(io_error("write", &config_path, error.error));
    }
    sync_dir(dir);
    // The Python library takes the `.bin` first: left there, it would be read with the new configuration.
    let stale = dir.join(kind.pytorch);
    let removed = match fs::remove_file(&stale) {
        Ok(()) => vec![stale],
        Err(error) if error.kind() == io::ErrorKind::NotFound => vec![],
        Err(error) => return Err(io_error("delete the outdated", &stale, error)),
    };
    Ok(SaveReport {
        files: vec![config_path, weights_path],
        tensors: weights.len(),
        parameters,
        bytes: (config.len() + bytes.len()) as u64,
        removed,
        notes: vec![],
    })
}

/// Writes one file of text into a folder that exists.
pub(crate) fn write_file(path: &Path, text: &str) -> Result<SaveReport, CheckpointError> {
    let file = write_beside(path, text.as_bytes())?;
    file.persist(path).map_err(|error| io_error("write", path, error.error))?;
    sync_dir(&parent(path));
    let bytes = text.len() as u64;
    Ok(SaveReport { files: vec![path.to_owned()], tensors: 0, parameters: 0, bytes, removed: vec![], notes: vec![] })
}

/// Creates a folder, unless it is there.
pub(crate) fn create_dir(dir: &Path) -> Result<(), CheckpointError> {
    fs::create_dir_all(dir).map_err(|error| io_error("create", dir, error))
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<NamedTempFile, CheckpointError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".saving-");
    // A temporary file is private by default; this one becomes a file like any other.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let write = || {
        let mut file = builder.tempfile_in(parent(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|error| io_error("write", path, error))
}

/// A second name for a file that is about to be replaced, which goes away when it is dropped.
fn keep(path: &Path) -> Result<Option<TempPath>, CheckpointError> {
    if !path.exists() {
        return Ok(None);
    }
    let keep = || {
        let name = tempfile::Builder::new().prefix(".old-").tempfile_in(parent(path))?.into_temp_path();
        fs::remove_file(&name)?;
        // Not every file system has links.
        fs::hard_link(path, &name).or_else(|_| fs::copy(path, &name).map(|_| ()))?;
        Ok(name)
    };
    keep().map(Some).map_err(|error| io_error("write beside", path, error))
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

/// Makes the new names durable, where a folder can be synced.
fn sync_dir(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { doing, path: path.to_owned(), source }
}
