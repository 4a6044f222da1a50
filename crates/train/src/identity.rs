//! The identity of training: a checkpoint must not be resumed by different training.

use std::collections::BTreeMap;

use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup};

use crate::evaluate::to_vec;
use crate::heads::heads_of;
use crate::history::rounded;
use crate::{TokenData, TrainConfig, TrainError};

/// The settings of training, by name: every option that changes the result, the data, the model, the adapter and the
/// head.
pub(crate) fn made_with(
    config: &TrainConfig,
    bank: &AdapterBank,
    setup: &Setup,
    train: &TokenData,
    evaluation: Option<&TokenData>,
) -> Result<BTreeMap<String, String>, TrainError> {
    let mut parts = options(config);
    let spec = bank.spec();
    let layers = spec.layers();
    parts.insert("model".into(), format!("{}, hidden size {}, {layers} layers", spec.model_type, spec.hidden_size));
    let adapters = setup.adapter_names();
    for name in &adapters {
        // A single adapter is `adapter`; several have their names.
        let key = if adapters.len() == 1 { "adapter".to_owned() } else { format!("adapter {name}") };
        parts.insert(key, format!("{name}: {}", bank.adapter(name)?.config()));
    }
    let heads = heads_of(bank, setup)?;
    for name in &heads {
        let key = if heads.len() == 1 { "head".to_owned() } else { format!("head {name}") };
        parts.insert(key, format!("{name}: {}", bank.head(name)?.config().to_json_value()));
    }
    for name in setup.fusion_names() {
        parts.insert(format!("fusion {name}"), bank.fusion(&name)?.config().to_string());
    }
    parts.insert("setup".into(), format!("{setup:?}"));
    if let Some(beta) = train.beta() {
        parts.insert("beta".into(), beta.to_string());
    }
    parts.insert("training data".into(), fingerprint(train));
    parts.insert("evaluation data".into(), evaluation.map_or("none".into(), fingerprint));
    Ok(parts)
}

/// The options that change the result.
fn options(config: &TrainConfig) -> BTreeMap<String, String> {
    const NO_MATTER: [&str; 5] = ["checkpoints", "keep_checkpoints", "resume", "finished", "evaluation_batch_size"];
    let value = serde_json::to_value(config).unwrap_or_default();
    value
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !NO_MATTER.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect()
}

/// A checksum that almost surely differs between different data. It does not protect against manipulation.
fn fingerprint(data: &TokenData) -> String {
    let mut hash = Fnv::new();
    for row in data.rows().iter().chain(&data.language.targets) {
        hash.add(row.ids.len() as u64);
        row.ids.iter().chain(&row.token_type_ids).for_each(|id| hash.add(u64::from(*id)));
    }
    for labels in data.all_labels() {
        labels.for_each_bits(|bits| hash.add(bits));
    }
    format!("{} examples ({:016x})", data.len(), hash.value())
}

/// The Fowler–Noll–Vo hash (FNV-1a).
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }

    pub(crate) fn add(&mut self, value: u64) {
        for byte in value.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        }
    }
}

/// A value that differs between base models of one shape: the mean magnitude of the model's output, without adapters,
/// for a text.
pub(crate) fn base_probe(model: &(impl BaseModel + ?Sized), train: &TokenData) -> Result<f64, TrainError> {
    let output = model.forward(&train.batch(model, &[0]), &Hooks::none())?;
    let values = to_vec(output.hidden.without_autodiff())?;
    let weighted = values.iter().enumerate().map(|(index, value)| f64::from(value.abs()) * (1.0 + (index % 7) as f64));
    Ok(rounded(weighted.sum::<f64>() / values.len().max(1) as f64))
}

/// Whether two probes are of the same model; other devices round differently.
pub(crate) fn same_base(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-3 * one.abs().max(other.abs())
}
