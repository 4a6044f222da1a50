//! Checks that training can change an adapter.

use burn_adapters_config::{LoraConfig, MethodConfig, Scaling};
use burn_adapters_core::ModelSpec;

use crate::{Adapter, BankError, Setup};

/// Refuses an adapter that no gradient can reach: all of its layers are skipped, or its output is multiplied by 0.
pub(crate) fn check(adapter: &Adapter, setup: &Setup, spec: &ModelSpec) -> Result<(), BankError> {
    let beside_layers = adapter.prompt.is_some() || adapter.invertible.is_some();
    let skipped = adapter.sites().all(|site| setup.skip_layers.contains(&spec.layer_number(site)));
    if skipped && !beside_layers {
        let reason = "skip_layers names every layer that it acts in: leave at least one of them".into();
        return Err(BankError::CannotLearn { name: adapter.name().to_owned(), reason });
    }
    let reasons: Option<Vec<&str>> = adapter.config().methods().iter().map(zeroed).collect();
    match reasons.as_deref() {
        Some([reason, ..]) => {
            let reason = format!("{reason}, so that its output is multiplied by 0: choose another value");
            Err(BankError::CannotLearn { name: adapter.name().to_owned(), reason })
        }
        _ => Ok(()),
    }
}

/// The attribute that multiplies a method's output by 0.
fn zeroed(method: &MethodConfig) -> Option<&'static str> {
    match method {
        MethodConfig::Lora(LoraConfig { use_gating: true, .. } | LoraConfig { use_dora: true, .. }) => None,
        MethodConfig::Lora(config) if config.alpha == 0.0 => Some("alpha is 0"),
        MethodConfig::Lora(config) if config.dropout >= 1.0 => Some("dropout is 1"),
        MethodConfig::Bottleneck(config) if config.use_gating || config.inv_adapter.is_some() => None,
        MethodConfig::Bottleneck(config) if config.scaling == Scaling::Constant(0.0) => Some("scaling is 0"),
        _ => None,
    }
}
