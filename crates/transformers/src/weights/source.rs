//! Where a model's parameters come from: freshly drawn, or read from files ([`FromFiles`](super::FromFiles)).
//!
//! A model is built once for all sources, so that its names and shapes are written down in one place: building it from
//! [`Listed`] gives the list that the files are checked against before anything is read.

use burn::module::{Param, ParamId};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, RmsNorm, RmsNormConfig};
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Fill, Init};

use crate::LoadError;
use crate::plan::{LinearPlan, Storage, TablePlan};

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

    /// The weight of a linear layer, `[input, output]`, which may be quantized.
    fn matrix(
        &mut self,
        name: &str,
        size: [usize; 2],
        storage: Storage,
        fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        self.param(name, size, Some(storage), fill)
    }

    /// The table of word embeddings, `[vocabulary, width]`, which may be quantized.
    fn table(&mut self, name: &str, shape: [usize; 2], fill: Fill) -> Result<Param<Tensor<2>>, LoadError> {
        self.param(name, shape, None, fill)
    }

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
        let weight = self.matrix(&format!("{name}.weight"), plan.size, plan.storage, Fill::Normal { std })?;
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

    /// Word embeddings, `[vocabulary, size]`.
    fn words(&mut self, plan: &TablePlan, std: f64) -> Result<Embedding, LoadError> {
        let [rows, width] = plan.shape;
        let mut embedding = EmbeddingConfig::new(rows, width).init(self.device());
        embedding.weight = self.table(&format!("{}.weight", plan.name), plan.shape, Fill::Normal { std })?;
        Ok(embedding)
    }

    /// A table of other embeddings, `[rows, size]`.
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

    fn matrix(
        &mut self,
        name: &str,
        size: [usize; 2],
        storage: Storage,
        fill: Fill,
    ) -> Result<Param<Tensor<2>>, LoadError> {
        self.source.matrix(&format!("{}{name}", self.scope), size, storage, fill)
    }

    fn table(&mut self, name: &str, shape: [usize; 2], fill: Fill) -> Result<Param<Tensor<2>>, LoadError> {
        self.source.table(&format!("{}{name}", self.scope), shape, fill)
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
