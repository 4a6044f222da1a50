//! Saving single files, and deleting folders.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::SaveError;
use super::fault::point;
use super::place::{Created, Place, discard};
use super::swap::sync_folder;

/// Saves one file; its folder is created if it does not exist. If the save fails or is killed, the old file remains.
///
/// # Errors
/// If an operation of the file system fails.
pub fn save_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), SaveError> {
    let path = path.as_ref();
    save_file_with(path, |file| file.write_all(bytes).map_err(SaveError::io("write", path)))
}

/// [`save_file`] with contents written by `write`. The old file can be read meanwhile.
///
/// # Errors
/// If an operation of the file system fails, and the errors of `write`.
pub fn save_file_with<T, E: From<SaveError>>(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut File) -> Result<T, E>,
) -> Result<T, E> {
    let path = path.as_ref();
    let mut created = Created::default();
    let place = Place::of_file(path, &mut created)?;
    let open = || {
        let (folder, prefix) = place.saving_file()?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix);
        // A temporary file is private by default; this one gets normal permissions.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        point()?;
        let file = builder.tempfile_in(folder)?;
        // Locked, so that no other save deletes it as a leftover.
        let _ = file.as_file().try_lock();
        point()?;
        Ok((file, folder))
    };
    let (mut file, folder) = open().map_err(SaveError::io("write", path))?;
    let written = write(file.as_file_mut())?;
    let persist = || {
        file.as_file().sync_all()?;
        point()?;
        file.persist(&place.target).map_err(|error| error.error)?;
        sync_folder(folder);
        Ok(())
    };
    persist().map_err(SaveError::io("write", path))?;
    place.remnants().into_iter().for_each(|(_, path)| discard(&path));
    Ok(written)
}

/// Deletes a folder atomically: if the process is killed, either the whole folder remains, or none of this name.
///
/// # Errors
/// If an operation of the file system fails.
pub fn remove_folder(dir: impl AsRef<Path>) -> Result<(), SaveError> {
    let dir = dir.as_ref();
    let place = Place::resolve(dir, &mut Created::default())?;
    let remove = || {
        let old = place.old()?;
        point()?;
        fs::rename(&place.target, &old)?;
        point()?;
        fs::remove_dir_all(&old)
    };
    remove().map_err(SaveError::io("delete", dir))
}
