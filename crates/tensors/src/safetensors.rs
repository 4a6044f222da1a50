//! Safetensors files, read tensor by tensor.
//!
//! Only the header is read at first, and checked against the size of the file, so that no memory is allocated for a
//! length or shape that the file cannot hold.
//!
//! Tensors are read at their positions, a chunk at a time, and not mapped into memory. With a mapping, the process
//! would be killed (`SIGBUS`) if another process truncated the file, and elements could change after the check. Nor
//! would it save anything: elements are converted and matrices transposed on the way to the model in any case.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use burn_adapters_files::{FileError, FileErrorKind, Opened, check_unique_keys, open};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::finite::{all_finite, found};
use crate::read::{read_exact_at, reserved};
use crate::{Element, FloatType, TensorFileError};

/// The size of the number at the start of the file, which is the length of the header.
const LENGTH: u64 = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;
/// How many bytes are read at once.
const CHUNK: usize = 1 << 20;

/// A safetensors file, open for reading.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    file: File,
    tensors: BTreeMap<String, TensorInfo>,
    metadata: Option<HashMap<String, String>>,
    data_start: u64,
}

impl Safetensors {
    /// Opens a file of at most `limit` bytes and reads its header.
    ///
    /// # Errors
    /// If it is not a regular file or is larger than `limit`; if its header is not a safetensors header, names a tensor
    /// twice, or describes another number of bytes than follow it.
    pub fn open(path: &Path, limit: u64) -> Result<Self, TensorFileError> {
        let Opened { mut file, size } = open(path)?;
        if size > limit {
            return Err(FileError::new(path, FileErrorKind::TooLarge { size, limit }).into());
        }
        let damaged = |reason: String| TensorFileError::damaged(path, reason);
        if size < LENGTH {
            return Err(damaged(format!("{size} bytes are too few for a safetensors file")));
        }
        let failed = |error| TensorFileError::from(FileError::io(path)(error));
        let mut length = [0; LENGTH as usize];
        file.read_exact(&mut length).map_err(failed)?;
        let (length, rest) = (u64::from_le_bytes(length), size - LENGTH);
        if length == 0 || length > rest.min(LONGEST_HEADER) {
            let message =
                format!("not a safetensors file: its header would have {length} bytes, the file has {rest} more");
            return Err(damaged(message));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let not_a_header =
            |reason: &dyn std::fmt::Display| damaged(format!("its header is not one of safetensors: {reason}"));
        let header = std::str::from_utf8(&header).map_err(|error| not_a_header(&error))?;
        check_unique_keys(header).map_err(|error| not_a_header(&error))?;
        let header: Metadata = serde_json::from_str(header).map_err(|error| not_a_header(&error))?;
        let (expected, found) = (header.data_len() as u64, rest - length);
        if expected != found {
            let state = if found < expected { "cut short" } else { "too long" };
            return Err(damaged(format!("{state}: its header describes {expected} bytes, {found} follow it")));
        }
        let tensors = header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let metadata = header.metadata().clone();
        Ok(Self { path: path.to_owned(), file, tensors, metadata, data_start: LENGTH + length })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names and shapes of the tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    /// A text in the header's metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn shape(&self, name: &str) -> Result<&[usize], TensorFileError> {
        self.info(name).map(|info| info.shape.as_slice())
    }

    /// The number format of a tensor.
    ///
    /// # Errors
    /// If the file has no such tensor, or its elements are not floating point numbers.
    pub fn float_type(&self, name: &str) -> Result<FloatType, TensorFileError> {
        match self.info(name)?.dtype {
            Dtype::F16 => Ok(FloatType::F16),
            Dtype::BF16 => Ok(FloatType::Bf16),
            Dtype::F32 => Ok(FloatType::F32),
            Dtype::F64 => Ok(FloatType::F64),
            other => Err(TensorFileError::DataType {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }

    /// The elements of a tensor, each rounded to the nearest `E`; all are finite. Beside them, no more than a chunk of
    /// the file is in memory.
    ///
    /// # Errors
    /// As [`float_type`](Self::float_type); if an element is NaN, infinite, or too large for `E`; if the file cannot be
    /// read, or the tensor does not fit into memory.
    pub fn read<E: Element>(&self, name: &str) -> Result<Vec<E>, TensorFileError> {
        let (info, float) = (self.info(name)?, self.float_type(name)?);
        let mut values: Vec<E> = reserved(&self.path, (info.data_offsets.1 - info.data_offsets.0) / float.size())?;
        self.for_each_chunk(info, |bytes| float.decode(bytes, &mut values))?;
        if all_finite(&values) {
            return Ok(values);
        }
        // Read again, because the message shows an element that `E` cannot hold as it is in the file.
        drop(values);
        let mut exact: Vec<f64> = reserved(&self.path, (info.data_offsets.1 - info.data_offsets.0) / float.size())?;
        self.for_each_chunk(info, |bytes| float.decode(bytes, &mut exact))?;
        let found = found(exact, &info.shape, E::TYPE);
        Err(TensorFileError::NotFinite { path: self.path.clone(), tensor: name.to_owned(), found })
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, TensorFileError> {
        self.tensors.get(name).ok_or_else(|| TensorFileError::no_tensor(&self.path, name))
    }

    fn for_each_chunk(&self, info: &TensorInfo, mut take: impl FnMut(&[u8])) -> Result<(), TensorFileError> {
        let (mut start, end) = info.data_offsets;
        let mut buffer = vec![0; CHUNK.min(end - start)];
        while start < end {
            let chunk = &mut buffer[..CHUNK.min(end - start)];
            read_exact_at(&self.file, chunk, self.data_start + start as u64).map_err(FileError::io(&self.path))?;
            take(chunk);
            start += chunk.len();
        }
        Ok(())
    }
}
