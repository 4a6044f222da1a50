//! Checks that adapters can be merged, and by the given strategy.

use burn_adapters_checkpoint::{AdapterFolder, FolderMeta};
use burn_adapters_config::{
    AdapterConfig, BottleneckConfig, CompositionMode, LoraBias, LoraConfig, MethodConfig, PrefixTuningConfig,
    PromptTuningConfig, ReftConfig,
};
use serde_json::{Map, Value};

use crate::{MergeError, Strategy};

/// Checks the name of the merged adapter, which becomes part of its parameters' paths.
pub(crate) fn name(name: &str) -> Result<(), MergeError> {
    if name.is_empty() || name.contains('.') || name.chars().any(char::is_control) {
        return Err(MergeError::BadName { name: name.to_owned() });
    }
    Ok(())
}

/// The weights, divided by their sum if the strategy normalizes.
pub(crate) fn weights<'a>(
    inputs: impl Iterator<Item = (&'a str, f64)> + Clone,
    normalize: bool,
) -> Result<Vec<f64>, MergeError> {
    if inputs.clone().next().is_none() {
        return Err(MergeError::NoInputs);
    }
    if let Some((name, weight)) = inputs.clone().find(|(_, weight)| !weight.is_finite()) {
        return Err(MergeError::Weight { name: name.to_owned(), weight });
    }
    let weights = inputs.map(|(_, weight)| weight);
    if !normalize {
        return Ok(weights.collect());
    }
    let sum: f64 = weights.clone().sum();
    let size: f64 = weights.clone().map(f64::abs).sum();
    // The sum of weights that cancel is only rounding error.
    if !sum.is_finite() || sum.abs() <= 1e-12 * size {
        return Err(MergeError::WeightSum { sum });
    }
    Ok(weights.map(|weight| weight / sum).collect())
}

/// Checks that both are for the same base model. A value that a folder lacks matches any other.
pub(crate) fn model(first: &FolderMeta, other: &FolderMeta) -> Result<(), MergeError> {
    let differ = |what, a: Option<String>, b: Option<String>| match (a, b) {
        (Some(in_first), Some(in_other)) if in_first != in_other => {
            let (first, other) = (first.name.clone(), other.name.clone());
            Err(MergeError::Model { first, other, what, in_first, in_other })
        }
        _ => Ok(()),
    };
    let size = |meta: &FolderMeta| meta.hidden_size.map(|size| size.to_string());
    differ("the model type", first.model_type.clone(), other.model_type.clone())?;
    differ("the hidden size", size(first), size(other))?;
    differ("the model", model_name(first), model_name(other))
}

/// The last part of the model's name: many models have moved into organizations, and some are folders.
fn model_name(meta: &FolderMeta) -> Option<String> {
    let name = meta.model_name.as_deref()?.trim_end_matches(['/', '\\']);
    let last = name.rsplit(['/', '\\']).next()?;
    (!last.is_empty()).then(|| last.to_owned())
}

/// Checks that both adapters have the same configuration, except for settings that only matter in training or that the
/// strategy allows to differ.
pub(crate) fn config(first: &AdapterFolder, other: &AdapterFolder, strategy: &Strategy) -> Result<(), MergeError> {
    let configs = [&first.config, &other.config].map(|config| essence(config, strategy));
    if configs[0] == configs[1] {
        return Ok(());
    }
    let differences = differences(&configs[0], &configs[1]);
    Err(MergeError::Config { first: first.meta.name.clone(), other: other.meta.name.clone(), differences })
}

/// The settings that must be equal.
fn essence(config: &AdapterConfig, strategy: &Strategy) -> Vec<MethodConfig> {
    let single = config.methods().len() == 1;
    config.methods().iter().cloned().map(|method| essence_of(method, strategy, single)).collect()
}

fn essence_of(mut method: MethodConfig, strategy: &Strategy, single: bool) -> MethodConfig {
    match &mut method {
        MethodConfig::Bottleneck(config) => {
            let default = BottleneckConfig::seq_bn();
            config.dropout = default.dropout;
            config.stochastic_depth = default.stochastic_depth;
            config.init_weights = default.init_weights;
            config.init_weights_seed = None;
            config.phm_c_init = default.phm_c_init;
            config.phm_init_range = default.phm_init_range;
            config.hypercomplex_nonlinearity = default.hypercomplex_nonlinearity;
        }
        MethodConfig::Lora(config) => {
            let default = LoraConfig::lora();
            config.dropout = default.dropout;
            config.init_weights = default.init_weights;
            config.init_weights_seed = None;
            if matches!(strategy, Strategy::LoraDeltaWSvd { .. }) {
                config.r = default.r;
            }
            // These strategies put each adapter's factor into its weight.
            if single && (strategy.sparsifies() || matches!(strategy, Strategy::LoraDeltaWSvd { .. })) && adds(config) {
                config.alpha = default.alpha;
            }
        }
        MethodConfig::PrefixTuning(config) => {
            config.dropout = PrefixTuningConfig::prefix_tuning().dropout;
            config.init_weights_seed = None;
        }
        MethodConfig::PromptTuning(config) => {
            let PromptTuningConfig { prompt_length, combine, .. } = *config;
            *config = PromptTuningConfig::prompt_tuning().with_prompt_length(prompt_length).with_combine(combine);
        }
        MethodConfig::Reft(config) => {
            config.dropout = ReftConfig::loreft().dropout;
            config.init_weights_seed = None;
        }
    }
    method
}

fn adds(config: &LoraConfig) -> bool {
    config.composition_mode == CompositionMode::Add
}

