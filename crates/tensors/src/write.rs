//! Writing safetensors files, tensor by tensor.
//!
//! The layout is that of the library `safetensors`: the tensors with the largest elements first, then by name, and the
//! header padded to 8 bytes. The same tensors always give the same bytes, which that library does not guarantee for a
//! header with several keys.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::tensor::TensorData;
use burn_adapters_files::{SaveError, save_file_with};
use half::{bf16, f16};

use crate::{FloatType, NotFinite, TensorFileError, Tensors, check_finite};

/// Writes tensors and text metadata to `out`. `tensors` gives the number format and shape of each; `data` is then
/// called for one tensor after the other, so that only one is in memory. Errors name `path`. Returns the number of
/// bytes written.
///
/// # Errors
/// If `data` fails; if a tensor has NaN or infinite elements, or not the given number format and shape; if `out` fails.
pub fn write_safetensors<E: From<TensorFileError>>(
    mut out: impl Write,
    path: &Path,
    tensors: &BTreeMap<String, (FloatType, Vec<usize>)>,
    metadata: &[(&str, &str)],
    mut data: impl FnMut(&str) -> Result<TensorData, E>,
) -> Result<u64, E> {
    let mut ordered: Vec<_> = tensors.iter().map(|(name, (float, shape))| (name.as_str(), *float, shape)).collect();
    // Stable: of one format, by name.
    ordered.sort_by_key(|(_, float, _)| std::cmp::Reverse(*float));
    let header = header(path, &ordered, metadata)?;
    let failed = |error| E::from(TensorFileError::from(SaveError::io("write", path)(error)));
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    out.write_all(header.as_bytes()).map_err(failed)?;
    let mut written = (size_of::<u64>() + header.len()) as u64;
    for (name, float, shape) in ordered {
        let data = data(name)?;
        let found = data.shape().to_vec();
        if FloatType::of(data.dtype()) != Some(float) || found != *shape {
            let dtype = data.dtype();
            let reason = format!("the tensor `{name}` is {dtype:?} {found:?}, expected {} {shape:?}", float.name());
            return Err(TensorFileError::damaged(path, reason).into());
        }
        check(&data, float).map_err(|found| {
            let (path, tensor) = (path.to_owned(), name.to_owned());
            E::from(TensorFileError::NotFinite { path, tensor, found })
        })?;
        out.write_all(data.as_bytes()).map_err(failed)?;
        written += data.as_bytes().len() as u64;
    }
    out.flush().map_err(failed)?;
    Ok(written)
}

/// As [`write_safetensors`], to a file. The save is atomic: if it fails, the old file is unchanged, and `data` may read
/// from it.
///
/// # Errors
/// As [`write_safetensors`], and if the file system refuses.
pub fn save_safetensors<E: From<TensorFileError>>(
    path: &Path,
    tensors: &BTreeMap<String, (FloatType, Vec<usize>)>,
    metadata: &[(&str, &str)],
    data: impl FnMut(&str) -> Result<TensorData, E>,
) -> Result<u64, E> {
    let save = |file: &mut File| write_safetensors(BufWriter::new(file), path, tensors, metadata, data).map_err(Failed);
    save_file_with(path, save).map_err(|Failed(error)| error)
}

/// An error of the save or of the saved data.
struct Failed<E>(E);

impl<E: From<TensorFileError>> From<SaveError> for Failed<E> {
    fn from(error: SaveError) -> Self {
        Self(TensorFileError::from(error).into())
    }
}

/// The bytes of a safetensors file of f32 tensors.
///
/// # Errors
/// If a tensor has NaN or infinite elements, or another number of elements than its shape; `path` is named in errors.
pub fn encode_safetensors(
    path: &Path,
    tensors: &Tensors,
    metadata: &[(&str, &str)],
) -> Result<Vec<u8>, TensorFileError> {
    let shapes = tensors.iter().map(|(name, tensor)| (name.clone(), (FloatType::F32, tensor.shape.clone()))).collect();
    let mut bytes = Vec::new();
    write_safetensors(&mut bytes, path, &shapes, metadata, |name| {
        let tensor = tensors.get(name).ok_or_else(|| TensorFileError::no_tensor(path, name))?;
        if elements(&tensor.shape) != Some(tensor.values.len()) {
            let (count, shape) = (tensor.values.len(), &tensor.shape);
            let reason = format!("the tensor `{name}` has {count} elements, which do not fill its shape {shape:?}");
            return Err(TensorFileError::damaged(path, reason));
        }
        Ok(TensorData::new(tensor.values.clone(), tensor.shape.clone()))
    })?;
    Ok(bytes)
}

fn elements(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent))
}

