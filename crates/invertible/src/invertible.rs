//! The invertible adapter.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use burn_adapters_config::{BottleneckConfig, InvertibleKind};
use burn_adapters_core::{Init, floor_div};
use thiserror::Error;

use crate::{GlowCoupling, NiceCoupling};

/// An invertible adapter: one of two coupling blocks. See the [crate] for an example.
#[derive(Module, Debug)]
pub enum Invertible {
    /// Additive coupling.
    Nice(NiceCoupling),
    /// Affine coupling.
    Glow(GlowCoupling),
}

impl Invertible {
    /// The adapter selected by `inv_adapter`, for embeddings of `hidden_size`. Its networks are `⌊hidden_size / 2 /
    /// inv_adapter_reduction_factor⌋` wide and use the configuration's `non_linearity`.
    ///
    /// # Errors
    /// If the configuration has no invertible adapter or no valid reduction factor for it, or `hidden_size` is odd.
    pub fn new(
        config: &BottleneckConfig,
        hidden_size: usize,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, InvertibleError> {
        let kind = config.inv_adapter.ok_or(InvertibleError::NotConfigured)?;
        let factor = config.inv_adapter_reduction_factor.ok_or(InvertibleError::NoReductionFactor)?;
        if !hidden_size.is_multiple_of(2) {
            return Err(InvertibleError::OddHiddenSize { hidden_size });
        }
        let half = hidden_size / 2;
        let width = floor_div(half, factor);
        if !factor.is_finite() || width == 0 {
            return Err(InvertibleError::BadReductionFactor { found: factor, hidden_size, half });
        }
        let init = &mut init.for_module(config.init_weights_seed);
        Ok(match kind {
            InvertibleKind::Nice => Self::Nice(NiceCoupling::new(half, width, config.non_linearity, init, device)),
            InvertibleKind::Glow => Self::Glow(GlowCoupling::new(half, width, config.non_linearity, init, device)),
        })
    }

    /// Applies the adapter, after the embeddings.
    ///
    /// # Shapes
    /// - x, output: `[batch, sequence, hidden]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Nice(block) => block.forward(x),
            Self::Glow(block) => block.forward(x),
        }
    }

    /// The inverse of [`forward`](Self::forward), before the output embeddings of a language model.
    ///
    /// # Shapes
    /// - y, output: `[batch, sequence, hidden]`
    pub fn inverse(&self, y: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Nice(block) => block.inverse(y),
            Self::Glow(block) => block.inverse(y),
        }
    }
}

/// An invertible adapter that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum InvertibleError {
    /// The configuration has no invertible adapter.
    #[error("the configuration has no invertible adapter: set inv_adapter to 'nice' or 'glow'")]
    NotConfigured,
    /// A reduction factor is missing.
    #[error("inv_adapter needs inv_adapter_reduction_factor, which is not set: set it (2 is usual)")]
    NoReductionFactor,
    /// A reduction factor that does not give a valid width.
    #[error(
        "inv_adapter_reduction_factor must be a finite number above 0 and at most {half} (half of the hidden size \
         {hidden_size}), found {found}"
    )]
    BadReductionFactor {
        /// The factor.
        found: f64,
        /// The size of the embeddings.
        hidden_size: usize,
        /// Half of it.
        half: usize,
    },
    /// A size that cannot be halved.
    #[error("an invertible adapter splits the hidden states in halves, but their size {hidden_size} is odd")]
    OddHiddenSize {
        /// The size of the embeddings.
        hidden_size: usize,
    },
}