fn differences(first: &[MethodConfig], other: &[MethodConfig]) -> Vec<String> {
    let names = |methods: &[MethodConfig]| methods.iter().map(ToString::to_string).collect::<Vec<_>>().join("|");
    let whole = || vec![format!("`{}` and `{}`", names(first), names(other))];
    if first.len() != other.len() {
        return whole();
    }
    let mut found = Vec::new();
    for (first, other) in first.iter().zip(other) {
        let (Value::Object(a), Value::Object(b)) = (first.to_json_value(), other.to_json_value()) else {
            continue;
        };
        if first.kind() != other.kind() || a.len() != b.len() {
            return whole();
        }
        found.extend(json_differences(&a, &b));
    }
    if found.is_empty() { whole() } else { found }
}

/// The differences between two dictionaries with the same keys, in words.
pub(crate) fn json_differences(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<String> {
    let differing = a.iter().filter(|(key, value)| b.get(*key) != Some(value));
    let words = |(key, value): (&String, &Value)| {
        let other = b.get(key).map_or_else(|| "absent".to_owned(), Value::to_string);
        format!("`{key}` is {value} and {other}")
    };
    differing.map(words).collect()
}

/// Notes on negative weights that multiply both factors of a product, so that the sign cancels.
pub(crate) fn canceled_signs<'a>(
    config: &AdapterConfig,
    inputs: impl Iterator<Item = (&'a str, f64)>,
    strategy: &Strategy,
) -> Vec<String> {
    let product = config.methods().iter().find_map(|method| match method {
        MethodConfig::Lora(config) if is_vera(config) => Some("both of VeRA's vectors, `d` and `b`"),
        MethodConfig::Lora(config) if adds(config) => Some("both of LoRA's matrices, `A` and `B`"),
        _ => None,
    });
    let (Strategy::Linear { .. }, Some(factors)) = (strategy, product) else { return Vec::new() };
    let instead = match config.methods() {
        [MethodConfig::Lora(config)]
            if lora(config, &Strategy::LoraDeltaWSvd { rank: 1, normalize: false }, true).is_ok() =>
        {
            ": `lora_delta_w_svd` subtracts its update, and `lora_linear_only_negate_b` negates `B` alone"
        }
        _ => ", and no strategy subtracts it for this method",
    };
    let note = |(name, weight): (&str, f64)| {
        format!(
            "`{name}` has the negative weight {weight}, but `linear` multiplies {factors}, by it. The signs cancel in \
             their product: the update of `{name}` is added with the factor {:.3}, not subtracted{instead}",
            weight * weight
        )
    };
    inputs.filter(|(_, weight)| *weight < 0.0).map(note).collect()
}

/// Checks that the strategy can merge the configured methods.
pub(crate) fn methods(config: &AdapterConfig, strategy: &Strategy) -> Result<(), MergeError> {
    let lora_only = matches!(strategy, Strategy::LoraLinearOnlyNegateB { .. } | Strategy::LoraDeltaWSvd { .. });
    if lora_only && config.methods().len() > 1 {
        return Err(unsupported(strategy, "a union", "it is for LoRA only; use `linear`"));
    }
    config.methods().iter().try_for_each(|method| self::method(method, strategy, lora_only))
}

fn method(method: &MethodConfig, strategy: &Strategy, lora_only: bool) -> Result<(), MergeError> {
    let refuse = |method, reason| Err(unsupported(strategy, method, reason));
    match method {
        MethodConfig::Lora(config) => lora(config, strategy, lora_only),
        MethodConfig::Reft(config) if config.orthogonality => refuse(
            "LoReFT",
            "its projections are stored as Householder vectors and signs that start from a random rotation of each \
             adapter's own, and combining those entry by entry gives no projection with orthonormal rows; train \
             `noreft` or `direft` to merge them, or average the adapters' outputs with `Average`",
        ),
        _ if lora_only => refuse("other methods than LoRA", "they have no matrices A and B; use `linear`"),
        _ => Ok(()),
    }
}

fn lora(config: &LoraConfig, strategy: &Strategy, lora_only: bool) -> Result<(), MergeError> {
    let refuse = |method, reason| Err(unsupported(strategy, method, reason));
    if matches!(strategy, Strategy::Linear { .. }) {
        return Ok(());
    }
    if is_vera(config) {
        return refuse("VeRA", "its matrices are frozen and shared by all layers; use `linear`");
    }
    if config.use_dora {
        return refuse(
            "DoRA",
            "its magnitudes start at the norms of the base model's weights, which are not in the folder; use `linear`",
        );
    }
    if config.bias != LoraBias::None {
        return refuse("LoRA with a trained bias", "the bias is not a part of B A; use `linear`");
    }
    if lora_only && config.mtl.is_some() {
        return refuse("MTL-LoRA", "its update is not just B A; use `linear`");
    }
    if lora_only && config.use_gating {
        return refuse("LoRA with gates", "its update is not just B A; use `linear`");
    }
    if matches!(strategy, Strategy::LoraDeltaWSvd { .. }) && !adds(config) {
        return refuse("(IA)³", "its vectors are not low-rank matrices; use `linear`");
    }
    Ok(())
}

pub(crate) fn is_vera(config: &LoraConfig) -> bool {
    config.vera_d.is_some() || config.vera_b.is_some()
}

fn unsupported(strategy: &Strategy, method: &'static str, reason: &'static str) -> MergeError {
    MergeError::Unsupported { strategy: strategy.name(), method, reason }
}
