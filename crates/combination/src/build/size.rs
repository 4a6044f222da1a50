//! The size limit of an adapter: the available memory.
//!
//! All modules are built first, which allocates nothing, so that an error reports the size of the whole adapter. Until
//! then parameters are counted with saturation ([`count`](crate::adapter::count)), and the counts must not be used.

use burn_adapters_config::{AdapterConfig, MethodConfig};
use burn_adapters_core::Init;

use crate::BuildError;

/// How to shrink the largest method of a configuration.
pub(super) struct Remedy {
    largest: u128,
    before: u128,
    text: &'static str,
}

impl Remedy {
    pub(super) fn new() -> Self {
        Self { largest: 0, before: 0, text: "" }
    }

    /// Records that a method was built.
    pub(super) fn built(&mut self, method: &MethodConfig, init: &Init) {
        let parameters = init.demand().parameters();
        if parameters - self.before > self.largest {
            (self.largest, self.text) = (parameters - self.before, remedy(method));
        }
        self.before = parameters;
    }

    /// Checks that there is memory for everything that was built.
    pub(super) fn check(&self, config: &AdapterConfig, init: &Init) -> Result<(), BuildError> {
        let result = init.demand().check(self.text);
        result.map_err(|source| BuildError::TooLarge { config: config.to_string(), source: Box::new(source) })
    }
}

fn remedy(method: &MethodConfig) -> &'static str {
    match method {
        MethodConfig::Bottleneck(config) if config.phm_layer => {
            "raise `reduction_factor` (or `inv_adapter_reduction_factor`), or lower `phm_dim` or `phm_rank`"
        }
        MethodConfig::Bottleneck(config) if config.inv_adapter.is_some() => {
            "raise `reduction_factor` or `inv_adapter_reduction_factor`"
        }
        MethodConfig::Bottleneck(_) => "raise `reduction_factor`",
        MethodConfig::Lora(config) if config.mtl.is_some() => "lower `r` or `n_up_projection`",
        MethodConfig::Lora(_) => "lower `r`",
        MethodConfig::PrefixTuning(config) if config.flat => "lower `prefix_length`",
        MethodConfig::PrefixTuning(_) => "lower `prefix_length` or `bottleneck_size`",
        MethodConfig::PromptTuning(_) => "lower `prompt_length`",
        MethodConfig::Reft(_) => "lower `r`",
    }
}
