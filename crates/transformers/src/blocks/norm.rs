//! Norms.

use burn::module::Module;
use burn::nn::{LayerNorm, RmsNorm};
use burn::tensor::Tensor;
use burn_adapters_core::{Norm, NormWithEpsilon};

use crate::LoadError;
use crate::plan::{NormKind, NormPlan};
use crate::weights::Source;

/// A norm of a kind that a plan names.
#[derive(Module, Debug)]
pub(crate) enum Normalization {
    Layer(EpsilonNorm),
    Rms(RmsNorm),
}

impl Normalization {
    pub(crate) fn build(plan: &NormPlan, scope: &str, source: &mut impl Source) -> Result<Self, LoadError> {
        let name = format!("{scope}{}", plan.name);
        Ok(match plan.kind {
            NormKind::Layer => {
                let norm = source.layer_norm(&name, plan.width, plan.epsilon)?;
                Self::Layer(EpsilonNorm { norm, epsilon: plan.epsilon })
            }
            NormKind::Rms => Self::Rms(source.rms_norm(&name, plan.width, plan.epsilon)?),
        })
    }

    fn as_norm(&self) -> &dyn Norm {
        match self {
            Self::Layer(norm) => norm,
            Self::Rms(norm) => norm,
        }
    }
}

impl Norm for Normalization {
    fn norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.as_norm().norm(hidden)
    }

    fn width(&self) -> Option<usize> {
        self.as_norm().width()
    }
}

/// A layer norm with its epsilon, which Burn's own module does not expose.
#[derive(Module, Debug)]
pub(crate) struct EpsilonNorm {
    norm: LayerNorm,
    epsilon: f64,
}

impl EpsilonNorm {
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
