//! Locks on folders. They are released when their process ends, in any way.
//!
//! The folder itself is locked, so it contains no lock file. On systems that cannot lock folders (Windows, some network
//! file systems) a file in it is locked instead.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The name of the lock file for systems that cannot lock folders; its prefix marks it as a leftover.
pub(super) const LOCK_FILE: &str = ".saving-lock";

/// A lock on a folder, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    path: Option<PathBuf>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Locks a folder; `None` if another process holds the lock.
pub(super) fn try_lock(dir: &Path) -> io::Result<Option<Lock>> {
    loop {
        let file = match File::open(dir) {
            Ok(file) => file,
            Err(error) if cfg!(unix) => return Err(error),
            Err(_) => return lock_file(dir),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(_)) => return lock_file(dir),
        }
        // Another folder may have been swapped in since.
        if same(&file, dir)? {
            return Ok(Some(Lock { _file: file, path: None }));
        }
    }
}

fn lock_file(dir: &Path) -> io::Result<Option<Lock>> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
    match file.try_lock() {
        // If locks do not work, no other process holds one either.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(Lock { _file: file, path: Some(path) })),
        Err(TryLockError::WouldBlock) => Ok(None),
    }
}

#[cfg(unix)]
fn same(file: &File, dir: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (locked, there) = (file.metadata()?, fs::metadata(dir)?);
    Ok((locked.dev(), locked.ino()) == (there.dev(), there.ino()))
}

#[cfg(not(unix))]
fn same(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
}

/// The process that holds the lock on a folder, if the system reports it.
#[cfg(target_os = "linux")]
pub(super) fn holder(dir: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", fs::metadata(dir).ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234567 0 EOF
        let mut fields = line.split_whitespace();
        let flock = fields.nth(1)? == "FLOCK";
        let pid = fields.nth(2)?.parse().ok()?;
        (flock && fields.next()?.ends_with(&inode)).then_some(pid)
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn holder(_: &Path) -> Option<u32> {
    None
}
