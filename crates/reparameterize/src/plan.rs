//! From the selected parameters to the updates that are attached to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, Param, Reparameterization};
use burn::tensor::Tensor;
use burn_adapters_config::{AdapterConfig, LoraConfig};
use burn_adapters_core::Init;
use burn_adapters_lora::VeraShared;

use crate::attach::{Adapted, bias_path};
use crate::slot::About;
use crate::slot::Frozen;
use crate::survey::{Found, survey};
use crate::update::Kind;
use crate::{AdaptedParameter, AddReport, ParamAdapters, SkipReason, Skipped, Targets, Update, WeightAdapterError};

/// An adapter that fits a module but is not attached yet.
pub(crate) struct Plan {
    name: String,
    config: LoraConfig,
    survey: Vec<Found>,
    skipped: Vec<Skipped>,
    pub(crate) places: Vec<Place>,
    /// VeRA's frozen matrices, on the plain device.
    pub(crate) shared: Option<VeraShared>,
}

/// A matrix of the adapter.
pub(crate) struct Place {
    pub(crate) path: String,
    shape: [usize; 2],
    weight: Param<Tensor<2>>,
    bias: Option<String>,
    pub(crate) update: Update,
}

impl Plan {
    pub(crate) fn new<M: Module>(
        module: &M,
        name: &str,
        targets: &Targets,
        config: &LoraConfig,
        init: &mut Init,
    ) -> Result<Self, WeightAdapterError> {
        AdapterConfig::from(config.clone()).validate()?;
        let kind = Kind::of(config)?;
        let survey = survey(module);
        check_name(name, &survey)?;
        let (chosen, skipped) = choose(&survey, targets)?;
        init.restart_demand();
        let shared = match (kind, chosen.first()) {
            (Kind::Vera, Some((found, ..))) => {
                let sizes = chosen.iter().map(|(_, _, shape)| *shape);
                Some(VeraShared::new(config, sizes, init, &found.device.clone().without_autodiff()))
            }
            _ => None,
        };
        let mut places = Vec::with_capacity(chosen.len());
        for (found, weight, shape) in chosen {
            let bias = if kind.scales_bias(config) { bias_of(&survey, found, shape[1])? } else { None };
            let update = kind.build(&found.path, config, shape, init, &found.device)?;
            init.demand().check("lower `r`").map_err(Box::new)?;
            places.push(Place { path: found.path.clone(), shape, weight, bias, update });
        }
        Ok(Self { name: name.to_owned(), config: config.clone(), survey, skipped, places, shared })
    }

    /// Initializes DoRA's magnitudes from the weights.
    pub(crate) fn set_magnitudes(&mut self) {
        for place in &mut self.places {
            if let Some(magnitude) = place.update.magnitude_mut() {
                magnitude.set_from_weight(crate::update::in_single_precision(place.weight.base()));
            }
        }
    }

    /// Attaches the adapter.
    pub(crate) fn attach<M: Module>(self, module: M) -> (M, AddReport) {
        let frozen = self.shared.as_ref().map_or(0, Module::num_params);
        let shared = self.shared.zip(self.places.first());
        let shared = shared.map(|(shared, place)| Frozen::new(&place.weight.lazy_device(), shared));
        let about = About { config: Arc::new(self.config), frozen: shared };
        let mut adapted = Adapted::read(&self.survey);
        let (active, mode) = adapted.state();
        let mut entries = Vec::with_capacity(self.places.len());
        for Place { path, shape, bias, update, .. } in self.places {
            entries.push(AdaptedParameter {
                path: path.clone(),
                shape,
                method: update.method(),
                parameters: Module::num_params(&update),
                bias: bias.clone(),
            });
            if bias.is_some() {
                adapted.linked.insert(path.clone());
            }
            let named = adapted.named.entry(path).or_default();
            (named.active, named.mode) = (active.clone(), mode);
            named.updates.insert(self.name.clone(), update);
            named.about.insert(self.name.clone(), about.clone());
        }
        let module = adapted.write(module, &self.survey);
        (module, AddReport { name: self.name, adapted: entries, skipped: self.skipped, frozen })
    }
}

