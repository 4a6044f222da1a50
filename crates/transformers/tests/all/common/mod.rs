//! What the tests of this crate share: folders of goldens, and files written for a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Gradients, Tensor, TensorData};
use burn_adapters_model::{Output, Row, TokenBatch};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};

/// Tensors by name: shape and values.
pub(crate) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The folders with hidden states of the reference: models of BERT's family, and models in other formats.
pub(crate) fn folder(name: &str) -> PathBuf {
    let goldens = burn_adapters_goldens::folder();
    let loading = goldens.join("loading").join(name);
    if loading.is_dir() { loading } else { goldens.join("models").join(name) }
}

pub(crate) fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => view.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
                Dtype::I64 => view.data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect(),
                other => panic!("{name} is {other}"),
            };
            (name.to_owned(), (view.shape().to_vec(), values))
        })
        .collect()
}

/// The bytes of a safetensors file with all tensors in one type.
pub(crate) fn to_safetensors(tensors: &Tensors, dtype: Dtype) -> Vec<u8> {
    let burn_type = match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I32 => DType::I32,
        other => panic!("{other}"),
    };
    let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let data = TensorData::new(values.clone(), shape.clone()).convert_dtype(burn_type);
            (name, shape, data.as_bytes().to_vec())
        })
        .collect();
    let views =
        bytes.iter().map(|(name, shape, data)| (*name, TensorView::new(dtype, (*shape).clone(), data).unwrap()));
    serialize(views, None).unwrap()
}

/// A folder of one of the tiny models with other files for its weights.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn of(model: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(folder(model).join("config.json"), dir.path().join("config.json")).unwrap();
        Self { dir }
    }

    pub(crate) fn with(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.path().join(name), bytes).unwrap();
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// The batch that a file of goldens is about, each row where its mask has it.
pub(crate) fn batch(goldens: &Tensors) -> TokenBatch {
    let (shape, mask) = &goldens["attention_mask"];
    let masks = || mask.chunks(shape[1]).enumerate();
    let row = |(index, mask): (usize, &[f32])| {
        let part = |name: &str| {
            let values = goldens[name].1[index * mask.len()..].iter().zip(mask);
            values.filter(|(_, mask)| **mask == 1.0).map(|(value, _)| *value as u32).collect::<Vec<_>>()
        };
        Row { ids: part("input_ids"), token_type_ids: part("token_type_ids") }
    };
    let starts = masks().map(|(_, mask)| mask.iter().take_while(|value| **value == 0.0).count());
    TokenBatch::from_rows(&masks().map(row).collect::<Vec<_>>()).with_starts(starts)
}

pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.clone().into_data().convert::<f32>().as_slice::<f32>().unwrap().to_vec()
}

pub(crate) fn difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter()
        .zip(other)
        .map(|(a, b)| if a.is_nan() || b.is_nan() { f32::INFINITY } else { (a - b).abs() })
        .fold(0.0, f32::max)
}

/// The largest differences to the goldens, by tensor.
pub(crate) fn differences(states: &[Tensor<3>], output: &Output, goldens: &Tensors) -> BTreeMap<String, f32> {
    let mut ours = BTreeMap::from([("last_hidden_state".to_owned(), values(&output.hidden))]);
    ours.extend(states.iter().enumerate().map(|(index, state)| (format!("hidden_states.{index}"), values(state))));
    ours.extend(output.pooled.iter().map(|pooled| ("pooler_output".to_owned(), values(pooled))));
    let inputs = ["input_ids", "attention_mask", "token_type_ids"];
    let names: Vec<&String> = goldens.keys().filter(|name| !inputs.contains(&name.as_str())).collect();
    assert_eq!(names, ours.keys().collect::<Vec<_>>());
    ours.into_iter().map(|(name, values)| (name.clone(), difference(&values, &goldens[&name].1))).collect()
}

/// The goldens and hidden states with zeros at padding.
pub(crate) fn without_padding(states: &[Tensor<3>], goldens: &Tensors) -> (Vec<Tensor<3>>, Tensors) {
    let (shape, mask) = goldens["attention_mask"].clone();
    let tensor = Tensor::<2>::from_data(TensorData::new(mask.clone(), shape), &Device::default()).unsqueeze_dim::<3>(2);
    let states = states.iter().map(|state| state.clone() * tensor.clone()).collect();
    let masked = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f32>))| {
        let values = match shape.as_slice() {
            [_, _, width] => values.iter().enumerate().map(|(index, value)| value * mask[index / width]).collect(),
            _ => values.clone(),
        };
        (name.clone(), (shape.clone(), values))
    };
    (states, goldens.iter().map(masked).collect())
}

/// The gradients of all parameters that have one.
pub(crate) fn all_gradients(module: &impl Module, gradients: &Gradients) -> Vec<f32> {
    let mut found = Found { gradients, values: Vec::new() };
    module.visit(&mut found);
    found.values
}

struct Found<'a> {
    gradients: &'a Gradients,
    values: Vec<f32>,
}

impl ModuleVisitor for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.values.extend(gradient.into_data().iter::<f32>());
        }
    }
}
