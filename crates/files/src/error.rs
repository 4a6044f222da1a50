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

/// Why a file cannot be opened or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// There is nothing at the path.
    #[error("there is no such file")]
    NotFound,
    /// The path leads to something that is not a regular file.
    #[error("it is {found}, not a regular file")]
    NotAFile {
        /// What it is: `a directory`, `a pipe`.
        found: &'static str,
    },
    /// The file is larger than what is read of its kind.
    #[error("it has {size} bytes; a file of this kind has at most {limit}")]
    TooLarge {
        /// The file's size in bytes.
        size: u64,
        /// The most bytes that are read.
        limit: u64,
    },
    /// The file is larger than the memory that is free.
    #[error("it takes {size} bytes of memory, and {available} are free")]
    NoMemory {
        /// The bytes that it takes.
        size: u64,
        /// The bytes that are free.
        available: u64,
    },
    /// A Git LFS pointer instead of the file that it stands for.
    #[error(
        "it is a Git LFS pointer, not the file itself: run `git lfs pull` where it was cloned, or download the file"
    )]
    LfsPointer,
    /// Text in another encoding than UTF-8.
    #[error("it is not UTF-8 text ({found}): save it as UTF-8")]
    NotUtf8 {
        /// What was found: `UTF-16`, or the place of the first invalid byte.
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

    /// Adds the file to an error of the system; for `map_err`.
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

    /// The reason as an error of the system, for errors that have the path beside it.
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

    /// Whether there is nothing at the path.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, FileErrorKind::NotFound)
    }
}
