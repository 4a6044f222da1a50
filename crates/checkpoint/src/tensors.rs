//! Files of named tensors: safetensors, and what `torch.save` writes. Everything is read as f32.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;

use burn::store::pytorch_reader::{DType as TorchType, PickleValue, PytorchReader};
use burn_adapters_files::{FloatType, MAX_WEIGHTS, Safetensors, check_finite, check_pytorch, decode_floats, shorten};
use safetensors::tensor::{Dtype as SafeType, TensorView};

use crate::CheckpointError;

/// A tensor as a file holds it, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor {
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// The tensors of a file, by name.
pub type Tensors = BTreeMap<String, RawTensor>;

/// All tensors of a safetensors file.
pub(crate) fn read_safetensors(path: &Path) -> Result<Tensors, CheckpointError> {
    let mut file = Safetensors::open(path, MAX_WEIGHTS)?;
    let mut tensors = Tensors::new();
    for (name, shape) in file.tensors().collect::<Vec<_>>() {
        let values = file.read(&name)?;
        tensors.insert(name, RawTensor { shape, values });
    }
    Ok(tensors)
}

/// How many times larger than the file its tensors may be: parameters that are stored once and named twice are, but
/// a small file that unfolds into gigabytes is not an adapter.
const MAX_UNFOLDING: u64 = 16;

/// All tensors of a file that `torch.save` wrote of a dictionary of tensors. Nothing in it is executed.
pub(crate) fn read_pytorch(path: &Path) -> Result<Tensors, CheckpointError> {
    let size = check_pytorch(path, MAX_WEIGHTS)?;
    let root = PytorchReader::read_pickle_data(path, None).map_err(|error| damaged(path, error))?;
    let reader = PytorchReader::new(path).map_err(|error| damaged(path, error))?.into_tensors();
    // The reader skips what is no tensor; here such a thing is a sign that the file is something else.
    let PickleValue::Dict(entries) = root else {
        return Err(damaged(path, "it holds no dictionary of tensors"));
    };
    for (name, value) in &entries {
        if !reader.contains_key(name) {
            let (name, found) = (shorten(name), describe(value));
            return Err(damaged(path, format!("its entry `{name}` is no tensor but {found}")));
        }
    }
    let unfolded = reader.values().fold(0u64, |sum, tensor| {
        let elements = tensor.shape().iter().fold(1u64, |product, &extent| product.saturating_mul(extent as u64));
        sum.saturating_add(elements.saturating_mul(tensor.dtype().size() as u64))
    });
    if unfolded > size.saturating_mul(MAX_UNFOLDING) {
        return Err(damaged(path, format!("{size} bytes that claim to hold {unfolded} bytes of tensors")));
    }
    let mut tensors = Tensors::new();
    for (name, tensor) in reader {
        let float = match tensor.dtype() {
            TorchType::F32 => FloatType::F32,
            TorchType::F64 => FloatType::F64,
            TorchType::F16 => FloatType::F16,
            TorchType::BF16 => FloatType::Bf16,
            other => {
                let (path, found) = (path.to_owned(), format!("{other:?}"));
                return Err(CheckpointError::DataType { path, tensor: name, found });
            }
        };
        let bytes = tensor.read().map_err(|error| damaged(path, error))?;
        let shape = tensor.shape().to_vec();
        let values = decode_floats(path, &name, &shape, float, &bytes)?;
        tensors.insert(name, RawTensor { shape, values });
    }
    Ok(tensors)
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

/// The bytes of a safetensors file; the same tensors give the same bytes.
pub(crate) fn encode_safetensors(path: &Path, tensors: &Tensors) -> Result<Vec<u8>, CheckpointError> {
    let refuse =
        |error: &dyn std::fmt::Display| CheckpointError::Encode { path: path.to_owned(), reason: error.to_string() };
    for (name, tensor) in tensors {
        check_finite(&tensor.values, &tensor.shape).map_err(|found| CheckpointError::NotFinite {
            doing: "save",
            path: path.to_owned(),
            tensor: name.clone(),
            found,
        })?;
    }
    let bytes: Vec<(&String, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            (name, tensor.shape.as_slice(), tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, shape, data) in &bytes {
        let view = TensorView::new(SafeType::F32, shape.to_vec(), data).map_err(|error| refuse(&error))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, Some(metadata())).map_err(|error| refuse(&error))
}

/// The key under which our files say that they are ours, and its value.
const WRITER: (&str, &str) = ("writer", "burn-adapters");

/// What stands beside the tensors: where they come from, as in the Python library's own files, and who wrote them.
fn metadata() -> HashMap<String, String> {
    let new = |_| HashMap::from([("format", "pt"), WRITER].map(|(key, value)| (key.to_owned(), value.to_owned())));
    // The order of a map is another for each, and stays; the same tensors are to give the same bytes.
    let in_order = |map: &HashMap<String, String>| map.keys().next().is_some_and(|key| key == "format");
    (0..1000).map(new).find(in_order).unwrap_or_else(|| new(0))
}

/// Whether a file of weights was written by this crate.
pub(crate) fn is_ours(path: &Path) -> bool {
    let writer = |file: Safetensors| file.header()?.get(WRITER.0).cloned();
    Safetensors::open(path, MAX_WEIGHTS).ok().and_then(writer).as_deref() == Some(WRITER.1)
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> CheckpointError {
    CheckpointError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}
