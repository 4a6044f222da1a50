//! A convolution over embeddings, beside the first layer.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::module::conv1d;
use burn::tensor::ops::ConvOptions;
use burn_adapters_core::{Activation, Fill, Norm, activate};
use burn_adapters_model::LayerPass;

use super::Normalization;
use crate::LoadError;
use crate::plan::ConvolutionPlan;
use crate::weights::Source;

/// `norm(output + activation(convolution(embeddings)))`, in which padding is zero.
#[derive(Module, Debug)]
pub(crate) struct Convolution {
    /// `[hidden, hidden / groups, kernel]`.
    weight: Param<Tensor<3>>,
    /// `[hidden]`.
    bias: Param<Tensor<1>>,
    norm: Normalization,
    groups: usize,
    dropout: f64,
    #[module(skip)]
    activation: Activation,
}

impl Convolution {
    pub(crate) fn build(plan: &ConvolutionPlan, std: f64, source: &mut impl Source) -> Result<Self, LoadError> {
        let ConvolutionPlan { name, hidden, kernel, groups, .. } = *plan;
        let shape = [hidden, hidden / groups.max(1), kernel];
        Ok(Self {
            weight: source.param(&format!("{name}.weight"), shape, None, Fill::Normal { std })?,
            bias: source.param(&format!("{name}.bias"), [hidden], None, Fill::ZEROS)?,
            norm: Normalization::build(&plan.norm, "", source)?,
            groups,
            dropout: plan.dropout,
            activation: plan.activation,
        })
    }

    /// # Shapes
    /// - embeddings: the input of the first layer, `[rows, positions, hidden]`
    /// - output: that of the first layer; the result is like it
    pub(crate) fn forward(&self, layer: &LayerPass<'_>, embeddings: Tensor<3>, output: Tensor<3>) -> Tensor<3> {
        let output = layer.intervene(output);
        let zeroed = layer.without_padding(layer.padded(embeddings));
        let padding = (self.weight.lazy_shape().dims::<3>()[2] - 1) / 2;
        let options = ConvOptions::new([1], [padding], [1], self.groups);
        let convolved = conv1d(zeroed.swap_dims(1, 2), self.weight.val(), Some(self.bias.val()), options);
        let convolved = layer.without_padding(convolved.swap_dims(1, 2));
        let added = activate(self.activation, layer.dropout(self.dropout, convolved));
        let normed = self.norm.norm(output + layer.read_positions(layer.packed(added)));
        layer.without_padding(normed)
    }
}
