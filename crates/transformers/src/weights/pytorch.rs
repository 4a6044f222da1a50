//! A PyTorch `.bin` file. Its pickle is interpreted, never executed: anything but tensors in plain containers is data
//! that the reader skips or refuses.

use std::path::{Path, PathBuf};

use burn::store::pytorch::PytorchReader;
use burn::store::pytorch_reader::DType as FileType;
use burn_adapters_files::{FloatType, check_pytorch, decode_floats};

use super::folder::broken;
use crate::LoadError;

pub(super) struct PytorchFile {
    path: PathBuf,
    reader: PytorchReader,
}

impl PytorchFile {
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        check_pytorch(path, u64::MAX)?;
        let reader = PytorchReader::new(path).map_err(|error| broken(path, error.to_string()))?;
        Ok(Self { path: path.to_owned(), reader })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, Vec<usize>)> {
        self.reader.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()))
    }

    /// A tensor's numbers as f32, all of them finite.
    pub(super) fn read(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let tensor = self.reader.get(name).ok_or_else(|| broken(&self.path, format!("the tensor `{name}` is gone")))?;
        let float = match tensor.dtype() {
            FileType::F32 => FloatType::F32,
            FileType::F16 => FloatType::F16,
            FileType::BF16 => FloatType::Bf16,
            FileType::F64 => FloatType::F64,
            other => {
                return Err(LoadError::ElementType {
                    file: self.path.clone(),
                    tensor: name.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        };
        let bytes = tensor.read().map_err(|error| broken(&self.path, error.to_string()))?;
        Ok(decode_floats(&self.path, name, tensor.shape(), float, &bytes)?)
    }
}
