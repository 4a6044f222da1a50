//! The parameters that all PHM layers of an adapter share.

use burn::module::{Module, ParamId};
use burn::tensor::Device;
use burn_adapters_config::BottleneckConfig;
use burn_adapters_core::Init;

use crate::draw::{self, Owner};
use crate::{CompacterError, Matrices, Position};

/// The parts of PHM layers that an adapter stores once: its rule (`shared_phm_rule`), and the weights of all its down-
/// and up-projections (`shared_W_phm`).
#[derive(Module, Debug)]
pub struct SharedPhm {
    /// The rule: `n` matrices of `[n, n]`.
    pub rule: Option<Matrices>,
    /// The weights of the down-projections: `n` matrices of `[hidden / n, width / n]`.
    pub down: Option<Matrices>,
    /// The weights of the up-projections: `n` matrices of `[width / n, hidden / n]`.
    pub up: Option<Matrices>,
    /// Whether the rule is trained.
    #[module(skip)]
    pub learn_rule: bool,
}

impl SharedPhm {
    /// The shared parts for hidden states of `hidden_size` and bottlenecks of `width`; `None` if the configuration
    /// shares nothing.
    ///
    /// # Errors
    /// If weights are shared and `phm_dim` does not divide both sizes, or a size is 0.
    pub fn new(
        config: &BottleneckConfig,
        [hidden_size, width]: [usize; 2],
        init: &mut Init,
        device: &Device,
    ) -> Result<Option<Self>, CompacterError> {
        if !config.shared_phm_rule && !config.shared_w_phm {
            return Ok(None);
        }
        let init = &mut init.for_module(config.init_weights_seed);
        let mut shared = Self { rule: None, down: None, up: None, learn_rule: config.learn_phm };
        if config.shared_w_phm {
            shared.down = Some(draw::weight(config, [hidden_size, width], init, device)?);
            shared.up = Some(draw::weight(config, [width, hidden_size], init, device)?);
        }
        if config.shared_phm_rule {
            shared.rule = Some(draw::rule(config, Owner::Adapter, init, device)?);
        }
        Ok(Some(shared))
    }

    /// The shared weights of a projection, if weights are shared.
    pub fn weight(&self, position: Position) -> Option<&Matrices> {
        match position {
            Position::Down => self.down.as_ref(),
            Position::Up => self.up.as_ref(),
        }
    }

    /// The parameters that are frozen during training: the rule without `learn_phm`.
    pub fn frozen(&self) -> Vec<ParamId> {
        frozen(self.rule.as_ref(), self.learn_rule)
    }
}

pub(crate) fn frozen(rule: Option<&Matrices>, learned: bool) -> Vec<ParamId> {
    match rule {
        Some(rule) if !learned => rule.ids(),
        _ => Vec::new(),
    }
}
