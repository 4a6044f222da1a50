//! Opening and reading.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::path::Path;

use crate::{FileError, FileErrorKind, check_memory};

/// The most bytes of indexes, vocabularies and tokenizers: 256 MiB.
pub const MAX_TEXT: u64 = 256 << 20;

/// The most bytes of the configuration of a model, adapter, fusion, head or setup: 16 MiB.
pub const MAX_CONFIG: u64 = 16 << 20;

/// The most bytes of the weights of adapters, fusions and heads: 8 GiB.
pub const MAX_WEIGHTS: u64 = 8 << 30;

/// The most bytes of a data set: 64 GiB, if there is enough memory.
pub const MAX_DATA: u64 = 64 << 30;

/// The first bytes of a Git LFS pointer.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A regular file, open for reading at its start.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: File,
    /// Its size in bytes.
    pub size: u64,
}

/// Opens a regular file.
///
/// # Errors
/// If the path does not exist, is not a regular file (opening a pipe would block, a device never ends), or is a Git LFS
/// pointer.
pub fn open(path: &Path) -> Result<Opened, FileError> {
    // Checked before opening, because opening a pipe blocks, and again after, because the path may have changed.
    regular(path, &fs::metadata(path).map_err(FileError::io(path))?)?;
    let mut file = File::open(path).map_err(FileError::io(path))?;
    let metadata = file.metadata().map_err(FileError::io(path))?;
    regular(path, &metadata)?;
    let mut start = Vec::with_capacity(LFS.len());
    Read::by_ref(&mut file).take(LFS.len() as u64).read_to_end(&mut start).map_err(FileError::io(path))?;
    if start == LFS {
        return Err(FileError::new(path, FileErrorKind::LfsPointer));
    }
    file.rewind().map_err(FileError::io(path))?;
    Ok(Opened { file, size: metadata.len() })
}

/// Whether a path exists: a file, or something that [`open`] rejects. If this cannot be determined the path counts as
/// existing, so that the reason becomes an error, and no other file is used instead.
pub fn is_there(path: &Path) -> bool {
    // The link itself: a dangling link exists too.
    match fs::symlink_metadata(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// Those of [`open`], and if the file is larger.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let Opened { file, size } = open(path)?;
    if size > limit {
        return Err(FileError::new(path, FileErrorKind::TooLarge { size, limit }));
    }
    check_memory(path, size)?;
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    // The file may have grown since.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::io(path))?;
    match bytes.len() as u64 {
        size if size > limit => Err(FileError::new(path, FileErrorKind::TooLarge { size, limit })),
        _ => Ok(bytes),
    }
}

/// Reads a regular file of UTF-8 text, of at most `limit` bytes; a byte order mark is removed.
///
/// # Errors
/// Those of [`read`], and if the file is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let mut bytes = read(path, limit)?;
    if bytes.starts_with(b"\xEF\xBB\xBF") {
        bytes.drain(..3);
    }
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(FileError::new(path, FileErrorKind::NotUtf8 { found: "UTF-16".into() }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let found = format!("invalid byte at {}", error.utf8_error().valid_up_to());
        FileError::new(path, FileErrorKind::NotUtf8 { found })
    })
}

fn regular(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(FileError::new(path, FileErrorKind::NotAFile { found: kind(metadata) }))
}

#[cfg(unix)]
fn kind(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "something else",
    }
}

#[cfg(not(unix))]
fn kind(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() { "a directory" } else { "something else" }
}
