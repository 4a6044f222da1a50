//! A PyTorch `.bin` file. Its pickle is interpreted, never executed: anything but tensors in plain containers is data
//! that the reader skips or refuses.

use std::path::{Path, PathBuf};

use burn::store::pytorch::PytorchReader;
use burn::store::pytorch_reader::DType as FileType;
use burn::tensor::{DType, TensorData};

use super::folder::broken;
use crate::LoadError;

pub(super) struct PytorchFile {
    path: PathBuf,
    reader: PytorchReader,
}

impl PytorchFile {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let reader = PytorchReader::new(path).map_err(|error| broken(path, error.to_string()))?;
        Ok(Self { path: path.to_owned(), reader })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        self.reader.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()))
    }

    /// The tensor as it is in the file.
    pub(super) fn read(&self, name: &str) -> Result<TensorData, LoadError> {
        let tensor = self.reader.get(name).ok_or_else(|| broken(&self.path, format!("the tensor `{name}` is gone")))?;
        let dtype = match tensor.dtype() {
            FileType::F32 => DType::F32,
            FileType::F16 => DType::F16,
            FileType::BF16 => DType::BF16,
            FileType::F64 => DType::F64,
            other => {
                return Err(LoadError::ElementType {
                    file: self.path.clone(),
                    tensor: name.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        };
        let bytes = tensor.read().map_err(|error| broken(&self.path, error.to_string()))?;
        TensorData::try_from_bytes_vec(bytes, tensor.shape().to_vec(), dtype)
            .map_err(|error| broken(&self.path, format!("the tensor `{name}`: {error:?}")))
    }
}
