//! Merging adapters.

use std::collections::BTreeMap;

use burn_adapters_checkpoint::{AdapterFolder, FolderMeta, RawTensor};
use burn_adapters_config::{AdapterConfig, CompositionMode, LoraConfig, MethodConfig};

use crate::names::{Key, Parameters, bit_equal};
use crate::strategy::{Masks, random_mask};
use crate::{MergeError, Strategy, check, combine, svd};

/// Merges several adapters, each with a weight, into one. Inputs and result are folders; no model is needed.
///
/// All inputs must be for the same base model and have the same configuration, except for their names, settings that
/// only matter in training (dropout, initialization), LoRA's rank with [`Strategy::LoraDeltaWSvd`], and LoRA's `alpha`
/// with this strategy, TIES and DARE, where each adapter's factor `alpha / r` counts as part of its weight. The result
/// has the first adapter's configuration. After the decomposition it has the new rank, and the `alpha` that keeps the
/// first adapter's `alpha / r`. (The reference keeps `alpha` itself, so that the update grows or shrinks with the new
/// rank; the matrices are the same.)
///
/// A negative weight in [`Strategy::Linear`] does not subtract the update of a LoRA, because it multiplies both
/// matrices. The `notes` of the result report this.
///
/// The first three strategies ignore inputs of weight 0. If all weights but one are 0 and that one is 1,
/// [`Strategy::Linear`] returns its input bit for bit.
///
/// # Errors
/// If there are no inputs; if a weight is not finite, or weights to be normalized sum to 0; if a density or rank is out
/// of range; if the adapters differ in their base model, configuration or tensors; if the strategy cannot merge the
/// method.
pub fn merge_folders(
    inputs: &[(AdapterFolder, f64)],
    strategy: &Strategy,
    name: &str,
) -> Result<AdapterFolder, MergeError> {
    let random = |key: &Key, input: usize, count: usize| match *strategy {
        Strategy::DareLinear { density, seed } | Strategy::DareTies { density, seed, .. } => {
            random_mask(seed, density, key, input, count)
        }
        _ => vec![true; count],
    };
    merge_with_masks(inputs, strategy, name, &random)
}

pub(crate) fn merge_with_masks(
    inputs: &[(AdapterFolder, f64)],
    strategy: &Strategy,
    name: &str,
    masks: Masks,
) -> Result<AdapterFolder, MergeError> {
    strategy.check()?;
    let named = inputs.iter().map(|(folder, weight)| (folder.meta.name.as_str(), *weight));
    let weights = check::weights(named, strategy.normalizes())?;
    let Some((first, _)) = inputs.first() else {
        return Err(MergeError::NoInputs);
    };
    check::name(name)?;
    for (other, _) in &inputs[1..] {
        check::model(&first.meta, &other.meta)?;
        check::config(first, other, strategy)?;
    }
    // A copy needs no arithmetic that the method might not allow.
    let copied = matches!(strategy, Strategy::Linear { .. }) && alone(&weights);
    if !copied {
        check::methods(&first.config, strategy)?;
    }
    let parameters = inputs.iter().map(|(folder, _)| Parameters::new(&folder.meta.name, &folder.tensors));
    let parameters = parameters.collect::<Result<Vec<_>, _>>()?;
    same_keys(&parameters)?;
    let scale = Scale::of(inputs, strategy);
    let named = inputs.iter().map(|(folder, _)| folder.meta.name.as_str()).zip(weights.iter().copied());
    let canceled = if copied { Vec::new() } else { check::canceled_signs(&first.config, named, strategy) };
    let merging = Merging { strategy, config: &first.config, parameters: &parameters, weights, scale, masks };
    let mut values = BTreeMap::new();
    for key in parameters[0].by_key.keys() {
        if !values.contains_key(key) {
            merging.parameter(key, &mut values)?;
        }
    }
    for (key, tensor) in &values {
        finite(&parameters[0].path(key), name, tensor)?;
    }
    let config = merging.scale.config(&first.config, strategy);
    let mut merged = AdapterFolder::new(meta(inputs, name), config, parameters[0].rename(name, &values));
    let notes = inputs.iter().flat_map(|(folder, _)| folder.notes.iter().map(|note| (&folder.meta.name, note)));
    merged.notes = notes.map(|(name, note)| format!("{name}: {note}")).chain(canceled).collect();
    Ok(merged)
}

/// Whether one weight is 1, and all others are 0.
fn alone(weights: &[f64]) -> bool {
    let mut counting = weights.iter().filter(|weight| **weight != 0.0);
    counting.next() == Some(&1.0) && counting.next().is_none()
}

