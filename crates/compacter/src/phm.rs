//! The PHM layer.

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor};
use burn_adapters_config::BottleneckConfig;
use burn_adapters_core::{Fill, Init};
use thiserror::Error;

use crate::draw::{self, Owner};
use crate::kronecker::{self, Strategy};
use crate::{Matrices, SharedPhm};

/// Which of an adapter's two projections this layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// `[hidden] → [width]`.
    Down,
    /// `[width] → [hidden]`.
    Up,
}

/// A linear layer whose weight is `Σᵢ Aᵢ ⊗ Wᵢ`. See the [crate] for an example.
///
/// A layer without a rule `A` or weights `W` of its own takes them from the [`SharedPhm`] that it is called with.
#[derive(Module, Debug)]
pub struct PhmLinear {
    /// The rule: `n` matrices of `[n, n]`.
    pub rule: Option<Matrices>,
    /// The weights: `n` matrices of `[d_input / n, d_output / n]`.
    pub weight: Option<Matrices>,
    /// `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// Which shared weights the layer uses.
    #[module(skip)]
    pub position: Position,
    /// Whether the rule, own or shared, is trained.
    #[module(skip)]
    pub learn_rule: bool,
    /// How products are computed.
    #[module(skip)]
    pub strategy: Strategy,
}

impl PhmLinear {
    /// A new layer `[d_input] → [d_output]`, built from the PHM attributes of the configuration.
    ///
    /// # Errors
    /// If `phm_dim` does not divide both sizes, or `phm_dim` or `phm_rank` is 0.
    pub fn new(
        config: &BottleneckConfig,
        size: [usize; 2],
        position: Position,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, CompacterError> {
        draw::check(size, config.phm_dim)?;
        let weight = match config.shared_w_phm {
            true => None,
            false => Some(draw::weight(config, size, init, device)?),
        };
        let rule = match config.shared_phm_rule {
            true => None,
            false => Some(draw::rule(config, Owner::Layer, init, device)?),
        };
        Ok(Self {
            rule,
            weight,
            bias: config.phm_bias.then(|| init.param([size[1]], Fill::ZEROS, device)),
            position,
            learn_rule: config.learn_phm,
            strategy: match config.factorized_phm_w {
                true => Strategy::cheapest(size, config.phm_dim, config.phm_rank),
                false => Strategy::Dense,
            },
        })
    }

    /// Applies the layer.
    ///
    /// # Shapes
    /// - x: `[batch, sequence, d_input]`
    /// - output: `[batch, sequence, d_output]`
    ///
    /// # Panics
    /// If the layer was built for shared parts and `shared` lacks them.
    pub fn forward(&self, x: Tensor<3>, shared: Option<&SharedPhm>) -> Tensor<3> {
        let (rule, weight) = self.parts(shared);
        let output = kronecker::multiply(x, rule, weight, self.strategy);
        match &self.bias {
            Some(bias) => output + bias.val().unsqueeze(),
            None => output,
        }
    }

    /// The dense weight `Σᵢ Aᵢ ⊗ Wᵢ`: `[d_input, d_output]`.
    ///
    /// # Panics
    /// As [`forward`](Self::forward).
    pub fn dense_weight(&self, shared: Option<&SharedPhm>) -> Tensor<2> {
        let (rule, weight) = self.parts(shared);
        kronecker::dense(rule, weight.product())
    }

    /// The layer's own parameters that are frozen during training: its rule without `learn_phm`. They get no gradient,
    /// whatever their `require_grad`.
    pub fn frozen(&self) -> Vec<ParamId> {
        crate::shared::frozen(self.rule.as_ref(), self.learn_rule)
    }

    fn parts<'a>(&'a self, shared: Option<&'a SharedPhm>) -> (Tensor<3>, &'a Matrices) {
        let rule = self.rule.as_ref().or_else(|| shared?.rule.as_ref());
        let weight = self.weight.as_ref().or_else(|| shared?.weight(self.position));
        let (Some(rule), Some(weight)) = (rule, weight) else {
            panic!(
                "a PHM layer built with shared_phm_rule or shared_W_phm was called without them: hand `forward` the \
                 `SharedPhm` of the same configuration"
            );
        };
        let rule = rule.product();
        (if self.learn_rule { rule } else { rule.detach() }, weight)
    }
}

/// A PHM layer that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CompacterError {
    /// A size that `phm_dim` does not divide.
    #[error(
        "a PHM layer divides its {what} by phm_dim, but {size} is not a multiple of {phm_dim}: choose another phm_dim, \
         or a reduction_factor that gives a multiple of it"
    )]
    NotDivisible {
        /// `input size` or `output size`.
        what: &'static str,
        /// The size.
        size: usize,
        /// The number of summands.
        phm_dim: usize,
    },
    /// A size of 0.
    #[error("{key} must be at least 1, found 0")]
    Zero {
        /// `phm_dim` or `phm_rank`.
        key: &'static str,
    },
}
