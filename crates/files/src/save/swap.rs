//! Replacing one folder by another.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};

use super::fault::point;
use super::place::{Place, Staging, is_remnant, same_file_system};

/// With more entries than these to keep, the folder gets its new files in place instead.
const MAX_CARRIED: usize = 10_000;

/// Renames the new folder to its name, which is unused.
pub(super) fn place_new(staged: &Path, place: &Place) -> io::Result<()> {
    point()?;
    rename_new(staged, &place.target)?;
    sync_parent(&place.target);
    Ok(())
}

/// Replaces the target by a staged folder, and keeps everything else that the target contains.
pub(super) fn replace(staging: &mut Staging, place: &Place, removed: &[PathBuf]) -> io::Result<()> {
    let carry = Carry { staged: &staging.path, target: &place.target, removed, left: MAX_CARRIED.into() };
    carry.folder(Path::new(""), true)?;
    own_as(&staging.path, &place.target)?;
    sync_folder(&staging.path);
    let swapped = point().and_then(|()| exchange(&staging.path, &place.target));
    if swapped.is_ok() {
        sync_parent(&place.target);
        staging.discard();
        return Ok(());
    }
    let old = place.old()?;
    point()?;
    fs::rename(&place.target, &old)?;
    if let Err(error) = point().and_then(|()| fs::rename(&staging.path, &place.target)) {
        // If this fails too, the next save finds the old folder under its other name.
        let _ = point().and_then(|()| fs::rename(&old, &place.target));
        return Err(error);
    }
    sync_parent(&place.target);
    if point().is_ok() {
        let _ = fs::remove_dir_all(&old);
    }
    Ok(())
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(error) if io::Error::from(error).kind() == io::ErrorKind::AlreadyExists => Err(error.into()),
        // Not every file system supports the flag; a plain rename replaces only an empty folder.
        Err(_) => fs::rename(from, to),
        Ok(()) => Ok(()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Copies or links into a staged folder what it does not replace.
struct Carry<'a> {
    staged: &'a Path,
    target: &'a Path,
    removed: &'a [PathBuf],
    left: std::cell::Cell<usize>,
}

impl Carry<'_> {
    /// `known` is whether the save writes into this folder: then it is searched for leftovers.
    fn folder(&self, folder: &Path, known: bool) -> io::Result<()> {
        let from = self.target.join(folder);
        if !same_file_system(&from, self.target) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "another file system is mounted in the folder"));
        }
        point()?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = folder.join(&name);
            if self.removed.contains(&path) || known && is_remnant(&name) {
                continue;
            }
            let left = self.left.get().checked_sub(1).ok_or(io::ErrorKind::Unsupported)?;
            self.left.set(left);
            self.entry(&entry, &path)?;
        }
        // Last, because no files can be added to a read-only folder.
        fs::set_permissions(self.staged.join(folder), fs::metadata(&from)?.permissions())
    }

    fn entry(&self, entry: &DirEntry, path: &Path) -> io::Result<()> {
        let staged = self.staged.join(path);
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let known = staged.exists();
            if !known {
                point()?;
                fs::create_dir(&staged)?;
            }
            self.folder(path, known)?;
            return own_as(&staged, &entry.path());
        }
        if fs::symlink_metadata(&staged).is_ok() {
            return Ok(());
        }
        point()?;
        if kind.is_symlink() {
            return copy_link(&entry.path(), &staged);
        }
        match fs::hard_link(entry.path(), &staged) {
            Ok(()) => Ok(()),
            Err(_) if kind.is_file() => {
                fs::copy(entry.path(), &staged)?;
                File::open(&staged)?.sync_all()
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(unix)]
fn copy_link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(fs::read_link(from)?, to)
}

#[cfg(not(unix))]
fn copy_link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives a new folder the owner of the one that it replaces.
#[cfg(unix)]
fn own_as(new: &Path, old: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let (new_owner, owner) = (fs::metadata(new)?, fs::metadata(old)?);
    if (new_owner.uid(), new_owner.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    chown(new, Some(owner.uid()), Some(owner.gid()))
}

#[cfg(not(unix))]
fn own_as(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes the names in a folder and in the folders in it durable.
pub(super) fn sync_folders(dir: &Path) -> io::Result<()> {
    point()?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync_folder(dir);
    Ok(())
}

/// Makes the names in a folder durable, where a folder can be synced.
pub(super) fn sync_folder(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

fn sync_parent(path: &Path) {
    if let Some(parent) = path.parent() {
        sync_folder(parent);
    }
}
