//! Norms.

use burn::module::Module;
use burn::nn::LayerNorm;
use burn::tensor::Tensor;
use burn_adapters_core::{Norm, NormWithEpsilon};

use crate::LoadError;
use crate::plan::NormPlan;
use crate::weights::Source;

/// A layer norm with its epsilon, which Burn's own module does not expose.
#[derive(Module, Debug)]
pub(crate) struct EpsilonNorm {
    norm: LayerNorm,
    epsilon: f64,
}

impl EpsilonNorm {
    pub(crate) fn build(plan: &NormPlan, scope: &str, source: &mut impl Source) -> Result<Self, LoadError> {
        let norm = source.layer_norm(&format!("{scope}{}", plan.name), plan.width, plan.epsilon)?;
        Ok(Self { norm, epsilon: plan.epsilon })
    }

    fn with_epsilon(&self) -> NormWithEpsilon<'_> {
        NormWithEpsilon { norm: &self.norm, epsilon: self.epsilon }
    }
}

impl Norm for EpsilonNorm {
    fn norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.with_epsilon().norm(hidden)
    }

    fn width(&self) -> Option<usize> {
        self.with_epsilon().width()
    }
}
