//! Single files, and folders that go.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use super::SaveError;
use super::fault::point;
use super::place::{Created, Place, discard};
use super::swap::sync_folder;

/// Saves one file; the folder that it is in is created if need be. A failed or killed save leaves the old file.
///
/// # Errors
/// If the file system refuses.
pub fn save_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<(), SaveError> {
    let path = path.as_ref();
    save_file_with(path, |file| file.write_all(bytes).map_err(SaveError::io("write", path)))
}

/// As [`save_file`], with the contents that `write` writes. The old file can be read meanwhile.
///
/// # Errors
/// If the file system refuses, and whatever `write` returns.
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
        // A temporary file is private by default; this one becomes a file like any other.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        point()?;
        let file = builder.tempfile_in(folder)?;
        // Locked, so that no other save takes it for a remnant.
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

/// Deletes a folder so that its name is gone at once: a kill leaves the whole folder, or none of this name.
///
/// # Errors
/// If the file system refuses.
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