fn check_name(name: &str, survey: &[Found]) -> Result<(), WeightAdapterError> {
    if name.is_empty() || name.contains('.') || name.chars().any(char::is_control) {
        return Err(WeightAdapterError::BadName { name: name.to_owned() });
    }
    if Adapted::read(survey).names().contains(name) {
        return Err(WeightAdapterError::Duplicate { name: name.to_owned() });
    }
    Ok(())
}

type Chosen<'a> = (&'a Found, Param<Tensor<2>>, [usize; 2]);

/// The matrices to adapt, and the other matches.
fn choose<'a>(survey: &'a [Found], targets: &Targets) -> Result<(Vec<Chosen<'a>>, Vec<Skipped>), WeightAdapterError> {
    if let Some(exact) = targets.exact() {
        let missing = exact.iter().filter(|path| !survey.iter().any(|found| found.path == **path));
        let paths: Vec<String> = missing.cloned().collect();
        if !paths.is_empty() {
            return Err(WeightAdapterError::NoSuchParameter { paths });
        }
    }
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    survey.iter().for_each(|found| *uses.entry(&found.path).or_default() += 1);
    let (mut chosen, mut skipped) = (Vec::new(), Vec::new());
    for found in survey.iter().filter(|found| targets.matches(&found.id, &found.path)) {
        let (weight, shape) = match adaptable(found) {
            Ok(matrix) => matrix,
            Err(reason) => {
                skipped.push(Skipped { path: found.path.clone(), reason });
                continue;
            }
        };
        check_free(found)?;
        if uses.get(found.path.as_str()).is_some_and(|uses| *uses > 1) {
            return Err(WeightAdapterError::AmbiguousPath { path: found.path.clone() });
        }
        chosen.push((found, weight, shape));
    }
    if targets.exact().is_some()
        && let Some(skipped) = skipped.first()
    {
        return Err(WeightAdapterError::NotAdaptable { skipped: skipped.clone() });
    }
    if chosen.is_empty() {
        let matrices = survey.iter().filter(|found| adaptable(found).is_ok()).take(10);
        let matrices = matrices.map(|found| found.path.clone()).collect();
        return Err(WeightAdapterError::NothingMatched { targets: targets.to_string(), skipped, matrices });
    }
    Ok((chosen, skipped))
}

fn adaptable(found: &Found) -> Result<(Param<Tensor<2>>, [usize; 2]), SkipReason> {
    if found.owner.ends_with("Embedding") || found.owner.ends_with("Embeddings") {
        return Err(SkipReason::Embedding);
    }
    match (&found.matrix, found.shape.as_slice()) {
        (Some(matrix), &[d_input, d_output]) => Ok((matrix.clone(), [d_input, d_output])),
        _ => Err(SkipReason::Rank { shape: found.shape.clone() }),
    }
}

fn check_free(found: &Found) -> Result<(), WeightAdapterError> {
    match &found.foreign {
        Some(name) => Err(WeightAdapterError::Occupied { path: found.path.clone(), found: name.clone() }),
        None => Ok(()),
    }
}

/// The path of the bias beside a weight, if there is one of its width.
fn bias_of(survey: &[Found], weight: &Found, d_output: usize) -> Result<Option<String>, WeightAdapterError> {
    let Some(path) = bias_path(&weight.path) else { return Ok(None) };
    match survey.iter().find(|found| found.path == path && found.shape == [d_output]) {
        Some(bias) => {
            check_free(bias)?;
            Ok(Some(path))
        }
        None => Ok(None),
    }
}

/// Reparameterizations that belong to other crates.
pub(crate) fn foreign(survey: &[Found]) -> Option<WeightAdapterError> {
    let found = survey.iter().find(|found| found.foreign.is_some())?;
    debug_assert_ne!(found.foreign.as_deref(), Some(ParamAdapters::NAME));
    Some(WeightAdapterError::Foreign { path: found.path.clone(), found: found.foreign.clone()? })
}
