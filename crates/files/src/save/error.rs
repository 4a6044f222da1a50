//! Errors of saving.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A folder or file that cannot be saved. The old contents are unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// An operation of the file system failed.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The operation: `write`, `create the folder`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// Another process is writing to the folder.
    #[error(
        "another process{} is writing to {}: wait until it has finished, or choose another folder",
        pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default(), path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
        /// The ID of the other process, if the system reports it.
        pid: Option<u32>,
    },
}

impl SaveError {
    /// Adds the operation (`write`) and the file or folder to a system error; for `map_err`.
    pub fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
