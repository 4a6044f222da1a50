//! How the Python library reads the configurations that this crate writes.
//!
//! Its dictionary of ReFT lacks `subtract_projection`: the key is not a field of the class, and is lost whenever the
//! library copies a configuration, as it does when an adapter is added. A dictionary of DiReFT is therefore read as
//! NoReFT, which computes something else. The *class* that a configuration string names survives: `direft[r=2]` stays
//! DiReFT. This crate therefore writes the string for an adapter of this one method. Members of a union are always copied
//! as dictionaries.

use burn_adapters_config::{AdapterConfig, InvertibleKind, LoraBias, MethodConfig, TaskMatrix};
use burn_adapters_fusion::FusionConfig;
use serde_json::Value;

/// The value of `config` in the file: the dictionary, or the string where a dictionary would lose its meaning.
pub(crate) fn config_value(config: &AdapterConfig) -> Value {
    match config.methods() {
        [method] if is_direft(method) => Value::String(config.to_string()),
        _ => config.to_json_value(),
    }
}

/// Notes on what the Python library reads differently or cannot read.
pub(crate) fn notes(config: &AdapterConfig) -> Vec<String> {
    let mut notes = Vec::new();
    let is_union = config.methods().len() > 1;
    for method in config.methods() {
        notes.extend(crash(method).map(|what| format!("the Python library cannot run this adapter: {what}")));
        if matches!(method, MethodConfig::Lora(config) if config.bias != LoraBias::None) {
            notes.push(
                "the Python library ignores the biases that this adapter trains (`bias`), which it does not have; PEFT has \
                 them (`export --to peft`)"
                    .to_owned(),
            );
        }
        if adapts_more(method) {
            notes.push(
                "the Python library ignores this adapter's LoRA on the output of attention and on gates, which it does not \
                 have; PEFT has both (`export --to peft`)"
                    .to_owned(),
            );
        }
        if is_union && is_direft(method) {
            notes.push(
                "the Python library reads this adapter's DiReFT as NoReFT, which computes other results: within a union it \
                 forgets `subtract_projection=False`; here it is read as it is"
                    .to_owned(),
            );
        }
    }
    notes
}

/// As [`notes`], for a fusion.
pub(crate) fn fusion_notes(config: &FusionConfig, cooled: Option<f64>) -> Vec<String> {
    let note = cooled.filter(|_| config.temperature).map(|temperature| {
        format!(
            "the Python library does not read the temperature that the softmax has cooled to ({temperature}): there it \
             starts hot again, which computes other results"
        )
    });
    note.into_iter().collect()
}

/// The reason why `adapters` 1.3.0 raises an error on this method.
fn crash(method: &MethodConfig) -> Option<&'static str> {
    match method {
        MethodConfig::Bottleneck(config) if config.inv_adapter == Some(InvertibleKind::Glow) => {
            Some("its GLOW coupling blocks fail")
        }
        MethodConfig::Bottleneck(config) if config.phm_layer && config.shared_w_phm && !config.factorized_phm_w => {
            Some("it fails on `shared_W_phm=True` with `factorized_phm_W=False`")
        }
        MethodConfig::Lora(config) => match &config.mtl {
            Some(mtl) if mtl.task_specific_matrix_type == TaskMatrix::Linear => {
                Some("it fails on `task_specific_matrix_type='linear'`")
            }
            None if config.vera_d.is_some() && (config.intermediate_lora || config.output_lora) => {
                Some("it fails on VeRA at matrices of several sizes")
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether a method adapts matrices that the library does not.
fn adapts_more(method: &MethodConfig) -> bool {
    let MethodConfig::Lora(config) = method else { return false };
    config.gate_lora || config.selfattn_lora && config.attn_matrices.iter().any(|name| name == "o")
}

fn is_direft(method: &MethodConfig) -> bool {
    matches!(method, MethodConfig::Reft(config) if !config.subtract_projection)
}