fn meta(inputs: &[(AdapterFolder, f64)], name: &str) -> FolderMeta {
    let first = FolderMeta {
        name: name.to_owned(),
        model_type: None,
        hidden_size: None,
        model_name: None,
        model_class: None,
        version: None,
    };
    inputs.iter().map(|(folder, _)| folder.meta.clone()).fold(first, |meta, other| FolderMeta {
        name: meta.name,
        model_type: meta.model_type.or(other.model_type),
        hidden_size: meta.hidden_size.or(other.hidden_size),
        model_name: meta.model_name.filter(|name| !name.is_empty()).or(other.model_name),
        model_class: meta.model_class.or(other.model_class),
        version: meta.version.or(other.version),
    })
}

fn same_keys(parameters: &[Parameters]) -> Result<(), MergeError> {
    let Some((first, others)) = parameters.split_first() else {
        return Ok(());
    };
    let missing = |key: &Key, with: &Parameters, without: &Parameters| {
        let (tensor, with, without) = (with.path(key), with.adapter.to_owned(), without.adapter.to_owned());
        Err(MergeError::Missing { tensor, with, without })
    };
    for other in others {
        if let Some(key) = first.by_key.keys().next().filter(|_| !first.is_beside(other)) {
            return missing(key, first, other);
        }
        if let Some(key) = first.by_key.keys().find(|key| !other.by_key.contains_key(key)) {
            return missing(key, first, other);
        }
        if let Some(key) = other.by_key.keys().find(|key| !first.by_key.contains_key(key)) {
            return missing(key, other, first);
        }
    }
    Ok(())
}

/// Returns an error if a tensor of this adapter holds infinities or NaN. The path is the one to report.
fn finite(path: &str, name: &str, tensor: &RawTensor) -> Result<(), MergeError> {
    if tensor.values.iter().all(|value| value.is_finite()) {
        return Ok(());
    }
    Err(MergeError::NotFinite { tensor: path.to_owned(), name: name.to_owned() })
}

/// LoRA's factors `alpha / r`.
struct Scale {
    /// The factor of the result.
    result: f64,
    /// The factors of the inputs, relative to that of the result: they go into the weights.
    relative: Vec<f64>,
}

impl Scale {
    fn of(inputs: &[(AdapterFolder, f64)], strategy: &Strategy) -> Self {
        let counts = strategy.sparsifies() || matches!(strategy, Strategy::LoraDeltaWSvd { .. });
        let of = |config: &AdapterConfig| match config.methods() {
            // A gate takes its place.
            [MethodConfig::Lora(config)]
                if counts && !config.use_gating && config.composition_mode == CompositionMode::Add && config.r > 0 =>
            {
                config.alpha / config.r as f64
            }
            _ => 1.0,
        };
        let scales: Vec<f64> = inputs.iter().map(|(folder, _)| of(&folder.config)).collect();
        let result = scales.first().copied().filter(|scale| *scale != 0.0).unwrap_or(1.0);
        Self { result, relative: scales.iter().map(|scale| scale / result).collect() }
    }

    fn config(&self, first: &AdapterConfig, strategy: &Strategy) -> AdapterConfig {
        match (first.methods(), strategy) {
            ([MethodConfig::Lora(config)], Strategy::LoraDeltaWSvd { rank, .. }) => {
                LoraConfig { r: *rank, alpha: self.result * *rank as f64, ..config.clone() }.into()
            }
            _ => first.clone(),
        }
    }
}

struct Merging<'a> {
    strategy: &'a Strategy,
    config: &'a AdapterConfig,
    parameters: &'a [Parameters<'a>],
    weights: Vec<f64>,
    scale: Scale,
    masks: Masks<'a>,
}

impl<'a> Merging<'a> {
    /// Merges a parameter, together with those that can only be merged with it.
    fn parameter(&self, key: &Key, values: &mut BTreeMap<Key, RawTensor>) -> Result<(), MergeError> {
        if let Strategy::LoraDeltaWSvd { rank, .. } = *self.strategy
            && key.container == "loras"
            && matches!(key.local.as_str(), "lora_A" | "lora_B")
        {
            return self.decompose(key, rank, values);
        }
        let tensors = self.tensors(key);
        let first = tensors[0];
        for (input, tensor) in tensors.iter().enumerate() {
            self.same_shape(key, input, &first.shape, &tensor.shape)?;
            if self.counts(input) {
                self.finite(key, input, tensor)?;
            }
        }
        let merged = if self.is_frozen(key) { self.frozen(key, &tensors)? } else { self.combined(key, &tensors) };
        values.insert(key.clone(), RawTensor { shape: first.shape.clone(), values: merged });
        Ok(())
    }

