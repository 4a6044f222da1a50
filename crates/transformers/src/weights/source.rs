//! Where a model's parameters come from: freshly drawn, or read from files.
//!
//! A model is built once for all sources, so that its names and shapes are written down in one place: building it from
//! [`Listed`] gives the list that the files are checked against before anything is read.

use burn::module::{Param, ParamId};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Bf16Error, Fill, Init, check_bf16};
use burn_adapters_tensors::{FloatType, transposed};

use super::Weights;
use crate::LoadError;
use crate::plan::{LinearPlan, Part, Storage};

/// Gives parameters by name. Names are those of the files.
pub(crate) trait Source {
    /// Where the parameters are put.
    fn device(&self) -> &Device;

    /// A parameter. `storage` is how files store the weight (`[input, output]`) or bias (`[output]`) of a linear layer;
    /// without it the parameter has the same shape there.
    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        storage: Option<Storage>,
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError>;

    /// The parameters below a path, which ends with a dot.
    fn scoped<'a>(&'a mut self, scope: &'a str) -> Scoped<'a, Self>
    where
        Self: Sized,
    {
        Scoped { source: self, scope }
    }

    /// The linear layer of a plan. `scope` is put before its name.
    fn linear(&mut self, plan: &LinearPlan, scope: &str, std: f64) -> Result<Linear, LoadError> {
        let name = format!("{scope}{}", plan.name);
        let storage = Some(plan.storage);
        let weight = self.param(&format!("{name}.weight"), plan.size, storage, Fill::Normal { std })?;
        let mut bias = || self.param(&format!("{name}.bias"), [plan.size[1]], storage, Fill::ZEROS);
        let bias = plan.bias.then(&mut bias).transpose()?;
        Ok(Linear { weight, bias })
    }

    /// An RMS norm, with the weights of a new one.
    fn rms_norm(&mut self, name: &str, size: usize, epsilon: f64, fill: Fill) -> Result<RmsNorm, LoadError> {
        let mut norm = RmsNormConfig::new(size).with_epsilon(epsilon).init(self.device());
        norm.gamma = self.param(&format!("{name}.weight"), [size], None, fill)?;
        Ok(norm)
    }

    /// A layer norm.
    fn layer_norm(&mut self, name: &str, size: usize, epsilon: f64, has_bias: bool) -> Result<LayerNorm, LoadError> {
        let mut norm = LayerNormConfig::new(size).with_epsilon(epsilon).init(self.device());
        norm.gamma = self.param(&format!("{name}.weight"), [size], None, Fill::ONES)?;
        let mut bias = || self.param(&format!("{name}.bias"), [size], None, Fill::ZEROS);
        norm.beta = has_bias.then(&mut bias).transpose()?;
        Ok(norm)
    }

    /// A table of embeddings, `[rows, size]`.
    fn embedding(&mut self, name: &str, shape: [usize; 2], std: f64) -> Result<Embedding, LoadError> {
        let mut embedding = EmbeddingConfig::new(shape[0], shape[1]).init(self.device());
        embedding.weight = self.param(&format!("{name}.weight"), shape, None, Fill::Normal { std })?;
        Ok(embedding)
    }
}

/// The parameters below a path.
pub(crate) struct Scoped<'a, S> {
    source: &'a mut S,
    /// With a dot after it.
    scope: &'a str,
}

impl<S: Source> Source for Scoped<'_, S> {
    fn device(&self) -> &Device {
        self.source.device()
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        storage: Option<Storage>,
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        self.source.param(&format!("{}{name}", self.scope), shape, storage, fill)
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
        _storage: Option<Storage>,
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        Ok(self.init.param(shape, fill, self.device))
    }
}

/// Lists the parameters that a model asks for. None of them is drawn.
pub(crate) struct Listed<'a> {
    fresh: Fresh<'a>,
    pub(crate) parameters: Vec<ListedParameter>,
}

/// A parameter that a model asks for.
pub(crate) struct ListedParameter {
    pub(crate) id: ParamId,
    /// Its name in files.
    pub(crate) name: String,
    /// Its shape in the model.
    pub(crate) shape: Vec<usize>,
    /// How files store it, if it is of a linear layer.
    pub(crate) storage: Option<Storage>,
}

impl<'a> Listed<'a> {
    pub(crate) fn new(device: &'a Device) -> Self {
        Self { fresh: Fresh { init: Init::from_seed(0), device }, parameters: Vec::new() }
    }
}

impl ListedParameter {
    /// The shape of the tensor in files.
    pub(crate) fn stored_shape(&self) -> Vec<usize> {
        self.storage.map_or_else(|| self.shape.clone(), |storage| storage.shape(&self.shape))
    }

    /// The number of its elements.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product, size| product.saturating_mul(*size))
    }
}

impl Source for Listed<'_> {
    fn device(&self) -> &Device {
        self.fresh.device
    }

    fn param<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        storage: Option<Storage>,
        fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        let param = self.fresh.param(name, shape, storage, fill)?;
        let (id, name, shape) = (param.id, name.to_owned(), shape.to_vec());
        self.parameters.push(ListedParameter { id, name, shape, storage });
        Ok(param)
    }
}

/// Parameters read from files that were checked against [`Listed`] ones, one after the other: beside the model no more than
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
    /// Single precision, whatever the format of the files.
    #[default]
    F32,
    /// Half the memory of f32; see [`linear_weights_in_bf16`](burn_adapters_core::linear_weights_in_bf16).
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
        shape: [usize; D],
        storage: Option<Storage>,
        _fill: Fill,
    ) -> Result<Param<Tensor<D>>, LoadError> {
        let (Some(storage), Some(outputs)) = (storage, shape.last()) else {
            return Ok(Param::from_tensor(Tensor::from_data(self.weights.read(name, FloatType::F32)?, self.device)));
        };
        let format = if D == 2 { self.format } else { WeightFormat::F32 };
        let data = self.weights.read(name, format.float_type())?;
        let data = if D == 1 || storage.input_first { data } else { transposed(data) };
        let dtype = data.dtype();
        let data = match storage.part {
            // The outputs are the last dimension. A copy of them: the tensor of all parts is not kept.
            Some(Part { index, of, heads }) => {
                let all = Tensor::<D>::from_data(data, (self.device, dtype));
                let inputs = shape.iter().rev().skip(1).product();
                let by_head = all.reshape([inputs, heads, of, outputs / heads.max(1)]);
                by_head.narrow(2, index, 1).reshape(shape).into_data()
            }
            None => data,
        };
        Ok(Param::from_tensor(Tensor::from_data(data, (self.device, dtype))))
    }
}
