//! GGUF files, the format of llama.cpp: metadata and tensors, many of them quantized in blocks.
//!
//! Opening a file reads its header: the metadata, and the name, shape, type and place of each tensor. Every length is checked
//! against the size of the file before memory is allocated for it. Tensors are then read one by one and dequantized, a chunk
//! at a time, to the same bits as Python's package `gguf` gives; or the blocks of a matrix are kept, copied or in the pages of
//! the file. Versions 2 and 3 are read, little-endian.
//!
//! Shapes are in the order of PyTorch, the slowest axis first; the file has the reverse.

mod header;
mod rows;
mod value;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use burn_adapters_files::{FileError, FileErrorKind, Opened, open};
pub use burn_adapters_quantization::BlockType;
use bytes::Bytes;
use memmap2::Mmap;

use crate::finite::{all_finite, found};
use crate::read::{read_exact_at, reserved};
use crate::{Element, FloatType, TensorFileError};

use self::header::Header;
pub use self::rows::{heads_in_pairs, pairs_in_heads};
pub use self::value::{GgufTexts, GgufValue};
pub use self::write::{GgufTensor, write_gguf};

/// How many bytes are read at once, at most.
const CHUNK: usize = 1 << 20;
/// How many elements are checked at once: they stay in the cache.
const CHECKED: usize = 4096;

/// A GGUF file, open for reading.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    /// Its bytes, if it is mapped into memory.
    map: Option<Bytes>,
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, Info>,
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
struct Info {
    /// The slowest axis first.
    shape: Vec<usize>,
    kind: BlockType,
    /// The position of its first byte in the file.
    start: u64,
    /// The number of its bytes; `None` if the type is not known.
    bytes: Option<u64>,
}

impl Gguf {
    /// Opens a file of at most `limit` bytes and reads its header.
    ///
    /// # Errors
    /// If it is not a regular file or is larger than `limit`; if its header is not one of GGUF, names a key or a tensor twice,
    /// or describes tensors that overlap or that the file does not hold.
    pub fn open(path: &Path, limit: u64) -> Result<Self, TensorFileError> {
        let Opened { file, size } = open(path)?;
        if size > limit {
            return Err(FileError::new(path, FileErrorKind::TooLarge { size, limit }).into());
        }
        let Header { metadata, tensors } = Header::read(path, &file, size)?;
        Ok(Self { path: path.to_owned(), file, map: None, metadata, tensors })
    }

    /// Maps the file into memory, so that [`read_blocks`](Self::read_blocks) gives parts of it and no copies. Processes that
    /// map a file share one copy of it in the memory of the system, which can read it again instead of swapping it out.
    ///
    /// # Safety
    /// Nobody may change the file as long as the blocks are in use. Their elements were checked before, and a process that
    /// reads a part that was cut off is killed (`SIGBUS`); files that are replaced as a whole (renamed over) are no danger.
    ///
    /// # Errors
    /// If the system cannot map it.
    pub unsafe fn map(&mut self) -> Result<(), TensorFileError> {
        // SAFETY: the caller promises that the file does not change.
        let map = unsafe { Mmap::map(&self.file) }.map_err(FileError::io(&self.path))?;
        self.map = Some(Bytes::from_owner(map));
        Ok(())
    }

    /// Whether the file is [mapped](Self::map) into memory.
    pub fn is_mapped(&self) -> bool {
        self.map.is_some()
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.metadata
    }

    /// Gives up the metadata, which can take as much memory as a small model: a vocabulary is part of it.
    pub fn drop_metadata(&mut self) {
        self.metadata = BTreeMap::new();
    }

