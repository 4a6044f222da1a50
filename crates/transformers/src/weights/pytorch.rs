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

    fn gone(&self, name: &str) -> LoadError {
        broken(&self.path, format!("the tensor `{name}` is gone"))
    }

    /// The type of a tensor's numbers.
    pub(super) fn float_type(&self, name: &str) -> Result<FloatType, LoadError> {
        match self.reader.get(name).ok_or_else(|| self.gone(name))?.dtype() {
            FileType::F32 => Ok(FloatType::F32),
            FileType::F16 => Ok(FloatType::F16),
            FileType::BF16 => Ok(FloatType::Bf16),
            FileType::F64 => Ok(FloatType::F64),
            other => Err(LoadError::ElementType {
                file: self.path.clone(),
                tensor: name.to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }

    /// A tensor's numbers as f32, all of them finite.
    pub(super) fn read(&self, name: &str) -> Result<Vec<f32>, LoadError> {
        let tensor = self.reader.get(name).ok_or_else(|| self.gone(name))?;
        let float = self.float_type(name)?;
        let bytes = tensor.read().map_err(|error| broken(&self.path, error.to_string()))?;
        Ok(decode_floats(&self.path, name, tensor.shape(), float, &bytes)?)
    }
}
