//! Reading a file at positions.

use std::fs::File;
use std::io;
use std::path::Path;

use burn_adapters_files::{FileError, check_memory};

use crate::TensorFileError;

/// Memory for so many elements of a tensor.
pub(crate) fn reserved<T>(path: &Path, count: usize) -> Result<Vec<T>, TensorFileError> {
    check_memory(path, (count as u64).saturating_mul(size_of::<T>() as u64))?;
    let failed = |_| FileError::io(path)(io::Error::from(io::ErrorKind::OutOfMemory));
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(failed)?;
    Ok(values)
}

/// Reads at a position without moving the file's own position, so that several threads can read.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, position)
}

#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut bytes: &mut [u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, position) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(read) => {
                bytes = &mut bytes[read..];
                position += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