    /// The names and shapes of the tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    pub(crate) fn shape(&self, name: &str) -> Result<&[usize], TensorFileError> {
        self.info(name).map(|info| info.shape.as_slice())
    }

    /// The type of a tensor's blocks.
    ///
    /// # Errors
    /// If the file has no such tensor.
    pub fn block_type(&self, name: &str) -> Result<BlockType, TensorFileError> {
        self.info(name).map(|info| info.kind)
    }

    /// The number format of a tensor; that of quantized ones is f32.
    ///
    /// # Errors
    /// If the file has no such tensor, or its type is not known.
    pub fn float_type(&self, name: &str) -> Result<FloatType, TensorFileError> {
        self.known(name).map(|info| float_type(info.kind))
    }

    /// The elements of a tensor, dequantized and each rounded to the nearest `E`; all are finite. Beside them, no more than a
    /// chunk of the file is in memory.
    ///
    /// # Errors
    /// As [`float_type`](Self::float_type); if an element is NaN, infinite, or too large for `E`; if the file cannot be
    /// read, or the tensor does not fit into memory.
    pub fn read<E: Element>(&self, name: &str) -> Result<Vec<E>, TensorFileError> {
        let info = self.known(name)?;
        let values = self.decoded(info)?;
        if all_finite(&values) {
            return Ok(values);
        }
        // Read again, because the message shows an element that `E` cannot hold as it is in the file.
        drop(values);
        let found = found(self.decoded::<f64>(info)?, &info.shape, E::TYPE);
        Err(TensorFileError::NotFinite { path: self.path.clone(), tensor: name.to_owned(), found })
    }

    /// The blocks of a tensor as the file has them; all their elements are finite. A part of the file if it is
    /// [mapped](Self::map), otherwise a copy.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_blocks(&self, name: &str) -> Result<Bytes, TensorFileError> {
        let info = self.known(name)?;
        let count = usize::try_from(info.bytes.unwrap_or(0)).unwrap_or(usize::MAX);
        let blocks = match &self.map {
            Some(map) => {
                let start = usize::try_from(info.start).unwrap_or(usize::MAX);
                let end = start.saturating_add(count);
                // It was longer when its header was read.
                let cut = || FileError::io(&self.path)(ErrorKind::UnexpectedEof.into());
                (end <= map.len()).then(|| map.slice(start..end)).ok_or_else(cut)?
            }
            None => {
                let mut blocks: Vec<u8> = reserved(&self.path, count)?;
                blocks.resize(count, 0);
                read_exact_at(&self.file, &mut blocks, info.start).map_err(FileError::io(&self.path))?;
                Bytes::from(blocks)
            }
        };
        let mut values = vec![0.0_f32; CHECKED];
        for chunk in blocks.chunks(CHECKED / info.kind.elements() * info.kind.bytes()) {
            let values = &mut values[..chunk.len() / info.kind.bytes() * info.kind.elements()];
            info.kind.dequantize(chunk, values);
            if !all_finite(values) {
                let found = found(self.decoded::<f64>(info)?, &info.shape, FloatType::F32);
                return Err(TensorFileError::NotFinite { path: self.path.clone(), tensor: name.to_owned(), found });
            }
        }
        Ok(blocks)
    }

    fn decoded<E: Element>(&self, info: &Info) -> Result<Vec<E>, TensorFileError> {
        let count = info.shape.iter().product();
        let mut values: Vec<E> = reserved(&self.path, count)?;
        let (block, bytes) = (info.kind.bytes() as u64, info.bytes.unwrap_or(0));
        let most = CHUNK as u64 / block * block;
        let mut buffer = vec![0; most.min(bytes) as usize];
        let mut scratch = Vec::new();
        let mut done = 0;
        while done < bytes {
            let chunk = &mut buffer[..most.min(bytes - done) as usize];
            read_exact_at(&self.file, chunk, info.start + done).map_err(FileError::io(&self.path))?;
            decode(info.kind, chunk, &mut scratch, &mut values);
            done += chunk.len() as u64;
        }
        Ok(values)
    }

    fn info(&self, name: &str) -> Result<&Info, TensorFileError> {
        self.tensors.get(name).ok_or_else(|| TensorFileError::no_tensor(&self.path, name))
    }

    fn known(&self, name: &str) -> Result<&Info, TensorFileError> {
        let info = self.info(name)?;
        match info.bytes {
            Some(_) => Ok(info),
            None => Err(TensorFileError::BlockType {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: info.kind.to_string(),
            }),
        }
    }
}

/// The number format of a tensor's elements; that of quantized ones is f32.
fn float_type(kind: BlockType) -> FloatType {
    match kind {
        BlockType::F16 => FloatType::F16,
        BlockType::Bf16 => FloatType::Bf16,
        BlockType::F64 => FloatType::F64,
        _ => FloatType::F32,
    }
}

/// Appends the elements of whole blocks. `scratch` is for those of quantized ones, before they are converted.
fn decode<E: Element>(kind: BlockType, bytes: &[u8], scratch: &mut Vec<f32>, values: &mut Vec<E>) {
    if kind.is_plain() {
        return float_type(kind).decode(bytes, values);
    }
    scratch.resize(bytes.len() / kind.bytes() * kind.elements(), 0.0);
    kind.dequantize(bytes, scratch);
    values.extend(scratch.iter().map(|value| E::from_f32(*value)));
}
