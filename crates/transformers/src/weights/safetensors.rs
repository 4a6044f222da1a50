//! A safetensors file, of which only the header is held: tensors are read one by one.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::folder::{broken, unreadable};
use crate::LoadError;

/// The length of the number that a file begins with: that of the header.
const LENGTH: u64 = 8;

/// The longest header that the format allows.
const LONGEST_HEADER: u64 = 100_000_000;

pub(super) struct SafetensorsFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl SafetensorsFile {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let size = file.metadata().map_err(|error| unreadable(path, &error))?.len();
        if size < LENGTH {
            return Err(broken(path, format!("{size} bytes are too few for a safetensors file")));
        }
        let mut length = [0; LENGTH as usize];
        file.read_exact(&mut length).map_err(|error| unreadable(path, &error))?;
        let length = u64::from_le_bytes(length);
        let room = size - LENGTH;
        if length > room.min(LONGEST_HEADER) {
            return Err(broken(path, format!("its header claims {length} bytes, the file has {room} more")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(|error| unreadable(path, &error))?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| broken(path, format!("its header is no safetensors header: {error}")))?;
        let (expected, found) = (metadata.data_len() as u64, room - length);
        if expected != found {
            let state = if found < expected { "cut short" } else { "too long" };
            return Err(broken(path, format!("{state}: its header describes {expected} bytes, {found} follow it")));
        }
        Ok(Self { path: path.to_owned(), file, metadata, data_start: LENGTH + length })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        self.metadata.tensors().into_iter().map(|(name, info)| (name, info.shape.clone()))
    }

    /// The tensor as it is in the file.
    pub(super) fn read(&mut self, name: &str) -> Result<TensorData, LoadError> {
        let info: TensorInfo = self
            .metadata
            .info(name)
            .cloned()
            .ok_or_else(|| broken(&self.path, format!("the tensor `{name}` is gone")))?;
        let dtype = match info.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::F64 => DType::F64,
            other => {
                return Err(LoadError::ElementType {
                    file: self.path.clone(),
                    tensor: name.to_owned(),
                    found: other.to_string(),
                });
            }
        };
        let (start, end) = info.data_offsets;
        // Within the file: the header was checked against the file's size.
        let mut bytes = vec![0; end - start];
        self.file
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| self.file.read_exact(&mut bytes))
            .map_err(|error| unreadable(&self.path, &error))?;
        TensorData::try_from_bytes_vec(bytes, info.shape, dtype)
            .map_err(|error| broken(&self.path, format!("the tensor `{name}`: {error:?}")))
    }
}
