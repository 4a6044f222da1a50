//! Where a model's parameters come from: freshly drawn, or read from files.
//!
//! A model is built once for all sources, so that its names and shapes are written down in one place: building it from
//! [`Expected`] gives the list that the files are checked against before anything is read.

use std::collections::BTreeMap;

use burn::module::Param;
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_core::{Bf16Error, Fill, Init, check_bf16};
use burn_adapters_tensors::{FloatType, transposed};

use super::Weights;
use crate::LoadError;
use crate::plan::{LinearPlan, Part, Storage};

/// Gives parameters by name. Names are those of the files.
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

    /// The weight of a linear layer, `[input, output]`.
    fn matrix(
        &mut self,
        name: &str,
        size: [usize; 2],
        storage: Storage,
        fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError>;

    /// The bias of a linear layer with this many outputs.
    fn bias(&mut self, name: &str, outputs: usize, storage: Storage) -> Result<Param<Tensor<1>>, LoadError>;

    /// The linear layer of a plan. `scope` is put before its name.
    fn linear(&mut self, plan: &LinearPlan, scope: &str, std: f64) -> Result<Linear, LoadError> {
        let name = format!("{scope}{}", plan.name);
        let weight = self.matrix(&format!("{name}.weight"), plan.size, plan.storage, Fill::Normal { std })?;
        let bias = plan.bias.then(|| self.bias(&format!("{name}.bias"), plan.size[1], plan.storage)).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// An RMS norm.
    fn rms_norm(&mut self, name: &str, size: usize, epsilon: f64) -> Result<RmsNorm, LoadError> {
        let mut norm = RmsNormConfig::new(size).with_epsilon(epsilon).init(self.device());
        norm.gamma = self.param(&format!("{name}.weight"), [size], Fill::ONES)?;
        Ok(norm)
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

    fn matrix(
        &mut self,
        _name: &str,
        size: [usize; 2],
        _storage: Storage,
        fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        Ok(self.init.param(size, fill, self.device))
    }

    fn bias(&mut self, _name: &str, outputs: usize, _storage: Storage) -> Result<Param<Tensor<1>>, LoadError> {
        Ok(self.init.param([outputs], Fill::ZEROS, self.device))
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

    fn matrix(
        &mut self,
        name: &str,
        size: [usize; 2],
        storage: Storage,
        fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        self.shapes.insert(name.to_owned(), storage.shape(size));
        self.fresh.matrix(name, size, storage, fill)
    }

    fn bias(&mut self, name: &str, outputs: usize, storage: Storage) -> Result<Param<Tensor<1>>, LoadError> {
        self.shapes.insert(name.to_owned(), vec![outputs.saturating_mul(storage.parts())]);
        self.fresh.bias(name, outputs, storage)
    }
}

/// Counts the parameters that a model asks for.
pub(crate) struct Counted<'a> {
    fresh: Fresh<'a>,
    pub(crate) parameters: usize,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(device: &'a Device) -> Self {
        Self { fresh: Fresh { init: Init::from_seed(0), device }, parameters: 0 }
    }

    fn add(&mut self, shape: &[usize]) {
        let parameters = shape.iter().fold(1usize, |product, size| product.saturating_mul(*size));
        self.parameters = self.parameters.saturating_add(parameters);
    }
}

impl Source for Counted<'_> {
    fn device(&self) -> &Device {
        self.fresh.device
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        self.add(&shape);
        self.fresh.param(name, shape, fill)
    }

    fn matrix(
        &mut self,
        name: &str,
        size: [usize; 2],
        storage: Storage,
        fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        self.add(&size);
        self.fresh.matrix(name, size, storage, fill)
    }

    fn bias(&mut self, name: &str, outputs: usize, storage: Storage) -> Result<Param<Tensor<1>>, LoadError> {
        self.add(&[outputs]);
        self.fresh.bias(name, outputs, storage)
    }
}

/// Parameters read from files that were checked against [`Expected`], one after the other: beside the model no more than
/// one of them is in memory.
pub(crate) struct FromFiles<'a> {
    pub(crate) weights: Weights,
    pub(crate) device: &'a Device,
    /// The number format of matrices.
    pub(crate) format: WeightFormat,
}

/// The number format of the weights of a model's linear layers. Everything else is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WeightFormat {
    /// Single precision, whatever format the files have.
    #[default]
    F32,
    /// The upper half of an f32: half the memory; see [`linear_weights_in_bf16`](burn_adapters_core::linear_weights_in_bf16).
    Bf16,
}

impl WeightFormat {
    /// The type of the elements.
    pub(crate) fn float_type(self) -> FloatType {
        match self {
            Self::F32 => FloatType::F32,
            Self::Bf16 => FloatType::Bf16,
        }
    }

    /// Checks that a device has the format for frozen weights.
    pub(crate) fn check(self, device: &Device) -> Result<(), Bf16Error> {
        match self {
            Self::F32 => Ok(()),
            Self::Bf16 => check_bf16(device),
        }
    }
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
        Ok(Param::from_tensor(Tensor::from_data(self.weights.read(name, FloatType::F32)?, self.device)))
    }

    fn matrix(
        &mut self,
        name: &str,
        [_, output]: [usize; 2],
        storage: Storage,
        _fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        let data = self.weights.read(name, self.format.float_type())?;
        let data = if storage.input_first { data } else { transposed(data) };
        let data = match storage.part {
            Some(part) => own_outputs::<2>(data, part, output),
            None => data,
        };
        let dtype = data.dtype();
        Ok(Param::from_tensor(Tensor::from_data(data, (self.device, dtype))))
    }

    fn bias(&mut self, name: &str, outputs: usize, storage: Storage) -> Result<Param<Tensor<1>>, LoadError> {
        let data = self.weights.read(name, FloatType::F32)?;
        let data = match storage.part {
            Some(part) => own_outputs::<1>(data, part, outputs),
            None => data,
        };
        Ok(Param::from_tensor(Tensor::from_data(data, self.device)))
    }
}

/// The outputs of one part of a fused layer; they are the last dimension.
fn own_outputs<const D: usize>(data: TensorData, part: Part, outputs: usize) -> TensorData {
    let dtype = data.dtype();
    let fused = Tensor::<D>::from_data(data, (&Device::default(), dtype));
    fused.narrow(D - 1, part.index * outputs, outputs).into_data()
}
