//! Bottleneck adapters, including Compacter, and the invertible adapter that may accompany them.

use burn_adapters_bottleneck::{Bottleneck, shared_phm};
use burn_adapters_config::{BottleneckConfig, ReductionFactor};
use burn_adapters_core::{Place, Site, SublayerEnd};
use burn_adapters_invertible::Invertible;

use super::Builder;
use crate::{Adapter, BuildError};

/// The most notes about one key: a dictionary may name any number of layers.
const MOST_NOTES: usize = 8;

impl Builder<'_> {
    /// Adds the bottlenecks; returns the reason to report if there were none.
    pub(super) fn bottleneck(
        &mut self,
        config: &BottleneckConfig,
        adapter: &mut Adapter,
    ) -> Result<String, BuildError> {
        self.check_layers("leave_out", config.leave_out.iter().copied())?;
        if let ReductionFactor::PerLayer { layers, .. } = &config.reduction_factor {
            let count = self.spec.layer_numbers();
            let mut unknown = layers.keys().filter(|layer| **layer >= count);
            for layer in unknown.by_ref().take(MOST_NOTES) {
                self.notes.push(format!("reduction_factor names layer {layer}, but the model has {count} layers"));
            }
            let more = unknown.count();
            if more > 0 {
                self.notes.push(format!("reduction_factor names {more} more layers that the model does not have"));
            }
        }
        // In a pair of models, cross-attention has the bottlenecks of self-attention, as in the reference.
        let is_pair = self.spec.is_pair;
        let crosses = if is_pair { config.mh_adapter } else { config.cross_adapter };
        let asked = [
            ("mh_adapter", config.mh_adapter, Place::Attention),
            ("output_adapter", config.output_adapter, Place::FeedForward),
            ("cross_adapter", crosses, Place::CrossAttention),
        ];
        if is_pair && config.cross_adapter {
            let note = "cross_adapter=True has no effect: in a pair of models, mh_adapter includes cross-attention";
            self.notes.push(note.to_owned());
        }
        for (key, _, place) in asked.iter().filter(|(key, asked, _)| *asked && !(is_pair && *key == "cross_adapter")) {
            if !self.spec.sublayers().any(|(site, _)| site.place == *place) {
                self.notes.push(format!("{key}=True has no effect: this model has no such sublayer"));
            }
        }
        self.invertible(config, adapter)?;
        let method = if config.phm_layer { "compacter" } else { "bottleneck" };
        for (site, hidden_size) in self.spec.sublayers() {
            let layer = self.spec.layer_number(site);
            let wanted = asked.iter().any(|(_, asked, place)| *asked && *place == site.place);
            if !wanted || config.leave_out.contains(&layer) {
                continue;
            }
            if config.phm_layer {
                self.shared_phm(config, site, hidden_size, adapter)?;
            }
            let at_projection =
                self.spec.stack_at(site).is_some_and(|stack| stack.sublayer_end == SublayerEnd::AtProjection);
            if at_projection && !config.original_ln_after {
                return Err(BuildError::ResidualOfModel { site });
            }
            let module = Bottleneck::new(config, hidden_size, layer, self.init, self.device)
                .map_err(|source| BuildError::Bottleneck { site, source })?;
            let parameters = crate::adapter::count(&module, &module.frozen());
            self.place_counted(site, method, parameters, module, &mut adapter.bottleneck)?;
        }
        Ok("mh_adapter, output_adapter and cross_adapter are False, name sublayers it lacks, or leave_out names every \
            layer"
            .into())
    }

    /// The parameters that the PHM layers of all sites share, built at the first of them.
    fn shared_phm(
        &mut self,
        config: &BottleneckConfig,
        site: Site,
        hidden_size: usize,
        adapter: &mut Adapter,
    ) -> Result<(), BuildError> {
        let is_first = !self.entries.iter().any(|entry| entry.method == "compacter");
        if !is_first {
            return Ok(());
        }
        if adapter.phm_shared.is_some() {
            return Err(BuildError::Conflict { site });
        }
        let shared = shared_phm(config, hidden_size, self.init, self.device)
            .map_err(|source| BuildError::Bottleneck { site, source })?;
        if let Some(shared) = &shared {
            let frozen = shared.frozen();
            self.shared("compacter", None, crate::adapter::count(shared, &frozen));
        }
        adapter.phm_shared = shared;
        Ok(())
    }

    fn invertible(&mut self, config: &BottleneckConfig, adapter: &mut Adapter) -> Result<(), BuildError> {
        if config.inv_adapter.is_none() {
            return Ok(());
        }
        if adapter.invertible.is_some() {
            return Err(BuildError::TwoShared { method: "invertible adapter" });
        }
        let module = Invertible::new(config, self.spec.embedding_size, self.init, self.device)?;
        self.shared("invertible", None, crate::adapter::count(&module, &[]));
        adapter.invertible = Some(module);
        Ok(())
    }
}
