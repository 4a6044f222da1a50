//! Writing GGUF files, tensor by tensor.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn_adapters_files::{SaveError, save_file_with};
use burn_adapters_quantization::BlockType;

use super::header::{ALIGNMENT, MAGIC};
use super::value::{ARRAY, BOOL, FLOAT32, FLOAT64, GgufValue, INT32, INT64, STRING, UINT32, UINT64};
use crate::{TensorFileError, check_finite};

/// The version that is written.
const VERSION: u32 = 3;

/// A tensor to write.
#[derive(Debug, Clone, PartialEq)]
pub struct GgufTensor {
    /// Its name.
    pub name: String,
    /// Its shape, the slowest axis first.
    pub shape: Vec<usize>,
    /// The type of its blocks: F32, F16, BF16, Q8_0, Q4_0 or Q4_1.
    pub kind: BlockType,
}

/// Writes a GGUF file of version 3. `data` is called for one tensor after the other, so that only one is in memory. The save
/// is atomic: if it fails, the old file is unchanged.
///
/// # Errors
/// If `data` fails; if a tensor has NaN or infinite elements, another number of elements than its shape, rows that are no
/// multiple of its blocks, or a type that is not written; if the file system refuses.
pub fn write_gguf<E: From<TensorFileError>>(
    path: &Path,
    metadata: &[(&str, GgufValue)],
    tensors: &[GgufTensor],
    mut data: impl FnMut(&str) -> Result<Vec<f32>, E>,
) -> Result<(), E> {
    let header = header(path, metadata, tensors)?;
    let save = |file: &mut File| -> Result<(), Failed<E>> {
        let mut out = BufWriter::new(file);
        let failed = |error| TensorFileError::from(SaveError::io("write", path)(error));
        out.write_all(&header).map_err(failed)?;
        for tensor in tensors {
            let values = data(&tensor.name).map_err(Failed)?;
            let mut bytes = encode(path, tensor, &values)?;
            bytes.resize(padded(bytes.len()), 0);
            out.write_all(&bytes).map_err(failed)?;
        }
        out.flush().map_err(failed)?;
        Ok(())
    };
    save_file_with(path, save).map_err(|Failed(error)| error)
}

/// An error of the save or of the saved data.
struct Failed<E>(E);

impl<E: From<TensorFileError>> From<SaveError> for Failed<E> {
    fn from(error: SaveError) -> Self {
        Self(TensorFileError::from(error).into())
    }
}

impl<E: From<TensorFileError>> From<TensorFileError> for Failed<E> {
    fn from(error: TensorFileError) -> Self {
        Self(error.into())
    }
}

fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT as usize)
}

fn header(path: &Path, metadata: &[(&str, GgufValue)], tensors: &[GgufTensor]) -> Result<Vec<u8>, TensorFileError> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut bytes, key);
        bytes.extend(number(value).to_le_bytes());
        put(&mut bytes, value);
    }
    let mut start = 0_u64;
    for tensor in tensors {
        let size = size_of_tensor(path, tensor)?;
        text(&mut bytes, &tensor.name);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|size| bytes.extend((*size as u64).to_le_bytes()));
        bytes.extend(tensor.kind.number().to_le_bytes());
        bytes.extend(start.to_le_bytes());
        start += padded(size) as u64;
    }
    bytes.resize(padded(bytes.len()), 0);
    Ok(bytes)
}

/// The number of bytes of a tensor.
fn size_of_tensor(path: &Path, tensor: &GgufTensor) -> Result<usize, TensorFileError> {
    let GgufTensor { name, shape, kind } = tensor;
    let damaged = |reason: String| Err(TensorFileError::damaged(path, reason));
    if !kind.is_made() {
        let can = "F32, F16, BF16, Q8_0, Q4_0 and Q4_1 can";
        return damaged(format!("the tensor `{name}` cannot be written as {kind}: {can}"));
    }
    let elements = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let bytes = elements.and_then(|elements| (elements / kind.elements()).checked_mul(kind.bytes()));
    match (bytes, shape.last()) {
        (Some(bytes), Some(row)) if bytes > 0 && row.is_multiple_of(kind.elements()) && shape.len() <= 4 => Ok(bytes),
        _ => damaged(format!("the tensor `{name}` of shape {shape:?} cannot be written as {kind}")),
    }
}

