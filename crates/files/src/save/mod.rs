//! Folders and files that are saved atomically.
//!
//! A save fills a folder beside the target (`.saving-NAME-xxxxxx`), adds the files that are not replaced, and swaps the
//! two in one step if the system supports it (Linux, macOS), otherwise with two renames. So a reader, or whoever finds
//! the folder after a kill or a power failure, sees either all of the old files or all of the new ones. A folder that
//! cannot be replaced as a whole (a mount point, the current folder) gets its files one by one, each atomically; an
//! error restores the old files, but a kill may leave some of each.
//!
//! The next save deletes the leftovers of a killed one. Locks distinguish them from the folder of a running save.

mod claim;
mod error;
mod fault;
mod file;
mod in_place;
mod lock;
mod place;
mod swap;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::claim::FolderClaim;
pub use self::error::SaveError;
use self::fault::point;
pub use self::file::{remove_folder, save_file, save_file_with};
use self::lock::{Lock, holder, try_lock};
use self::place::{Created, Place, Staging};

/// How long a save waits for another save of the same folder.
const PATIENCE: Duration = Duration::from_secs(10);

/// A save of several files into one folder: either all of them are saved, or none.
///
/// ```
/// # use burn_adapters_files::FolderSave;
/// # let parent = tempfile::tempdir()?;
/// # let dir = parent.path().join("out");
/// # std::fs::create_dir(&dir)?;
/// std::fs::write(dir.join("notes.txt"), "mine")?;
///
/// let mut save = FolderSave::new(&dir)?;
/// save.write("config.json", b"{}")?;
/// save.write("parts/weights", &[0; 16])?;
/// assert!(!dir.join("config.json").exists());
/// save.commit()?;
///
/// assert!(dir.join("config.json").exists() && dir.join("parts/weights").exists());
/// assert_eq!(std::fs::read(dir.join("notes.txt"))?, b"mine");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FolderSave {
    dir: PathBuf,
    place: Place,
    staging: Staging,
    /// Whether the staging folder is in the target.
    inside: bool,
    /// The written files in order, as paths relative to the folder.
    files: Vec<PathBuf>,
    /// The old files that are not kept.
    removed: Vec<PathBuf>,
    claim: Option<Arc<Lock>>,
    _created: Created,
}

impl FolderSave {
    /// Begins a save into a folder, which is created if it does not exist. Its contents do not change before
    /// [`commit`](Self::commit).
    ///
    /// # Errors
    /// If the folder is not writable, or is a file.
    pub fn new(dir: impl AsRef<Path>) -> Result<Self, SaveError> {
        Self::with_claim(dir.as_ref(), None)
    }

    fn with_claim(dir: &Path, claim: Option<Arc<Lock>>) -> Result<Self, SaveError> {
        let mut created = Created::default();
        let place = Place::resolve(dir, &mut created)?;
        let cannot = |error| SaveError::io("write to the folder", dir)(error);
        if place.exists() {
            probe(&place.target).map_err(cannot)?;
        }
        let beside = if place.replaceable() { place.staging(false).ok() } else { None };
        let (staging, inside) = match beside {
            Some(staging) => (staging, false),
            None if place.exists() => (place.staging(true).map_err(cannot)?, true),
            None => (place.staging(false).map_err(SaveError::io("create the folder", dir))?, false),
        };
        let (files, removed, dir) = (Vec::new(), Vec::new(), dir.to_owned());
        Ok(Self { dir, place, staging, inside, files, removed, claim, _created: created })
    }

    /// The target folder, as the caller named it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder that the files are in until [`commit`](Self::commit), to check them there.
    pub fn staged(&self) -> &Path {
        &self.staging.path
    }

