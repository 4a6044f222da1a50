//! LoRA and its relatives: the placement of their modules.

use std::collections::BTreeSet;

use burn_adapters_config::{CompositionMode, LoraBias, LoraConfig};
use burn_adapters_core::{Place, Site};
use burn_adapters_ia3::Ia3;
use burn_adapters_lora::{Lora, MtlLoraModule, Vera, VeraShared};

use super::{Builder, check_dtype};
use crate::{Adapter, BuildError};

impl Builder<'_> {
    /// Adds LoRA, DoRA, VeRA, MTL-LoRA or (IA)³ modules; returns the reason to report if there were none.
    pub(super) fn lora(&mut self, config: &LoraConfig, adapter: &mut Adapter) -> Result<String, BuildError> {
        self.check_layers("leave_out", config.leave_out.iter().copied())?;
        check_dtype(config.dtype.as_deref())?;
        if config.selfattn_lora {
            self.check_matrices(&config.attn_matrices)?;
        }
        if config.gate_lora && !self.spec.matrices().any(|(site, _)| site.place == Place::FeedForwardGate) {
            return Err(BuildError::NoGate { model_type: self.spec.model_type.clone() });
        }
        let wanted: Vec<_> = (self.spec.matrices())
            .filter(|(site, _)| {
                self.lora_wants(config, *site) && !config.leave_out.contains(&self.spec.layer_number(*site))
            })
            .collect();
        let has_bias = |site: &Site| self.spec.has_bias(*site);
        if config.bias == LoraBias::Base && !wanted.is_empty() && !wanted.iter().any(|(site, _)| has_bias(site)) {
            return Err(BuildError::NoBias { model_type: self.spec.model_type.clone() });
        }
        let unbiased = config.clone().with_bias(LoraBias::None);
        let vera = config.vera_d.is_some() || config.vera_b.is_some();
        if vera && !wanted.is_empty() {
            let sizes = wanted.iter().map(|(_, size)| *size);
            adapter.vera_shared = Some(VeraShared::new(config, sizes, self.init, self.device));
        }
        for (site, size) in wanted {
            let failed = |source| BuildError::Lora { site, source };
            // The bias of a matrix is trained where it has one.
            let config = if config.bias == LoraBias::Base && !has_bias(&site) { &unbiased } else { config };
            if config.composition_mode == CompositionMode::Scale {
                let module = Ia3::new(config, size, self.init, self.device)
                    .map_err(|source| BuildError::Ia3 { site, source })?;
                self.place(site, "ia3", module, &mut adapter.ia3)?;
            } else if config.mtl.is_some() {
                let module = MtlLoraModule::new(config, size, self.init, self.device).map_err(failed)?;
                self.place(site, "mtl_lora", module, &mut adapter.mtl)?;
            } else if vera {
                let module = Vera::new(config, size, self.init, self.device).map_err(failed)?;
                let method = if config.use_dora { "dvora" } else { "vera" };
                self.place(site, method, module, &mut adapter.vera)?;
            } else {
                let module = Lora::new(config, size, self.init, self.device).map_err(failed)?;
                let method = if config.use_dora { "dora" } else { "lora" };
                self.place(site, method, module, &mut adapter.lora)?;
            }
            let at_site = [
                adapter.ia3.contains_key(&site),
                adapter.mtl.contains_key(&site),
                adapter.vera.contains_key(&site),
                adapter.lora.contains_key(&site),
            ];
            if at_site.into_iter().filter(|taken| *taken).count() > 1 {
                return Err(BuildError::Conflict { site });
            }
        }
        Ok("selfattn_lora, intermediate_lora, output_lora and gate_lora are False, attn_matrices is empty, or leave_out names every \
            layer"
            .into())
    }

    /// Whether a configuration of the LoRA kind adapts the matrix at a site, regardless of `leave_out`.
    fn lora_wants(&self, config: &LoraConfig, site: Site) -> bool {
        match self.spec.stack_at(site) {
            Some(stack) if stack.intermediate == site.place => config.intermediate_lora,
            Some(stack) if stack.output == site.place => config.output_lora,
            _ if site.place == Place::FeedForwardGate => config.gate_lora,
            _ => {
                let named = |letter| config.attn_matrices.iter().any(|name| name == letter);
                config.selfattn_lora && site.place.matrix_letter().is_some_and(named)
            }
        }
    }

    fn check_matrices(&self, names: &[String]) -> Result<(), BuildError> {
        let known: BTreeSet<&str> = self.spec.matrices().filter_map(|(site, _)| site.place.matrix_letter()).collect();
        match names.iter().find(|name| !known.contains(name.as_str())) {
            Some(name) => Err(BuildError::UnknownMatrix {
                name: name.clone(),
                known: known.into_iter().map(str::to_owned).collect(),
            }),
            None => Ok(()),
        }
    }
}
