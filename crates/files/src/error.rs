//! Errors of opening and reading a file.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A file that cannot be opened or read.
#[derive(Debug, Error)]
#[error("cannot read {}: {kind}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub kind: FileErrorKind,
}

/// The reason why a file cannot be opened or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// The path does not exist.
    #[error("there is no such file")]
    NotFound,
    /// The path is not a regular file.
    #[error("it is {found}, not a regular file")]
    NotAFile {
        /// The kind of the file: `a directory`, `a pipe`.
        found: &'static str,
    },
    /// The file is larger than the limit for its kind.
    #[error("it has {size} bytes; a file of this kind has at most {limit}")]
    TooLarge {
        /// The file's size in bytes.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The file is larger than the free memory.
    #[error("it needs {size} bytes of memory, but only {available} are free")]
    NoMemory {
        /// The bytes needed.
        size: u64,
        /// The free bytes.
        available: u64,
    },
    /// A Git LFS pointer instead of the file that it stands for.
    #[error(
        "it is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned, or download the file"
    )]
    LfsPointer,
    /// Text in an encoding other than UTF-8.
    #[error("it is not UTF-8 text ({found}): save it as UTF-8")]
    NotUtf8 {
        /// The encoding found: `UTF-16`, or the position of the first invalid byte.
        found: String,
    },
    /// The system's own error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileError {
    /// An error of a file.
    pub fn new(path: &Path, kind: FileErrorKind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    /// Adds the file to a system error; for `map_err`.
    pub fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |error| {
            let kind = if error.kind() == io::ErrorKind::NotFound {
                FileErrorKind::NotFound
            } else {
                FileErrorKind::Io(error)
            };
            Self::new(path, kind)
        }
    }

    /// The reason as a system error, for errors that already contain the path.
    pub fn into_io(self) -> io::Error {
        let kind = match &self.kind {
            FileErrorKind::NotFound => io::ErrorKind::NotFound,
            FileErrorKind::NotAFile { found: "a directory" } => io::ErrorKind::IsADirectory,
            FileErrorKind::NotAFile { .. } => io::ErrorKind::InvalidInput,
            FileErrorKind::TooLarge { .. } | FileErrorKind::NoMemory { .. } => io::ErrorKind::FileTooLarge,
            FileErrorKind::LfsPointer | FileErrorKind::NotUtf8 { .. } => io::ErrorKind::InvalidData,
            FileErrorKind::Io(error) => error.kind(),
        };
        match self.kind {
            FileErrorKind::Io(error) => error,
            reason => io::Error::new(kind, reason.to_string()),
        }
    }

    /// Whether the path does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, FileErrorKind::NotFound)
    }
}
