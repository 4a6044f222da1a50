//! Adapters of other libraries as ours: a configuration, and values for the parameters.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, TensorData};
use burn_adapters_config::{AdapterConfig, LoraBias, LoraConfig};
use burn_adapters_core::{ModelSpec, Place, Site, StackSpec};
use burn_adapters_model::{Adapter, AdapterBank};
use burn_adapters_tensors::{fill, parameters};

use crate::CheckpointError;
use crate::updates::Update;

/// An adapter of another library as one of ours.
pub(crate) struct Converted {
    pub(crate) config: AdapterConfig,
    /// The parameters by their paths in [`Adapter`].
    pub(crate) values: BTreeMap<String, Vec<f32>>,
    /// The value with which a parameter that the file lacks changes nothing.
    pub(crate) neutral: fn(&str) -> Option<f32>,
}

impl Converted {
    /// LoRA, or DoRA if the updates have magnitudes.
    ///
    /// # Errors
    /// The reason why ours is not the same.
    pub(crate) fn of_updates(updates: &[Update], dropout: f64, spec: &ModelSpec) -> Result<Self, String> {
        let is_dora = updates.iter().any(|update| update.magnitude.is_some());
        // One factor for all; what is left of the others is multiplied into `B`. That of DoRA is 1, because AdapterHub's has
        // its update without the factor in the norm.
        let factor = match is_dora {
            true => 1.0,
            false => updates
                .iter()
                .filter(|update| update.has_factor())
                .map(|update| update.factor)
                .fold(f64::NEG_INFINITY, f64::max),
        };
        if updates.is_empty() {
            return Err("all its elements are 0: it changes nothing, and cannot be trained".to_owned());
        }
        if updates.iter().all(|update| update.factor == 0.0) || factor == 0.0 || !factor.is_finite() {
            return Err("its factor is 0: it changes nothing".to_owned());
        }
        let rank = updates.iter().map(|update| update.rank).max().unwrap_or(1).max(1);
        let bias = updates.iter().find_map(|update| Some(update.bias.as_ref()?.kind)).unwrap_or(LoraBias::None);
        let mut values = BTreeMap::new();
        for update in updates {
            let site = update.site;
            if is_dora && spec.has_bias(site) {
                return Err(format!(
                    "the matrix at {site} has a bias, which DoRA scales in AdapterHub and does not scale elsewhere; merge it into \
                     its model, and use that"
                ));
            }
            let [a, b] = update.padded(rank, (update.factor / factor) as f32);
            values.insert(parameter("lora", site, "a"), a);
            values.insert(parameter("lora", site, "b"), b);
            if let Some(magnitude) = &update.magnitude {
                values.insert(parameter("lora", site, "magnitude.vector"), magnitude.clone());
            }
            if let Some(found) = &update.bias {
                if found.kind != bias {
                    return Err("only some of the matrices whose updates have a bias have a trained bias of their own"
                        .to_owned());
                }
                let own = if bias == LoraBias::Update { (update.factor / factor) as f32 } else { 1.0 };
                let vector = found.values.iter().map(|value| value * own).collect();
                values.insert(parameter("lora", site, "bias.vector"), vector);
            }
        }
        let alpha = factor * rank as f64;
        let config = LoraConfig { r: rank, alpha, dropout, use_dora: is_dora, bias, ..LoraConfig::lora() };
        let sites = updates.iter().map(|update| update.site).collect();
        // An update of zero; a missing magnitude, or bias of the model, has no neutral value.
        let neutral = match bias {
            LoraBias::Update => |_: &str| Some(0.0),
            LoraBias::None | LoraBias::Base => |path: &str| (!path.ends_with("vector")).then_some(0.0),
        };
        Ok(Self { config: selecting(config, &sites, spec).into(), values, neutral })
    }

    /// Builds the adapter; with notes.
    ///
    /// # Errors
    /// If the configuration does not fit the model, or the values do not fit the configuration, for a reason that `wrong` turns
    /// into an error.
    pub(crate) fn build(
        self,
        spec: &ModelSpec,
        device: &Device,
        name: &str,
        wrong: impl Fn(String) -> CheckpointError,
    ) -> Result<(Adapter, Vec<String>), CheckpointError> {
        let Self { config, mut values, neutral } = self;
        let (adapter, added) = AdapterBank::new(spec.clone(), device).plan(name, config)?;
        let mut missing = 0;
        for parameter in parameters(&adapter) {
            let count = parameter.shape.iter().product();
            if let Some(found) = values.get(&parameter.path) {
                if found.len() != count {
                    let (path, shape) = (parameter.path, parameter.shape);
                    return Err(wrong(format!("`{path}` has {} elements, expected the shape {shape:?}", found.len())));
                }
                continue;
            }
            let value = neutral(&parameter.path).ok_or_else(|| {
                wrong(format!(
                    "only some layers have `{}`, and AdapterHub's method adapts the same matrices in each layer",
                    parameter.path
                ))
            })?;
            missing += 1;
            values.insert(parameter.path, vec![value; count]);
        }
        let mut adapter = fill(adapter, |path, shape| Some(TensorData::new(values.remove(&path.to_string())?, shape)));
        if let Some(path) = values.keys().next() {
            return Err(wrong(format!("the adapter has no place for `{path}`")));
        }
        adapter.mark_loaded();
        let note = (missing > 0).then(|| {
            "some matrices that it does not adapt have an adapter that changes nothing: AdapterHub's method adapts the same in \
             each layer"
                .to_owned()
        });
        Ok((adapter, note.into_iter().chain(added.notes).collect()))
    }
}

/// The path of a module's parameter in [`Adapter`].
pub(crate) fn parameter(field: &str, site: Site, local: &str) -> String {
    format!("{field}.{}.{local}", site.key())
}

/// A configuration that adapts these sites, and others only where AdapterHub cannot leave them out: it adapts the same
/// matrices in each layer.
pub(crate) fn selecting(config: LoraConfig, sites: &BTreeSet<Site>, spec: &ModelSpec) -> LoraConfig {
    let named = |letter: &str| sites.iter().any(|site| site.place.matrix_letter() == Some(letter));
    let letters = ["q", "k", "v", "o"].into_iter().filter(|letter| named(letter));
    let attn_matrices: Vec<String> = letters.map(str::to_owned).collect();
    let at = |place: &dyn Fn(&StackSpec) -> Place| {
        sites.iter().any(|site| spec.stack(site.stack).is_some_and(|stack| place(stack) == site.place))
    };
    let numbers: BTreeSet<usize> = sites.iter().map(|site| spec.layer_number(*site)).collect();
    LoraConfig {
        leave_out: (0..spec.layer_numbers()).filter(|number| !numbers.contains(number)).collect(),
        selfattn_lora: !attn_matrices.is_empty(),
        attn_matrices,
        intermediate_lora: at(&|stack| stack.intermediate),
        output_lora: at(&|stack| stack.output),
        gate_lora: at(&|_| Place::FeedForwardGate),
        ..config
    }
}
