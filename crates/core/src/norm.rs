//! The normalization at the end of a sublayer.

use burn::nn::{LayerNorm, RmsNorm};
use burn::tensor::{DType, Tensor};

/// Layer norm, RMS norm, or any other norm at the end of a sublayer.
pub trait Norm {
    /// # Shapes
    /// - hidden, output: `[batch, sequence, hidden]`
    fn norm(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// The width of the hidden states that the norm reads, if it is known.
    fn width(&self) -> Option<usize> {
        None
    }
}

impl Norm for LayerNorm {
    fn norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.forward(hidden)
    }

    fn width(&self) -> Option<usize> {
        self.gamma.lazy_shape().to_vec().first().copied()
    }
}

impl Norm for RmsNorm {
    fn norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        if hidden.dtype() != DType::F32 {
            return self.forward(hidden);
        }
        burn_adapters_ops::rms_norm(hidden, self.gamma.val(), self.epsilon)
    }

    fn width(&self) -> Option<usize> {
        self.gamma.lazy_shape().to_vec().first().copied()
    }
}

/// A layer norm whose epsilon is known. Where the backend supports it, it is computed as one operation whose backward
/// pass keeps two floats per position. (Burn's own module does not expose its epsilon.)
#[derive(Debug, Clone, Copy)]
pub struct NormWithEpsilon<'a> {
    /// The weights.
    pub norm: &'a LayerNorm,
    /// The module's epsilon.
    pub epsilon: f64,
}

impl Norm for NormWithEpsilon<'_> {
    fn norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        if hidden.dtype() != DType::F32 {
            return self.norm.forward(hidden);
        }
        let beta = self.norm.beta.as_ref().map(|beta| beta.val());
        burn_adapters_ops::layer_norm(hidden, self.norm.gamma.val(), beta, self.epsilon)
    }

    fn width(&self) -> Option<usize> {
        self.norm.gamma.lazy_shape().to_vec().first().copied()
    }
}