    /// Whether an input contributes to the result.
    fn counts(&self, input: usize) -> bool {
        self.strategy.sparsifies() || self.weights[input] != 0.0
    }

    fn tensors(&self, key: &Key) -> Vec<&'a RawTensor> {
        self.parameters.iter().filter_map(|parameters| parameters.by_key.get(key).copied()).collect()
    }

    fn path(&self, key: &Key) -> String {
        self.parameters[0].path(key)
    }

    fn finite(&self, key: &Key, input: usize, tensor: &RawTensor) -> Result<(), MergeError> {
        finite(&self.parameters[input].path(key), self.parameters[input].adapter, tensor)
    }

    fn same_shape(&self, key: &Key, input: usize, first: &[usize], other: &[usize]) -> Result<(), MergeError> {
        if first == other {
            return Ok(());
        }
        Err(MergeError::Shape {
            tensor: self.path(key),
            first: self.parameters[0].adapter.to_owned(),
            other: self.parameters[input].adapter.to_owned(),
            in_first: first.to_vec(),
            in_other: other.to_vec(),
        })
    }

    /// Whether a parameter is random and not trained.
    fn is_frozen(&self, key: &Key) -> bool {
        let last = key.local.rsplit('.').next().unwrap_or_default();
        self.config.methods().iter().any(|method| match method {
            MethodConfig::Lora(config) => {
                check::is_vera(config)
                    && key.container == "shared_parameters"
                    && matches!(key.local.as_str(), "lora_A" | "lora_B")
            }
            MethodConfig::Bottleneck(config) => config.phm_layer && !config.learn_phm && last.starts_with("phm_rule"),
            _ => false,
        })
    }

    /// A frozen parameter, which must be the same in all inputs.
    fn frozen(&self, key: &Key, tensors: &[&RawTensor]) -> Result<Vec<f32>, MergeError> {
        let mut counting = tensors.iter().enumerate().filter(|(input, _)| self.counts(*input));
        let Some((first, tensor)) = counting.next() else {
            return Ok(tensors[0].values.clone());
        };
        match counting.find(|(_, other)| !bit_equal(tensor, other)) {
            None => Ok(tensor.values.clone()),
            Some((other, _)) => Err(MergeError::Frozen {
                tensor: self.path(key),
                first: self.parameters[first].adapter.to_owned(),
                other: self.parameters[other].adapter.to_owned(),
            }),
        }
    }

    fn combined(&self, key: &Key, tensors: &[&RawTensor]) -> Vec<f32> {
        let values: Vec<&[f32]> = tensors.iter().map(|tensor| tensor.values.as_slice()).collect();
        match *self.strategy {
            Strategy::LoraLinearOnlyNegateB { .. } if self.factor(key) == Some(Factor::A) => {
                let weights: Vec<f64> = self.weights.iter().map(|weight| weight.abs()).collect();
                combine::linear(&values, &weights)
            }
            Strategy::Linear { .. } | Strategy::LoraLinearOnlyNegateB { .. } | Strategy::LoraDeltaWSvd { .. } => {
                combine::linear(&values, &self.weights)
            }
            Strategy::Ties { density, majority_sign } => {
                let trim = |_: usize, task: &mut Vec<f64>| combine::trim(task, density);
                self.sparse(key, &values, trim, |tasks, weights| combine::elect(tasks, weights, majority_sign))
            }
            Strategy::DareLinear { density, .. } => {
                self.sparse(key, &values, |input, task| self.drop(key, input, task, density), combine::sum)
            }
            Strategy::DareTies { density, majority_sign, .. } => {
                let drop = |input: usize, task: &mut Vec<f64>| self.drop(key, input, task, density);
                self.sparse(key, &values, drop, |tasks, weights| combine::elect(tasks, weights, majority_sign))
            }
        }
    }

    fn drop(&self, key: &Key, input: usize, task: &mut [f64], density: f64) {
        let mask = (self.masks)(key, input, task.len());
        combine::drop_and_rescale(task, &mask, density);
    }

    /// Sparsifies the task vectors, combines them, and adds the values before training.
    fn sparse(
        &self,
        key: &Key,
        values: &[&[f32]],
        sparsify: impl Fn(usize, &mut Vec<f64>),
        combine: impl Fn(&[Vec<f64>], &[f64]) -> Vec<f64>,
    ) -> Vec<f32> {
        let start = self.start(key);
        let mut tasks: Vec<Vec<f64>> =
            values.iter().map(|values| values.iter().map(|value| f64::from(*value) - start).collect()).collect();
        for (input, task) in tasks.iter_mut().enumerate() {
            sparsify(input, task);
        }
        let combined = combine(&tasks, &self.factor_weights(key));
        combined.into_iter().map(|value| (value + start) as f32).collect()
    }

    /// A parameter's value before training: 1 if it is multiplicative, otherwise (about) 0.
    fn start(&self, key: &Key) -> f64 {
        let one = match (key.container, key.local.as_str()) {
            ("loras", "lora_B") => self.factor(key).is_none(),
            ("loras", local) => matches!(local, "task_specific.values" | "weights"),
            ("adapters", local) => {
                matches!(local, "adapter_norm_before.weight" | "adapter_norm_after.weight" | "scaling")
            }
            _ => false,
        };
        if one { 1.0 } else { 0.0 }
    }

    /// Which of LoRA's factors a parameter is; (IA)³ has a `lora_B` without a `lora_A`.
    fn factor(&self, key: &Key) -> Option<Factor> {
        let has = |local| self.parameters[0].by_key.contains_key(&key.sibling(local));
        match key.local.as_str() {
            "lora_A" if key.container == "loras" && has("lora_B") => Some(Factor::A),
            "lora_B" if key.container == "loras" && has("lora_A") => Some(Factor::B),
            _ => None,
        }
    }

    /// The weights of the task vectors. Those of LoRA's factors are chosen so that their product has the adapter's weight
    /// and factor, as in PEFT.
    fn factor_weights(&self, key: &Key) -> Vec<f64> {
        let scaled = self.weights.iter().zip(&self.scale.relative).map(|(weight, scale)| weight * scale);
        match self.factor(key) {
            Some(Factor::A) => scaled.map(|weight| weight.abs().sqrt().copysign(weight)).collect(),
            Some(Factor::B) => scaled.map(|weight| weight.abs().sqrt()).collect(),
            None => self.weights.clone(),
        }
    }

    fn decompose(&self, key: &Key, rank: usize, values: &mut BTreeMap<Key, RawTensor>) -> Result<(), MergeError> {
        let (key_a, key_b) = (key.sibling("lora_A"), key.sibling("lora_B"));
        let mut updates = Vec::with_capacity(self.parameters.len());
        let mut shape = None;
        for (input, parameters) in self.parameters.iter().enumerate() {
            let find = |wanted: &Key| {
                let missing = || MergeError::Missing {
                    tensor: self.path(wanted),
                    with: "LoRA".to_owned(),
                    without: parameters.adapter.to_owned(),
                };
                parameters.by_key.get(wanted).copied().ok_or_else(missing)
            };
            let (a, b) = (find(&key_a)?, find(&key_b)?);
            let (&[rank, columns], &[rows, rank_of_b]) = (a.shape.as_slice(), b.shape.as_slice()) else {
                return Err(malformed(&key_a, parameters, a, "a matrix, and one for lora_B"));
            };
            if rank != rank_of_b {
                return Err(malformed(&key_b, parameters, b, format!("{rank} columns, as lora_A has rows")));
            }
            let [first_rows, first_columns] = *shape.get_or_insert([rows, columns]);
            self.same_shape(&key_a, input, &[rank, first_columns], &a.shape)?;
            self.same_shape(&key_b, input, &[first_rows, rank], &b.shape)?;
            if self.counts(input) {
                self.finite(&key_a, input, a)?;
                self.finite(&key_b, input, b)?;
                updates.push(svd::Update { weight: self.weights[input] * self.scale.relative[input], b, a, rank });
            }
        }
        let [rows, columns] = shape.unwrap_or_default();
        let module = || {
            let path = self.path(key);
            path.rsplit_once(".loras.").map_or(path.clone(), |(module, _)| module.to_owned())
        };
        if rank > rows.min(columns) {
            return Err(MergeError::Rank { rank, module: module(), rows, columns });
        }
        let (b, a) =
            svd::nearest(&updates, [rows, columns], rank).ok_or_else(|| MergeError::Svd { module: module() })?;
        values.insert(key_a, a);
        values.insert(key_b, b);
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Factor {
    A,
    B,
}

fn malformed(key: &Key, of: &Parameters, tensor: &RawTensor, expected: impl Into<String>) -> MergeError {
    MergeError::Malformed {
        tensor: of.path(key),
        name: of.adapter.to_owned(),
        found: tensor.shape.clone(),
        expected: expected.into(),
    }
}
