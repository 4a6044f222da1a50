//! Folders reserved for one process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock::{Lock, holder, try_lock};
use super::place::{Created, Place};
use super::{FolderSave, SaveError, probe};

/// A folder that only this process saves to, until the claim is dropped or the process ends. Claim the folder before
/// hours of work on something to save: errors of the final save are found at once.
///
/// ```
/// # use burn_adapters_files::{FolderClaim, SaveError};
/// # let parent = tempfile::tempdir()?;
/// let dir = parent.path().join("out");
/// let claim = FolderClaim::new(&dir)?;
/// assert!(matches!(FolderClaim::new(&dir), Err(SaveError::Busy { .. })));
/// let mut save = claim.save()?;
/// save.write("result", b"42")?;
/// save.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FolderClaim {
    dir: PathBuf,
    lock: Arc<Lock>,
    // Dropped last: an empty folder is removed.
    _created: Created,
}

impl FolderClaim {
    /// Claims a folder, which is created if it does not exist, and removed with the claim if it is still empty.
    ///
    /// # Errors
    /// If the folder cannot be created or written to, is a file, or another process has claimed it.
    pub fn new(dir: impl AsRef<Path>) -> Result<Self, SaveError> {
        let dir = dir.as_ref();
        let mut created = Created::default();
        let place = Place::resolve(dir, &mut created)?;
        created.make(&place.target)?;
        let Some(lock) = try_lock(&place.target).map_err(SaveError::io("lock", dir))? else {
            return Err(SaveError::Busy { path: dir.to_owned(), pid: holder(&place.target) });
        };
        place.clear_remnants(Path::new(""));
        probe(&place.target).map_err(SaveError::io("write to the folder", dir))?;
        Ok(Self { dir: dir.to_owned(), lock: Arc::new(lock), _created: created })
    }

    /// The folder, as the caller named it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins to save into the folder.
    ///
    /// # Errors
    /// As [`FolderSave::new`].
    pub fn save(&self) -> Result<FolderSave, SaveError> {
        FolderSave::with_claim(&self.dir, Some(self.lock.clone()))
    }
}