fn encode(path: &Path, tensor: &GgufTensor, values: &[f32]) -> Result<Vec<u8>, TensorFileError> {
    let (name, elements) = (&tensor.name, tensor.shape.iter().product::<usize>());
    if values.len() != elements {
        let reason = format!(
            "the tensor `{name}` has {} elements, which do not fill its shape {:?}",
            values.len(),
            tensor.shape
        );
        return Err(TensorFileError::damaged(path, reason));
    }
    check_finite(values, &tensor.shape).map_err(|found| TensorFileError::NotFinite {
        path: path.to_owned(),
        tensor: name.clone(),
        found,
    })?;
    let refused = |error| TensorFileError::damaged(path, format!("the tensor `{name}` cannot be written: {error}"));
    tensor.kind.quantize(values).map_err(refused)
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// The number of a value's type. Whole numbers are written in 32 bits where they fit, as most readers expect.
fn number(value: &GgufValue) -> u32 {
    match value {
        GgufValue::Unsigned(value) if u32::try_from(*value).is_ok() => UINT32,
        GgufValue::Unsigned(_) => UINT64,
        GgufValue::Signed(value) if i32::try_from(*value).is_ok() => INT32,
        GgufValue::Signed(_) => INT64,
        GgufValue::F32(_) => FLOAT32,
        GgufValue::F64(_) => FLOAT64,
        GgufValue::Bool(_) => BOOL,
        GgufValue::Text(_) => STRING,
        GgufValue::Texts(_)
        | GgufValue::Integers(_)
        | GgufValue::Floats(_)
        | GgufValue::Bools(_)
        | GgufValue::Lists(_) => ARRAY,
    }
}

fn put(bytes: &mut Vec<u8>, value: &GgufValue) {
    let mut list = |kind: u32, count: usize| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((count as u64).to_le_bytes());
    };
    match value {
        GgufValue::Unsigned(value) => match u32::try_from(*value) {
            Ok(value) => bytes.extend(value.to_le_bytes()),
            Err(_) => bytes.extend(value.to_le_bytes()),
        },
        GgufValue::Signed(value) => match i32::try_from(*value) {
            Ok(value) => bytes.extend(value.to_le_bytes()),
            Err(_) => bytes.extend(value.to_le_bytes()),
        },
        GgufValue::F32(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::F64(value) => bytes.extend(value.to_le_bytes()),
        GgufValue::Bool(value) => bytes.push(u8::from(*value)),
        GgufValue::Text(value) => text(bytes, value),
        GgufValue::Texts(values) => {
            list(STRING, values.len());
            values.iter().for_each(|value| text(bytes, value));
        }
        GgufValue::Integers(values) => {
            let is_short = values.iter().all(|value| i32::try_from(*value).is_ok());
            list(if is_short { INT32 } else { INT64 }, values.len());
            for value in values {
                match is_short {
                    true => bytes.extend((*value as i32).to_le_bytes()),
                    false => bytes.extend(value.to_le_bytes()),
                }
            }
        }
        GgufValue::Floats(values) => {
            // Scores of tokens are f32.
            let is_short = values.iter().all(|value| f64::from(*value as f32) == *value || value.is_nan());
            list(if is_short { FLOAT32 } else { FLOAT64 }, values.len());
            for value in values {
                match is_short {
                    true => bytes.extend((*value as f32).to_le_bytes()),
                    false => bytes.extend(value.to_le_bytes()),
                }
            }
        }
        GgufValue::Bools(values) => {
            list(BOOL, values.len());
            bytes.extend(values.iter().map(|value| u8::from(*value)));
        }
        GgufValue::Lists(values) => {
            list(ARRAY, values.len());
            values.iter().for_each(|value| put(bytes, value));
        }
    }
}
