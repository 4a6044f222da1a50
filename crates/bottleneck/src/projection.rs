//! The two projections of a bottleneck: plain linear layers, or Compacter's.

use burn::module::{Module, ParamId};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_compacter::{PhmLinear, SharedPhm};
use burn_adapters_config::{BottleneckConfig, ReductionFactor};
use burn_adapters_core::{Init, project};

use crate::{BottleneckError, bottleneck_width};

/// A projection `[d_input] → [d_output]`.
// The large variant cannot be boxed, because a box is not a Burn module.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Projection {
    /// A linear layer.
    Linear(Linear),
    /// A PHM layer (`phm_layer`).
    Phm(PhmLinear),
}

impl Projection {
    /// Applies the projection.
    ///
    /// # Shapes
    /// - x: `[batch, sequence, d_input]`
    /// - output: `[batch, sequence, d_output]`
    ///
    /// # Panics
    /// If a PHM layer was built for shared parts and `shared` lacks them.
    pub fn forward(&self, x: Tensor<3>, shared: Option<&SharedPhm>) -> Tensor<3> {
        match self {
            Self::Linear(linear) => project(linear, x),
            Self::Phm(phm) => phm.forward(x, shared),
        }
    }

    /// The linear layer, if it is one.
    pub fn as_linear(&self) -> Option<&Linear> {
        match self {
            Self::Linear(linear) => Some(linear),
            Self::Phm(_) => None,
        }
    }

    /// The PHM layer, if it is one.
    pub fn as_phm(&self) -> Option<&PhmLinear> {
        match self {
            Self::Linear(_) => None,
            Self::Phm(phm) => Some(phm),
        }
    }

    /// The parameters that are frozen during training: a PHM layer's own rule without `learn_phm`.
    pub fn frozen(&self) -> Vec<ParamId> {
        self.as_phm().map(PhmLinear::frozen).unwrap_or_default()
    }
}

/// The parameters that the bottlenecks of one adapter share, for hidden states of `hidden_size`; `None` if the
/// configuration shares nothing. Build them once per adapter and pass them to each
/// [`Bottleneck::forward`](crate::Bottleneck::forward).
///
/// # Errors
/// If weights are shared between layers of different widths, or `phm_dim` does not divide the sizes.
pub fn shared_phm(
    config: &BottleneckConfig,
    hidden_size: usize,
    init: &mut Init,
    device: &Device,
) -> Result<Option<SharedPhm>, BottleneckError> {
    if !config.phm_layer {
        return Ok(None);
    }
    let width = match &config.reduction_factor {
        ReductionFactor::PerLayer { .. } if config.shared_w_phm => return Err(BottleneckError::SharedWidths),
        // Only weights depend on the width of a layer.
        ReductionFactor::PerLayer { .. } => config.phm_dim,
        factor @ ReductionFactor::Uniform(_) => bottleneck_width(factor, hidden_size, 0)?,
    };
    Ok(SharedPhm::new(config, [hidden_size, width], init, device)?)
}