    /// Whether the folder currently (before the save) has a file or folder of this name.
    pub fn holds(&self, name: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.place.target.join(name)).is_ok()
    }

    /// Writes a file; `name` is its path in the folder, which may include subfolders.
    ///
    /// # Errors
    /// If the name leads out of the folder, is the name of an existing folder, or the file cannot be written.
    pub fn write(&mut self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<(), SaveError> {
        let shown = self.dir.join(&name);
        self.write_with(name, |path| {
            let write = || File::create(path)?.write_all(bytes);
            write().map_err(SaveError::io("write", &shown))
        })
    }

    /// Lets `write` write a file, at the path that it is passed.
    ///
    /// # Errors
    /// As [`write`](Self::write), and the errors of `write`; the save can continue without the file.
    pub fn write_with<E: From<SaveError>>(
        &mut self,
        name: impl AsRef<Path>,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let name = name.as_ref();
        let (path, shown) = (self.stage(name)?, self.dir.join(name));
        let written = point().map_err(SaveError::io("write", &shown)).map_err(E::from).and_then(|()| write(&path));
        let synced = written.and_then(|()| {
            // Synced before it is in place: otherwise a power failure could leave a complete name with half a file.
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(|error| SaveError::io("write", &shown)(error).into())
        });
        if synced.is_err() {
            let _ = fs::remove_file(&path);
            self.files.retain(|file| file != name);
        }
        synced
    }

    /// Adds a file from elsewhere, without copying it if the file system supports links.
    ///
    /// # Errors
    /// As [`write`](Self::write), and if the file does not exist.
    pub fn link(&mut self, name: impl AsRef<Path>, source: &Path) -> Result<(), SaveError> {
        let shown = self.dir.join(&name);
        self.write_with(name, |path| {
            let _ = fs::remove_file(path);
            let linked = fs::hard_link(source, path).or_else(|_| fs::copy(source, path).map(drop));
            linked.map_err(SaveError::io("write", &shown))
        })
    }

    /// Does not keep a file or folder that is in the folder now; returns whether it exists.
    pub fn remove(&mut self, name: impl AsRef<Path>) -> bool {
        let name = name.as_ref();
        let found = checked(name).is_ok() && self.holds(name) && !self.files.iter().any(|file| file == name);
        if found && !self.removed.iter().any(|removed| removed == name) {
            self.removed.push(name.to_owned());
        }
        found
    }

    /// The path of a file to be written.
    fn stage(&mut self, name: &Path) -> Result<PathBuf, SaveError> {
        let cannot = |error: io::Error| SaveError::io("write", self.dir.join(name))(error);
        checked(name).map_err(cannot)?;
        let kind = |path: &Path| fs::metadata(self.place.target.join(path)).map(|metadata| metadata.is_dir());
        if matches!(kind(name), Ok(true)) {
            return Err(cannot(io::Error::new(io::ErrorKind::IsADirectory, "there is a folder of this name")));
        }
        let mut parents = name.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
        if parents.any(|path| matches!(kind(path), Ok(false))) {
            return Err(cannot(io::Error::new(io::ErrorKind::NotADirectory, "there is a file in place of its folder")));
        }
        let path = self.staging.path.join(name);
        if let Some(parent) = path.parent() {
            point().and_then(|()| fs::create_dir_all(parent)).map_err(cannot)?;
        }
        self.removed.retain(|removed| removed != name);
        if !self.files.iter().any(|file| file == name) {
            self.files.push(name.to_owned());
        }
        Ok(path)
    }

    /// Puts everything in place at once.
    ///
    /// # Errors
    /// If an operation of the file system fails, or another process keeps the folder locked; the folder is unchanged.
    pub fn commit(mut self) -> Result<(), SaveError> {
        let dir = self.dir.clone();
        let cannot = |error| SaveError::io("save to", &dir)(error);
        swap::sync_folders(&self.staging.path).map_err(cannot)?;
        if !self.place.exists() {
            match swap::place_new(&self.staging.path, &self.place) {
                Ok(()) => {
                    self.place.clear_remnants(&self.staging.path);
                    drop(self.staging.placed());
                    return Ok(());
                }
                // Another process created it meanwhile.
                Err(_) if self.place.exists() => {}
                Err(error) => return Err(cannot(error)),
            }
        }
        let _lock = match self.claim.take() {
            Some(claim) => claim,
            None => Arc::new(wait_for(&self.place.target, &dir)?),
        };
        self.place.clear_remnants(&self.staging.path);
        if !self.inside && swap::replace(&mut self.staging, &self.place, &self.removed).is_ok() {
            return Ok(());
        }
        in_place::replace(&self.staging, &self.place, &self.files, &self.removed).map_err(cannot)
    }
}

/// Checks that a file's name does not lead out of the folder.
fn checked(name: &Path) -> io::Result<()> {
    let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
    if inside && name.file_name().is_some() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "the name leads out of the folder"))
}

/// Checks that files can be created in a folder.
fn probe(dir: &Path) -> io::Result<()> {
    point()?;
    tempfile::Builder::new().prefix(".saving-").tempfile_in(dir).map(drop)
}

/// Waits for the lock on a folder, as long as a save may take.
fn wait_for(target: &Path, dir: &Path) -> Result<Lock, SaveError> {
    let start = Instant::now();
    loop {
        point().map_err(SaveError::io("lock", dir))?;
        if let Some(lock) = try_lock(target).map_err(SaveError::io("lock", dir))? {
            return Ok(lock);
        }
        if start.elapsed() > PATIENCE {
            return Err(SaveError::Busy { path: dir.to_owned(), pid: holder(target) });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
