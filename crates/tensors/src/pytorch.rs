//! PyTorch files. Their pickle is interpreted, never executed: anything but tensors in plain containers is skipped or
//! refused.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::store::pytorch_reader::{DType, PickleValue, PytorchReader, Tensor};
use burn_adapters_files::{FileError, FileErrorKind, Opened, check_memory, open, shorten};

use crate::finite::{all_finite, found};
use crate::{Element, FloatType, TensorFileError};

/// How many times larger than the file its tensors may be. A parameter that is stored once and named twice makes them
/// larger, but a small file that unfolds into gigabytes is an attack.
const MAX_UNFOLDING: u64 = 16;

/// A file that `torch.save` wrote of a dictionary of tensors.
pub struct Pytorch {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl std::fmt::Debug for Pytorch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pytorch").field("path", &self.path).field("tensors", &self.tensors.len()).finish()
    }
}

impl Pytorch {
    /// Opens a file of at most `limit` bytes. Entries that are not tensors are skipped.
    ///
    /// # Errors
    /// If it is not a regular file, is larger than `limit`, is not a PyTorch file, or claims to hold far more than its
    /// size allows; if it is an archive of the first PyTorch versions, which is read into memory as a whole, of more
    /// than 1 GiB.
    pub fn open(path: &Path, limit: u64) -> Result<Self, TensorFileError> {
        let size = check_size(path, limit)?;
        let reader = PytorchReader::new(path).map_err(|error| TensorFileError::damaged(path, error))?;
        let tensors: BTreeMap<String, Tensor> = reader.into_tensors().into_iter().collect();
        let unfolded = tensors.values().fold(0u64, |sum, tensor| sum.saturating_add(bytes(tensor)));
        if unfolded > size.saturating_mul(MAX_UNFOLDING) {
            let reason = format!("its {size} bytes claim to hold {unfolded} bytes of tensors");
            return Err(TensorFileError::damaged(path, reason));
        }
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// As [`open`](Self::open), but refuses what is not a plain dictionary of tensors: in the file of an adapter, anything
    /// else is a sign that the file is something else.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if the file holds anything but a dictionary of tensors.
    pub fn open_plain(path: &Path, limit: u64) -> Result<Self, TensorFileError> {
        check_size(path, limit)?;
        let root =
            PytorchReader::read_pickle_data(path, None).map_err(|error| TensorFileError::damaged(path, error))?;
        let PickleValue::Dict(entries) = root else {
            return Err(TensorFileError::damaged(path, "it does not hold a dictionary of tensors"));
        };
        let file = Self::open(path, limit)?;
        for (name, value) in &entries {
            if !file.tensors.contains_key(name) {
                let (name, found) = (shorten(name), describe(value));
                let reason = format!("its entry `{name}` is not a tensor but {found}");
                return Err(TensorFileError::damaged(path, reason));
            }
        }
        Ok(file)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names and shapes of the tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()))
    }

    pub(crate) fn shape(&self, name: &str) -> Result<&[usize], TensorFileError> {
        self.tensor(name).map(Tensor::shape)
    }

    /// The number format of a tensor.
    ///
    /// # Errors
    /// If the file has no such tensor, or its elements are not floating point numbers.
    pub fn float_type(&self, name: &str) -> Result<FloatType, TensorFileError> {
        match self.tensor(name)?.dtype() {
            DType::F32 => Ok(FloatType::F32),
            DType::F16 => Ok(FloatType::F16),
            DType::BF16 => Ok(FloatType::Bf16),
            DType::F64 => Ok(FloatType::F64),
            other => Err(TensorFileError::DataType {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: format!("{other:?}"),
            }),
        }
    }

    /// The elements of a tensor, each rounded to the nearest `E`; all are finite.
    ///
    /// # Errors
    /// As [`float_type`](Self::float_type); if an element is NaN, infinite, or too large for `E`; if the file cannot be
    /// read, or the tensor does not fit into memory.
    pub fn read<E: Element>(&self, name: &str) -> Result<Vec<E>, TensorFileError> {
        let (tensor, float) = (self.tensor(name)?, self.float_type(name)?);
        let size = bytes(tensor);
        let converted = size / float.size() as u64 * size_of::<E>() as u64;
        check_memory(&self.path, size.saturating_add(converted))?;
        let bytes = tensor.read().map_err(|error| TensorFileError::damaged(&self.path, error))?;
        if bytes.len() as u64 != size {
            let reason = format!("the tensor `{name}` of shape {:?} has {} bytes", tensor.shape(), bytes.len());
            return Err(TensorFileError::damaged(&self.path, reason));
        }
        let mut values = Vec::with_capacity(bytes.len() / float.size());
        float.decode(&bytes, &mut values);
        if all_finite(&values) {
            return Ok(values);
        }
        let found = found(float.decode_exactly(&bytes), tensor.shape(), E::TYPE);
        Err(TensorFileError::NotFinite { path: self.path.clone(), tensor: name.to_owned(), found })
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, TensorFileError> {
        self.tensors.get(name).ok_or_else(|| TensorFileError::no_tensor(&self.path, name))
    }
}

/// Cannot overflow, whatever shape a file claims.
fn bytes(tensor: &Tensor) -> u64 {
    let elements = tensor.shape().iter().fold(1u64, |product, &extent| product.saturating_mul(extent as u64));
    elements.saturating_mul(tensor.dtype().size() as u64)
}

/// Checks a file before it is given to the parser, and returns its size.
fn check_size(path: &Path, limit: u64) -> Result<u64, TensorFileError> {
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

fn describe(value: &PickleValue) -> String {
    match value {
        PickleValue::None => "None".into(),
        PickleValue::Bool(_) => "a bool".into(),
        PickleValue::Int(_) => "an int".into(),
        PickleValue::Float(_) => "a float".into(),
        PickleValue::String(_) => "a string".into(),
        PickleValue::List(_) => "a list".into(),
        PickleValue::Dict(_) => "a dictionary".into(),
        PickleValue::Bytes(_) => "bytes".into(),
        PickleValue::Unsupported(kind) => format!("a `{kind}`"),
    }
}