fn header(
    path: &Path,
    tensors: &[(&str, FloatType, &Vec<usize>)],
    metadata: &[(&str, &str)],
) -> Result<String, TensorFileError> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut entries = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        let texts: Vec<_> = metadata.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        entries.push(format!("\"__metadata__\":{{{}}}", texts.join(",")));
    }
    let mut start = 0usize;
    for (name, float, shape) in tensors {
        let size = elements(shape).and_then(|elements| elements.checked_mul(float.size()));
        let Some(end) = size.and_then(|size| start.checked_add(size)) else {
            return Err(TensorFileError::damaged(path, format!("the tensor `{name}` of shape {shape:?} is too large")));
        };
        let extents: Vec<_> = shape.iter().map(usize::to_string).collect();
        let mut entry = quoted(name);
        let (float, extents) = (float.name(), extents.join(","));
        // Writing to a string does not fail.
        let _ = write!(entry, ":{{\"dtype\":\"{float}\",\"shape\":[{extents}],\"data_offsets\":[{start},{end}]}}");
        entries.push(entry);
        start = end;
    }
    let mut header = format!("{{{}}}", entries.join(","));
    while !header.len().is_multiple_of(size_of::<u64>()) {
        header.push(' ');
    }
    Ok(header)
}

fn check(data: &TensorData, float: FloatType) -> Result<(), NotFinite> {
    let shape = data.shape().to_vec();
    // Data of a type can be read as that type.
    match float {
        FloatType::F16 => check_finite(data.as_slice::<f16>().unwrap_or_default(), &shape),
        FloatType::Bf16 => check_finite(data.as_slice::<bf16>().unwrap_or_default(), &shape),
        FloatType::F32 => check_finite(data.as_slice::<f32>().unwrap_or_default(), &shape),
        FloatType::F64 => check_finite(data.as_slice::<f64>().unwrap_or_default(), &shape),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::RawTensor;

    #[test]
    fn the_bytes_are_those_of_the_library() {
        let tensors = Tensors::from([
            ("b \"quoted\"".to_owned(), RawTensor { shape: vec![2, 1], values: vec![1.0, -2.5] }),
            ("a".to_owned(), RawTensor { shape: vec![], values: vec![0.5] }),
            ("empty".to_owned(), RawTensor { shape: vec![0, 4], values: vec![] }),
        ]);
        let ours = encode_safetensors(Path::new("x"), &tensors, &[("format", "pt")]).unwrap();
        let bytes: Vec<(&String, &RawTensor, Vec<u8>)> = tensors
            .iter()
            .map(|(name, tensor)| (name, tensor, tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect()))
            .collect();
        let views = bytes
            .iter()
            .map(|(name, tensor, bytes)| (name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap()));
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        assert_eq!(ours, safetensors::serialize(views, Some(metadata)).unwrap());
        let none = encode_safetensors(Path::new("x"), &Tensors::new(), &[]).unwrap();
        assert_eq!(none, safetensors::serialize(Vec::<(&str, TensorView)>::new(), None).unwrap());
    }

    #[test]
    fn formats_are_ordered_by_size_and_may_be_mixed() {
        let shapes = BTreeMap::from([
            ("a".to_owned(), (FloatType::Bf16, vec![1])),
            ("b".to_owned(), (FloatType::F64, vec![1])),
            ("c".to_owned(), (FloatType::F32, vec![1])),
        ]);
        let mut asked = Vec::new();
        let mut bytes = Vec::new();
        let written = write_safetensors::<TensorFileError>(&mut bytes, Path::new("x"), &shapes, &[], |name| {
            asked.push(name.to_owned());
            Ok(match name {
                "a" => TensorData::new(vec![bf16::from_f32(1.0)], [1]),
                "b" => TensorData::new(vec![2.0f64], [1]),
                _ => TensorData::new(vec![3.0f32], [1]),
            })
        });
        assert_eq!(written.unwrap(), bytes.len() as u64);
        assert_eq!(asked, ["b", "c", "a"]);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("c").unwrap().data(), 3.0f32.to_le_bytes());
    }

    #[test]
    fn elements_that_are_not_finite_or_do_not_fill_their_shape_are_refused() {
        let encode = |shape: &[usize], values: &[f32]| {
            let tensor = RawTensor { shape: shape.to_vec(), values: values.to_vec() };
            encode_safetensors(Path::new("x"), &Tensors::from([("w".to_owned(), tensor)]), &[])
        };
        let error = encode(&[2], &[0.0, f32::NAN]).unwrap_err();
        assert_eq!(error.to_string(), "x: the tensor `w` cannot be used: 1 of its 2 values is not finite: NaN at [1]");
        let error = encode(&[3], &[0.0]).unwrap_err().to_string();
        assert!(error.contains("1 elements, which do not fill its shape [3]"), "{error}");
        assert!(encode(&[usize::MAX, 2], &[0.0]).is_err());
    }
}
