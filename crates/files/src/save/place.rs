//! The location of a folder, its neighbors, and the leftovers of killed saves.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::SaveError;
use super::fault::point;
use super::lock::{LOCK_FILE, Lock, try_lock};

/// The prefix of folders that are being written, or that contain a part.
const SAVING: &str = ".saving-";
/// The prefix of folders that are being replaced.
const OLD: &str = ".old-";

/// A resolved folder: symbolic links are followed to the folder that is replaced.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) target: PathBuf,
    /// The parent folder, and the name in it; `None` for the root.
    pub(super) beside: Option<(PathBuf, OsString)>,
}

impl Place {
    /// Resolves a folder that need not exist; missing parent folders are created and recorded in `created`.
    pub(super) fn resolve(dir: &Path, created: &mut Created) -> Result<Self, SaveError> {
        let absolute = std::path::absolute(dir).map_err(SaveError::io("find the folder", dir))?;
        let target = match absolute.canonicalize() {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => {
                    created.make(parent)?;
                    parent.canonicalize().map_err(SaveError::io("find the folder", parent))?.join(name)
                }
                _ => return Err(SaveError::io("find the folder", dir)(error)),
            },
            Err(error) => return Err(SaveError::io("find the folder", dir)(error)),
        };
        let beside = target.parent().zip(target.file_name()).map(|(parent, name)| (parent.to_owned(), name.to_owned()));
        let place = Self { target, beside };
        match fs::symlink_metadata(&place.target) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let error = io::Error::new(io::ErrorKind::NotADirectory, "there is a file, not a folder");
                return Err(SaveError::io("save to", dir)(error));
            }
            Err(_) => place.recover(),
        }
        Ok(place)
    }

    /// Resolves a file that need not exist; its parent folders are created.
    pub(super) fn of_file(path: &Path, created: &mut Created) -> Result<Self, SaveError> {
        let cannot = |error| SaveError::io("write", path)(error);
        let absolute = std::path::absolute(path).map_err(cannot)?;
        let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            return Err(cannot(io::ErrorKind::IsADirectory.into()));
        };
        created.make(parent)?;
        let target = match absolute.canonicalize() {
            Ok(target) if target.is_dir() => return Err(cannot(io::ErrorKind::IsADirectory.into())),
            Ok(target) => target,
            Err(_) => parent.canonicalize().map_err(cannot)?.join(name),
        };
        let beside = target.parent().zip(target.file_name()).map(|(parent, name)| (parent.to_owned(), name.to_owned()));
        Ok(Self { target, beside })
    }

    /// The folder and the name prefix of a file that is going to replace the target.
    pub(super) fn saving_file(&self) -> io::Result<(&Path, OsString)> {
        let (parent, name) = self.beside.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        Ok((parent, prefixed(SAVING, name)))
    }

    pub(super) fn exists(&self) -> bool {
        self.target.is_dir()
    }

    /// Whether the folder can be replaced as a whole: it is not a mount point or the current folder.
    pub(super) fn replaceable(&self) -> bool {
        let Some((parent, _)) = &self.beside else { return false };
        let inside = std::env::current_dir().and_then(|dir| dir.canonicalize());
        if inside.is_ok_and(|current| current.starts_with(&self.target)) {
            return false;
        }
        !self.exists() || same_file_system(&self.target, parent)
    }

    /// A new folder beside the target, or in it.
    pub(super) fn staging(&self, inside: bool) -> io::Result<Staging> {
        match &self.beside {
            Some((parent, name)) if !inside => Staging::new(parent, &prefixed(SAVING, name)),
            _ => Staging::new(&self.target, OsStr::new(SAVING)),
        }
    }

    /// The new path of an old folder that cannot be swapped with the new one.
    pub(super) fn old(&self) -> io::Result<PathBuf> {
        match &self.beside {
            Some((parent, name)) => free_name(parent, &prefixed(OLD, name)),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Restores the folder if a save was killed between its two renames and left it under another name.
    fn recover(&self) {
        if let Some(old) = self.remnants().into_iter().find(|(kind, _)| *kind == OLD).map(|(_, path)| path)
            && matches!(try_lock(&old), Ok(Some(_)))
        {
            let _ = fs::rename(&old, &self.target);
        }
    }

    /// Deletes the leftovers of killed saves: beside the folder under its name, and in it. The folder is locked.
    pub(super) fn clear_remnants(&self, keep: &Path) {
        let beside = self.remnants().into_iter().map(|(_, path)| path);
        let inside = fs::read_dir(&self.target).into_iter().flatten().flatten();
        let inside = inside.filter(|entry| is_remnant(&entry.file_name()) && entry.file_name() != LOCK_FILE);
        let inside = inside.map(|entry| entry.path());
        for path in beside.chain(inside).filter(|path| path != keep) {
            discard(&path);
        }
    }

    pub(super) fn remnants(&self) -> Vec<(&'static str, PathBuf)> {
        let Some((parent, name)) = &self.beside else { return Vec::new() };
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        let of_this = |entry: &fs::DirEntry| {
            let found = entry.file_name();
            [SAVING, OLD].into_iter().find(|prefix| {
                let rest = found.as_encoded_bytes().strip_prefix(prefixed(prefix, name).as_encoded_bytes());
                rest.is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_alphanumeric))
            })
        };
        entries.filter_map(|entry| Some((of_this(&entry)?, entry.path()))).collect()
    }
}

