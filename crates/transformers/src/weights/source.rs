//! Where a model's parameters come from: freshly drawn, or read from files.
//!
//! A model is built once for all sources, so that its names and shapes are written down in one place: building it from
//! [`Expected`] gives the list that the files are checked against before anything is read.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_core::{Fill, Init};

use super::Weights;
use crate::LoadError;

/// Gives parameters by name. Names and shapes are those of the files, where a matrix is `[output, input]`.
pub(crate) trait Source {
    /// Where the parameters are put.
    fn device(&self) -> &Device;

    /// A parameter of the same shape as in the files.
    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError>;

    /// A matrix `[input, output]`, which is `[output, input]` in the files.
    fn matrix(&mut self, name: &str, size: [usize; 2], fill: Fill) -> Result<Param<Tensor<2>>, LoadError>;

    /// A linear layer with a bias.
    fn linear(&mut self, name: &str, size: [usize; 2], std: f64) -> Result<Linear, LoadError> {
        let weight = self.matrix(&format!("{name}.weight"), size, Fill::Normal { std })?;
        let bias = self.param(&format!("{name}.bias"), [size[1]], Fill::ZEROS)?;
        Ok(Linear { weight, bias: Some(bias) })
    }

    /// A layer norm.
    fn layer_norm(&mut self, name: &str, size: usize, epsilon: f64) -> Result<LayerNorm, LoadError> {
        let mut norm = LayerNormConfig::new(size).with_epsilon(epsilon).init(self.device());
        norm.gamma = self.param(&format!("{name}.weight"), [size], Fill::ONES)?;
        norm.beta = Some(self.param(&format!("{name}.bias"), [size], Fill::ZEROS)?);
        Ok(norm)
    }

    /// A table of embeddings, `[rows, size]`.
    fn embedding(&mut self, name: &str, shape: [usize; 2], std: f64) -> Result<Embedding, LoadError> {
        let mut embedding = EmbeddingConfig::new(shape[0], shape[1]).init(self.device());
        embedding.weight = self.param(&format!("{name}.weight"), shape, Fill::Normal { std })?;
        Ok(embedding)
    }
}

/// Parameters that are drawn when they are first read.
pub(crate) struct Fresh<'a> {
    pub(crate) init: Init,
    pub(crate) device: &'a Device,
}

impl Source for Fresh<'_> {
    fn device(&self) -> &Device {
        self.device
    }

    fn param<const D: usize>(
        &mut self,
        _name: &str,
        shape: [usize; D],
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        Ok(self.init.param(shape, fill, self.device))
    }

    fn matrix(&mut self, _name: &str, size: [usize; 2], fill: Fill) -> Result<Param<Tensor<2>>, LoadError> {
        Ok(self.init.param(size, fill, self.device))
    }
}

/// Notes which parameters a model asks for, with their shapes in files.
pub(crate) struct Expected<'a> {
    fresh: Fresh<'a>,
    pub(crate) shapes: BTreeMap<String, Vec<usize>>,
}

impl<'a> Expected<'a> {
    pub(crate) fn new(device: &'a Device) -> Self {
        Self { fresh: Fresh { init: Init::from_seed(0), device }, shapes: BTreeMap::new() }
    }
}

impl Source for Expected<'_> {
    fn device(&self) -> &Device {
        self.fresh.device
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        self.shapes.insert(name.to_owned(), shape.to_vec());
        self.fresh.param(name, shape, fill)
    }

    fn matrix(&mut self, name: &str, size: [usize; 2], fill: Fill) -> Result<Param<Tensor<2>>, LoadError> {
        self.shapes.insert(name.to_owned(), vec![size[1], size[0]]);
        self.fresh.matrix(name, size, fill)
    }
}

/// Parameters read from files that were checked against [`Expected`].
pub(crate) struct FromFiles<'a> {
    pub(crate) weights: Weights,
    pub(crate) device: &'a Device,
}

impl Source for FromFiles<'_> {
    fn device(&self) -> &Device {
        self.device
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        _shape: [usize; D],
        _fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        Ok(Param::from_tensor(Tensor::from_data(self.weights.read(name)?, self.device)))
    }

    fn matrix(&mut self, name: &str, size: [usize; 2], _fill: Fill) -> Result<Param<Tensor<2>>, LoadError> {
        let data = transposed(self.weights.read(name)?, size);
        Ok(Param::from_tensor(Tensor::from_data(data, self.device)))
    }
}

/// `[output, input]` to `[input, output]`, on the host: a view that is transposed on the device would be copied at
/// each use by some backends.
pub(crate) fn transposed(data: TensorData, [input, output]: [usize; 2]) -> TensorData {
    const BLOCK: usize = 32;
    let Ok(rows) = data.as_slice::<f32>() else { return data };
    let mut columns = vec![0.0; rows.len()];
    for first in (0..output).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(output);
        for column in 0..input {
            let target = &mut columns[column * output..][block.clone()];
            for (target, row) in target.iter_mut().zip(block.clone()) {
                *target = rows[row * input + column];
            }
        }
    }
    TensorData::new(columns, [input, output])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_whatever_its_size() {
        for (input, output) in [(1, 1), (3, 5), (40, 33), (64, 32)] {
            let values: Vec<f32> = (0..input * output).map(|value| value as f32).collect();
            let columns = transposed(TensorData::new(values, [output, input]), [input, output]);
            let expected: Vec<f32> =
                (0..input).flat_map(|column| (0..output).map(move |row| (row * input + column) as f32)).collect();
            assert_eq!(columns, TensorData::new(expected, [input, output]));
        }
    }
}
