//! Safetensors files, read tensor by tensor.
//!
//! Only the header is read at first, and checked against the size of the file, so that neither a length nor a shape
//! that a file claims is believed before memory is taken for it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use thiserror::Error;

use crate::finite::{all_finite, found};
use crate::json::check_keys;
use crate::memory::too_little_for;
use crate::{FileError, FileErrorKind, NotFinite, Opened, open};

/// The size of the number that a file begins with: the length of the header.
const LENGTH: u64 = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;
/// How many bytes are read at once.
const CHUNK: usize = 1 << 20;

/// A file of tensors that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TensorFileError {
    /// The file cannot be opened or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is cut short, damaged, or of another kind.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor that does not hold floating point numbers.
    #[error("{}: the tensor `{tensor}` holds {found}, expected floating point numbers (f32, f64, f16 or bf16)",
        path.display())]
    DataType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its data type.
        found: String,
    },
    /// A tensor with numbers that are NaN or infinite, or become so in f32.
    #[error("{}: the tensor `{tensor}` cannot be used: {found}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What was found.
        found: NotFinite,
    },
}

/// The types of floating point numbers in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl FloatType {
    /// The size of a number in bytes.
    pub fn size(self) -> usize {
        match self {
            FloatType::F16 | FloatType::Bf16 => 2,
            FloatType::F32 => 4,
            FloatType::F64 => 8,
        }
    }

    /// Appends the numbers in these bytes.
    fn decode(self, bytes: &[u8], values: &mut Vec<f32>) {
        match self {
            FloatType::F16 => {
                values.extend(bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()));
            }
            FloatType::Bf16 => {
                values.extend(bytes.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()));
            }
            FloatType::F32 => values.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
            FloatType::F64 => {
                values.extend(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32));
            }
        }
    }
}

/// A safetensors file, open to read its tensors.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl Safetensors {
    /// Opens a file of at most `limit` bytes and reads its header.
    ///
    /// # Errors
    /// If it is not a regular file, is larger, or its header is not one, describes other data than follow, or names a
    /// tensor twice.
    pub fn open(path: &Path, limit: u64) -> Result<Self, TensorFileError> {
        let Opened { mut file, size } = open(path)?;
        if size > limit {
            return Err(FileError::new(path, FileErrorKind::TooLarge { size, limit }).into());
        }
        let damaged = |reason: String| TensorFileError::Damaged { path: path.to_owned(), reason };
        if size < LENGTH {
            return Err(damaged(format!("{size} bytes are too few for a safetensors file")));
        }
        let failed = |error| TensorFileError::from(FileError::io(path)(error));
        let mut length = [0; LENGTH as usize];
        file.read_exact(&mut length).map_err(failed)?;
        let (length, room) = (u64::from_le_bytes(length), size - LENGTH);
        if length == 0 || length > room.min(LONGEST_HEADER) {
            let message =
                format!("not a safetensors file: its header would have {length} bytes, the file has {room} more");
            return Err(damaged(message));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(failed)?;
        let no_header =
            |reason: &dyn std::fmt::Display| damaged(format!("its header is not one of safetensors: {reason}"));
        let header = std::str::from_utf8(&header).map_err(|error| no_header(&error))?;
        check_keys(header).map_err(|error| no_header(&error))?;
        let metadata: Metadata = serde_json::from_str(header).map_err(|error| no_header(&error))?;
        let (expected, found) = (metadata.data_len() as u64, room - length);
        if expected != found {
            let state = if found < expected { "cut short" } else { "too long" };
            return Err(damaged(format!("{state}: its header describes {expected} bytes, {found} follow it")));
        }
        Ok(Self { path: path.to_owned(), file, metadata, data_start: LENGTH + length })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names and shapes of the tensors.
    pub fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        self.metadata.tensors().into_iter().map(|(name, info)| (name, info.shape.clone()))
    }

    /// What the header holds beside the tensors.
    pub fn header(&self) -> Option<&HashMap<String, String>> {
        self.metadata.metadata().as_ref()
    }

    /// The type of a tensor.
    ///
    /// # Errors
    /// If the file has no such tensor, or it does not hold floating point numbers.
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

    /// A tensor's numbers as f32, all of them finite.
    ///
    /// # Errors
    /// If the file has no such tensor, it does not hold floating point numbers, one of them is NaN, infinite, or too
    /// large for f32, or the file cannot be read.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>, TensorFileError> {
        let (info, float) = (self.info(name)?.clone(), self.float_type(name)?);
        let (start, end) = info.data_offsets;
        let mut values = Vec::new();
        self.reserve(&mut values, (end - start) / float.size())?;
        self.for_each_chunk(&info, |bytes| float.decode(bytes, &mut values))?;
        if all_finite(&values) {
            return Ok(values);
        }
        // Again from the bytes, because a number that f32 cannot hold is told as it is in the file.
        let bytes = self.read_bytes(name)?;
        Err(not_finite(&self.path, name, &info.shape, float, &bytes))
    }

    /// A tensor's bytes.
    ///
    /// # Errors
    /// If the file has no such tensor, or cannot be read.
    pub fn read_bytes(&mut self, name: &str) -> Result<Vec<u8>, TensorFileError> {
        let info = self.info(name)?.clone();
        let mut bytes = Vec::new();
        self.reserve(&mut bytes, info.data_offsets.1 - info.data_offsets.0)?;
        self.for_each_chunk(&info, |chunk| bytes.extend_from_slice(chunk))?;
        Ok(bytes)
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, TensorFileError> {
        self.metadata.info(name).ok_or_else(|| TensorFileError::Damaged {
            path: self.path.clone(),
            reason: format!("there is no tensor `{name}` in it"),
        })
    }

    fn reserve<T>(&self, values: &mut Vec<T>, count: usize) -> Result<(), TensorFileError> {
        let size = (count as u64).saturating_mul(size_of::<T>() as u64);
        if let Some(available) = too_little_for(size) {
            return Err(FileError::new(&self.path, FileErrorKind::NoMemory { size, available }).into());
        }
        let failed = |_| FileError::io(&self.path)(io::Error::from(io::ErrorKind::OutOfMemory));
        values.try_reserve_exact(count).map_err(|error| failed(error).into())
    }

    fn for_each_chunk(&mut self, info: &TensorInfo, mut take: impl FnMut(&[u8])) -> Result<(), TensorFileError> {
        let (start, end) = info.data_offsets;
        let mut buffer = vec![0; CHUNK.min(end - start)];
        let mut left = end - start;
        let mut read = || {
            self.file.seek(SeekFrom::Start(self.data_start + start as u64))?;
            while left > 0 {
                let chunk = &mut buffer[..left.min(CHUNK)];
                self.file.read_exact(chunk)?;
                take(chunk);
                left -= chunk.len();
            }
            Ok(())
        };
        read().map_err(|error| FileError::io(&self.path)(error).into())
    }
}

