//! A file of tensors in any format.

use std::path::Path;

use burn::tensor::TensorData;
use half::{bf16, f16};

use crate::{Element, FloatType, Gguf, Pytorch, RawTensor, Safetensors, TensorFileError, Tensors};

/// A file of tensors, open for reading.
#[derive(Debug)]
pub enum TensorFile {
    /// A safetensors file.
    Safetensors(Safetensors),
    /// A file that `torch.save` wrote.
    Pytorch(Pytorch),
    /// A file of llama.cpp.
    Gguf(Gguf),
}

impl TensorFile {
    /// Opens a file of at most `limit` bytes: as safetensors if its name ends with `.safetensors`, as GGUF if it ends with
    /// `.gguf`, otherwise as a PyTorch file.
    ///
    /// # Errors
    /// As [`Safetensors::open`], [`Gguf::open`] and [`Pytorch::open`].
    pub fn open(path: &Path, limit: u64) -> Result<Self, TensorFileError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("safetensors") => Safetensors::open(path, limit).map(Self::Safetensors),
            Some("gguf") => Gguf::open(path, limit).map(Self::Gguf),
            _ => Pytorch::open(path, limit).map(Self::Pytorch),
        }
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::Pytorch(file) => file.path(),
            Self::Gguf(file) => file.path(),
        }
    }

    /// The names and shapes of the tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let tensors: Box<dyn Iterator<Item = _>> = match self {
            Self::Safetensors(file) => Box::new(file.tensors()),
            Self::Pytorch(file) => Box::new(file.tensors()),
            Self::Gguf(file) => Box::new(file.tensors()),
        };
        tensors
    }

    /// The number format of a tensor.
    ///
    /// # Errors
    /// If the file has no such tensor, or its elements are not floating point numbers.
    pub fn float_type(&self, name: &str) -> Result<FloatType, TensorFileError> {
        match self {
            Self::Safetensors(file) => file.float_type(name),
            Self::Pytorch(file) => file.float_type(name),
            Self::Gguf(file) => file.float_type(name),
        }
    }

    /// The elements of a tensor, each rounded to the nearest `E`; all are finite.
    ///
    /// # Errors
    /// As [`float_type`](Self::float_type); if an element is NaN, infinite, or too large for `E`; if the file cannot be
    /// read, or the tensor does not fit into memory.
    pub fn read<E: Element>(&self, name: &str) -> Result<Vec<E>, TensorFileError> {
        match self {
            Self::Safetensors(file) => file.read(name),
            Self::Pytorch(file) => file.read(name),
            Self::Gguf(file) => file.read(name),
        }
    }

    /// A tensor in a number format.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_as(&self, name: &str, float: FloatType) -> Result<TensorData, TensorFileError> {
        let shape = match self {
            Self::Safetensors(file) => file.shape(name)?,
            Self::Pytorch(file) => file.shape(name)?,
            Self::Gguf(file) => file.shape(name)?,
        };
        let shape = shape.to_vec();
        Ok(match float {
            FloatType::F16 => TensorData::new(self.read::<f16>(name)?, shape),
            FloatType::Bf16 => TensorData::new(self.read::<bf16>(name)?, shape),
            FloatType::F32 => TensorData::new(self.read::<f32>(name)?, shape),
            FloatType::F64 => TensorData::new(self.read::<f64>(name)?, shape),
        })
    }

    /// All tensors, as f32.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_all(&self) -> Result<Tensors, TensorFileError> {
        self.tensors()
            .map(|(name, shape)| Ok((name.to_owned(), RawTensor { shape: shape.to_vec(), values: self.read(name)? })))
            .collect()
    }
}
