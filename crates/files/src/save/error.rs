//! Errors of saving.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A folder or file that cannot be saved. What was there before is unchanged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SaveError {
    /// The file system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried: `write`, `create the folder`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process is writing to the folder.
    #[error(
        "another process{} is writing to {}: wait until it is done, or choose another folder",
        pid.map(|pid| format!(" (number {pid})")).unwrap_or_default(), path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
        /// The other process, where the system tells.
        pid: Option<u32>,
    },
}

impl SaveError {
    /// Adds what was tried (`write`) and the file or folder to an error of the system; for `map_err`.
    pub fn io(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