/// Whether only killed saves leave files of this name.
pub(super) fn is_remnant(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    [SAVING, OLD].iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

/// Deletes a leftover, unless a running process holds it.
pub(super) fn discard(path: &Path) {
    if point().is_err() {
        return;
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            if matches!(try_lock(path), Ok(Some(_))) {
                let _ = fs::remove_dir_all(path);
            }
        }
        Ok(metadata) => {
            let busy = metadata.is_file() && File::open(path).is_ok_and(|file| file.try_lock().is_err());
            if !busy {
                let _ = fs::remove_file(path);
            }
        }
        Err(_) => {}
    }
}

fn prefixed(prefix: &str, name: &OsStr) -> OsString {
    let mut text = OsString::from(prefix);
    text.push(name);
    text.push("-");
    text
}

/// An unused name in a folder.
fn free_name(folder: &Path, prefix: &OsStr) -> io::Result<PathBuf> {
    let name = tempfile::Builder::new().prefix(prefix).tempfile_in(folder)?.into_temp_path();
    fs::remove_file(&name)?;
    Ok(name.to_owned())
}

#[cfg(unix)]
pub(super) fn same_file_system(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::symlink_metadata(path).map(|metadata| metadata.dev()).ok();
    device(one) == device(other)
}

#[cfg(not(unix))]
pub(super) fn same_file_system(_: &Path, _: &Path) -> bool {
    true
}

/// A folder that is being filled. It is locked, so that no save deletes it as a leftover, and is deleted when dropped.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) path: PathBuf,
    lock: Option<Lock>,
}

impl Staging {
    fn new(folder: &Path, prefix: &OsStr) -> io::Result<Self> {
        point()?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix);
        // A temporary folder is private by default; this one gets normal permissions.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
        loop {
            let path = builder.tempdir_in(folder)?.keep();
            // Another save may have deleted it as a leftover before it was locked.
            match try_lock(&path) {
                Ok(Some(lock)) => return Ok(Self { path, lock: Some(lock) }),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let _ = fs::remove_dir(&path);
                    return Err(error);
                }
            }
        }
    }

    /// Deletes the folder, or the one that was swapped with it.
    pub(super) fn discard(&mut self) {
        if self.lock.take().is_some() && point().is_ok() {
            // The next save deletes the rest.
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    /// Records that the folder has become the target.
    pub(super) fn placed(mut self) -> Option<Lock> {
        self.lock.take()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Parent folders that were created, and are removed if they stay empty.
#[derive(Debug, Default)]
pub(super) struct Created(Vec<PathBuf>);

impl Created {
    /// Creates a folder and its parents.
    pub(super) fn make(&mut self, dir: &Path) -> Result<(), SaveError> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| fs::symlink_metadata(dir).is_err()).collect();
        for dir in missing.into_iter().rev() {
            match point().and_then(|()| fs::create_dir(dir)) {
                Ok(()) => self.0.push(dir.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(SaveError::io("create the folder", dir)(error)),
            }
        }
        match fs::metadata(dir) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => {
                let error = io::Error::new(io::ErrorKind::NotADirectory, "there is a file, not a folder");
                Err(SaveError::io("create the folder", dir)(error))
            }
            Err(error) => Err(SaveError::io("create the folder", dir)(error)),
        }
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        for dir in self.0.iter().rev() {
            if point().is_ok() {
                let _ = fs::remove_dir(dir);
            }
        }
    }
}
