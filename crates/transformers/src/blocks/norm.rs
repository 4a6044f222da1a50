//! Norms.

use burn::module::Module;
use burn::nn::{LayerNorm, RmsNorm};
use burn::tensor::Tensor;
use burn_adapters_core::{Fill, Norm, NormWithEpsilon};
use burn_adapters_ops::rms_norm;

use crate::LoadError;
use crate::plan::{NormKind, NormPlan};
use crate::weights::Source;

/// A norm of a kind that a plan names.
#[derive(Module, Debug)]
pub(crate) enum Normalization {
    Layer(EpsilonNorm),
    Rms(RmsNorm),
    RmsFromOne(RmsFromOne),
}

impl Normalization {
    pub(crate) fn build(plan: &NormPlan, scope: &str, source: &mut impl Source) -> Result<Self, LoadError> {
        let name = format!("{scope}{}", plan.name);
        Ok(match plan.kind {
            NormKind::Layer | NormKind::LayerWithoutBias => {
                let has_bias = plan.kind == NormKind::Layer;
                let norm = source.layer_norm(&name, plan.width, plan.epsilon, has_bias)?;
                Self::Layer(EpsilonNorm { norm, epsilon: plan.epsilon })
            }
            NormKind::Rms => Self::Rms(source.rms_norm(&name, plan.width, plan.epsilon, Fill::ONES)?),
            NormKind::RmsFromOne => {
                Self::RmsFromOne(RmsFromOne { norm: source.rms_norm(&name, plan.width, plan.epsilon, Fill::ZEROS)? })
            }
        })
    }

    fn as_norm(&self) -> &dyn Norm {
        match self {
            Self::Layer(norm) => norm,
            Self::Rms(norm) => norm,
            Self::RmsFromOne(norm) => norm,
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

/// An RMS norm whose weights are added to 1, so that weights of 0 change nothing.
#[derive(Module, Debug)]
pub(crate) struct RmsFromOne {
    norm: RmsNorm,
}

impl Norm for RmsFromOne {
    fn norm(&self, hidden: Tensor<3>) -> Tensor<3> {
        rms_norm(hidden, self.norm.gamma.val() + 1.0, self.norm.epsilon)
    }

    fn width(&self) -> Option<usize> {
        self.norm.width()
    }
}