/// Checks a file of PyTorch before it is given to a reader, and gives its size.
///
/// # Errors
/// If it is not a regular file or has more than `limit` bytes; if it is one of the first PyTorch's archives, which are
/// read into memory whole, and has more than 1 GiB.
pub fn check_pytorch(path: &Path, limit: u64) -> Result<u64, TensorFileError> {
    const TAR_MAGIC: (u64, &[u8]) = (257, b"ustar");
    const MAX_TAR: u64 = 1 << 30;
    let Opened { mut file, size } = open(path)?;
    let mut magic = [0; TAR_MAGIC.1.len()];
    let read = file.seek(SeekFrom::Start(TAR_MAGIC.0)).and_then(|_| file.read(&mut magic));
    read.map_err(FileError::io(path))?;
    let limit = if magic == TAR_MAGIC.1 { limit.min(MAX_TAR) } else { limit };
    if size > limit {
        return Err(FileError::new(path, FileErrorKind::TooLarge { size, limit }).into());
    }
    Ok(size)
}

/// The numbers of a tensor as f32, all of them finite; for files of other formats.
///
/// # Errors
/// If there are other than `shape` numbers in the bytes, or one of them is NaN, infinite, or too large for f32.
pub fn decode_floats(
    path: &Path,
    tensor: &str,
    shape: &[usize],
    float: FloatType,
    bytes: &[u8],
) -> Result<Vec<f32>, TensorFileError> {
    let elements = shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    if elements.and_then(|count| count.checked_mul(float.size())) != Some(bytes.len()) {
        let reason = format!("the tensor `{tensor}` of shape {shape:?} has {} bytes", bytes.len());
        return Err(TensorFileError::Damaged { path: path.to_owned(), reason });
    }
    let mut values = Vec::with_capacity(bytes.len() / float.size());
    float.decode(bytes, &mut values);
    if all_finite(&values) { Ok(values) } else { Err(not_finite(path, tensor, shape, float, bytes)) }
}

fn not_finite(path: &Path, tensor: &str, shape: &[usize], float: FloatType, bytes: &[u8]) -> TensorFileError {
    let found = match float {
        FloatType::F64 => found(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)), shape),
        _ => {
            let mut values = Vec::new();
            float.decode(bytes, &mut values);
            found(values.into_iter().map(f64::from), shape)
        }
    };
    TensorFileError::NotFinite { path: path.to_owned(), tensor: tensor.to_owned(), found }
}
