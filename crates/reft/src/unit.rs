//! A single intervention.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::{Activation, ReftConfig};
use burn_adapters_core::{Fill, Init, Mode, activate, linear, project};

use crate::{Orthogonal, ReftError};

/// `R`, the projection to the subspace of the intervention.
#[derive(Module, Debug)]
pub enum Projection {
    /// Without constraint: `[hidden] → [r]`, no bias.
    Free(Linear),
    /// With orthonormal rows.
    Orthogonal(Orthogonal),
}

impl Projection {
    /// `R: [r, hidden]`.
    pub fn weight(&self) -> Tensor<2> {
        match self {
            Projection::Free(linear) => linear.weight.val().transpose(),
            Projection::Orthogonal(orthogonal) => orthogonal.weight(),
        }
    }

    /// The number of trained parameters.
    pub fn num_trained(&self) -> usize {
        match self {
            Projection::Free(linear) => elements(linear.weight.lazy_shape().dims::<2>()),
            Projection::Orthogonal(orthogonal) => orthogonal.num_trained(),
        }
    }
}

/// The intervention `h + Rᵀ (act(W h + b) − R h)`, or the same without `− R h`.
#[derive(Module, Debug)]
pub struct ReftUnit {
    /// `W` and `b`: `[hidden] → [r]`.
    pub learned_source: Linear,
    /// `R`.
    pub projection: Projection,
    /// Subtract the projection of the hidden states.
    pub subtract_projection: bool,
    /// The activation after `W h + b`.
    #[module(skip)]
    pub non_linearity: Option<Activation>,
    /// Dropout on the intervened hidden states (the sum, as in the reference).
    pub dropout: f64,
}

impl ReftUnit {
    /// A new intervention on hidden states of `hidden_size`.
    ///
    /// # Errors
    /// If the rank is 0, or too high for orthonormal rows.
    pub fn new(config: &ReftConfig, hidden_size: usize, init: &mut Init, device: &Device) -> Result<Self, ReftError> {
        if config.r == 0 {
            return Err(ReftError::ZeroRank);
        }
        let init = &mut init.for_module(config.init_weights_seed);
        // PyTorch's default for linear layers.
        let fill = Fill::kaiming_uniform_sqrt5(hidden_size);
        Ok(Self {
            learned_source: init.linear([hidden_size, config.r], fill, Some(fill), device),
            projection: if config.orthogonality {
                Projection::Orthogonal(Orthogonal::new(config.r, hidden_size, init, device)?)
            } else {
                Projection::Free(init.linear([hidden_size, config.r], fill, None, device))
            },
            subtract_projection: config.subtract_projection,
            non_linearity: config.non_linearity,
            dropout: config.dropout,
        })
    }

    /// Computes the intervened hidden states.
    ///
    /// # Shapes
    /// - hidden, output: `[batch, positions, hidden]`
    pub fn forward(&self, hidden: Tensor<3>, mode: Mode) -> Tensor<3> {
        mode.dropout(self.dropout, hidden.clone() + self.edit(hidden))
    }

    /// The update that the intervention adds: `[batch, positions, hidden]`.
    pub(crate) fn change(&self, hidden: Tensor<3>, mode: Mode) -> Tensor<3> {
        if mode.is_training() && self.dropout > 0.0 {
            self.forward(hidden.clone(), mode) - hidden
        } else {
            self.edit(hidden)
        }
    }

    /// `Rᵀ (act(W h + b) − R h)`.
    fn edit(&self, hidden: Tensor<3>) -> Tensor<3> {
        let projection = self.projection.weight();
        let mut source = project(&self.learned_source, hidden.clone());
        if let Some(activation) = self.non_linearity {
            source = activate(activation, source);
        }
        if self.subtract_projection {
            source = source - linear(hidden, projection.clone().transpose(), None);
        }
        linear(source, projection, None)
    }

    /// The number of trained parameters; the frozen base of an [`Orthogonal`] does not count.
    pub fn num_trained(&self) -> usize {
        let Linear { weight, bias, .. } = &self.learned_source;
        let bias = bias.as_ref().map_or(0, |bias| elements(bias.lazy_shape().dims::<1>()));
        elements(weight.lazy_shape().dims::<2>()).saturating_add(bias).saturating_add(self.projection.num_trained())
    }
}

/// The number of elements of a tensor. Parameters are lazy, so the shape may be too large for any memory.
fn elements<const D: usize>(shape: [usize; D]) -> usize {
    shape.iter().fold(1, |product, size| product.saturating_mul(*size))
}
