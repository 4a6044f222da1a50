//! The output layer of language models.

use burn::module::{Module, Param};
use burn::nn::{Embedding, Linear};
use burn::tensor::Tensor;
use burn_adapters_core::{Activation, Fill, Norm, activate, linear, project, quantized_matrix};
use burn_adapters_ops::quantized_linear;

use super::Normalization;
use crate::LoadError;
use crate::plan::{BiasPlan, OutputPlan};
use crate::weights::Source;

/// From hidden states to a logit for each token of the vocabulary.
#[derive(Module, Debug)]
pub(crate) struct Output {
    transform: Option<Transform>,
    /// `None` if the matrix is the table of word embeddings.
    matrix: Option<Linear>,
    bias: Option<Param<Tensor<1>>>,
    /// `[1, vocabulary]`
    constant: Option<Param<Tensor<2>>>,
    scale: Option<f64>,
    softcap: Option<f64>,
}

/// A linear layer, a non-linearity and a norm.
#[derive(Module, Debug)]
struct Transform {
    dense: Linear,
    norm: Normalization,
    #[module(skip)]
    activation: Activation,
}

impl Output {
    pub(crate) fn build(
        plan: &OutputPlan,
        vocabulary: usize,
        std: f64,
        source: &mut impl Source,
    ) -> Result<Self, LoadError> {
        let transform = match &plan.transform {
            Some(plan) => Some(Transform {
                dense: source.linear(&plan.dense, "", std)?,
                norm: Normalization::build(&plan.norm, "", source)?,
                activation: plan.activation,
            }),
            None => None,
        };
        let (mut bias, mut constant) = (None, None);
        match plan.bias {
            BiasPlan::Required([name, ..]) => bias = Some(source.param(name, [vocabulary], None, Fill::ZEROS)?),
            BiasPlan::Constant(name) => constant = Some(source.param(name, [1, vocabulary], None, Fill::ZEROS)?),
            BiasPlan::None | BiasPlan::Required([]) => {}
        }
        Ok(Self {
            transform,
            matrix: plan.matrix.as_ref().map(|matrix| source.linear(matrix, "", std)).transpose()?,
            bias,
            constant,
            scale: plan.scale,
            softcap: plan.softcap,
        })
    }

    /// Whether this is the output layer of a language model, and its matrix is the table of word embeddings.
    pub(crate) fn reads_words(&self) -> bool {
        self.matrix.is_none() && self.transform.is_none()
    }

    /// The states that the matrix reads.
    ///
    /// # Shapes
    /// - hidden: `[positions, hidden]`
    /// - output: `[positions, embedding]`
    pub(crate) fn before(&self, hidden: Tensor<2>) -> Tensor<2> {
        match &self.transform {
            Some(transform) => transform.forward(hidden),
            None => hidden,
        }
    }

    /// # Shapes
    /// - states: `[positions, embedding]`, from [`before`](Self::before)
    /// - output: `[positions, vocabulary]`
    pub(crate) fn forward(&self, words: &Embedding, states: Tensor<2>) -> Tensor<2> {
        let hidden = match self.scale {
            Some(scale) => states * scale,
            None => states,
        };
        let bias = self.bias.as_ref().map(|bias| bias.val());
        let weight = self.matrix.as_ref().map_or(&words.weight, |matrix| &matrix.weight);
        let logits = match (quantized_matrix(weight), &self.matrix) {
            // Its rows are outputs, be they a layer's or those of the table.
            (Some(blocks), _) => quantized_linear(hidden, blocks, bias),
            (None, Some(_)) => linear(hidden, weight.val(), bias),
            (None, None) => linear(hidden, weight.val().transpose(), bias),
        };
        let logits = match &self.constant {
            Some(constant) => logits + constant.val(),
            None => logits,
        };
        match self.softcap {
            Some(cap) => (logits / cap).tanh() * cap,
            None => logits,
        }
    }
}

impl Transform {
    fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        let hidden = activate(self.activation, project(&self.dense, hidden));
        self.norm.norm(hidden.unsqueeze()).squeeze_dim(0)
    }
}
