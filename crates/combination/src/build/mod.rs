//! Builds modules from a configuration and a model's sites.

mod bottleneck;
mod lora;
mod sequence;
mod size;

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_config::{AdapterConfig, MethodConfig};
use burn_adapters_core::{Init, ModelSpec, Site, SiteMap};

use size::Remedy;

use crate::{Adapter, AddReport, BuildError, ReportEntry};

/// Builds an adapter for a model; its parameters are drawn when they are first read.
pub(crate) fn build(
    name: &str,
    config: AdapterConfig,
    spec: &ModelSpec,
    init: &mut Init,
    device: &Device,
) -> Result<(Adapter, AddReport), BuildError> {
    config.check_layers(spec.layer_numbers())?;
    init.restart_demand();
    let mut remedy = Remedy::new();
    let mut builder = Builder { spec, init, device, entries: Vec::new(), notes: Vec::new() };
    let mut adapter = Adapter::empty(name, config.clone());
    for method in config.methods() {
        let before = builder.entries.len();
        let reason = match method {
            MethodConfig::Bottleneck(method) => builder.bottleneck(method, &mut adapter)?,
            MethodConfig::Lora(method) => builder.lora(method, &mut adapter)?,
            MethodConfig::PrefixTuning(method) => builder.prefix_tuning(method, &mut adapter)?,
            MethodConfig::PromptTuning(method) => builder.prompt_tuning(method, &mut adapter)?,
            MethodConfig::Reft(method) => builder.reft(method, &mut adapter)?,
        };
        remedy.built(method, builder.init);
        if builder.entries.len() == before {
            return Err(BuildError::NothingToTrain { config: config.to_string(), reason });
        }
    }
    remedy.check(&config, builder.init)?;
    let report = AddReport {
        name: name.to_owned(),
        entries: builder.entries,
        notes: builder.notes,
        base_parameters: spec.parameters,
    };
    Ok((adapter, report))
}

/// Parameters are in single precision; a configuration that requests another type is refused.
fn check_dtype(dtype: Option<&str>) -> Result<(), BuildError> {
    match dtype {
        None | Some("float32") => Ok(()),
        Some(dtype) => Err(BuildError::Dtype { dtype: dtype.to_owned() }),
    }
}

struct Builder<'a> {
    spec: &'a ModelSpec,
    init: &'a mut Init,
    device: &'a Device,
    entries: Vec<ReportEntry>,
    notes: Vec<String>,
}

impl Builder<'_> {
    fn place<M: Module>(
        &mut self,
        site: Site,
        method: &'static str,
        module: M,
        modules: &mut SiteMap<M>,
    ) -> Result<(), BuildError> {
        let parameters = crate::adapter::count(&module, &[]);
        self.place_counted(site, method, parameters, module, modules)
    }

    fn place_counted<M>(
        &mut self,
        site: Site,
        method: &'static str,
        parameters: usize,
        module: M,
        modules: &mut SiteMap<M>,
    ) -> Result<(), BuildError> {
        if modules.insert(site, module).is_some() {
            return Err(BuildError::Conflict { site });
        }
        self.entries.push(ReportEntry { site: Some(site), part: None, method, parameters });
        Ok(())
    }

    fn check_layers(&self, key: &'static str, layers: impl Iterator<Item = usize>) -> Result<(), BuildError> {
        let count = self.spec.layer_numbers();
        match layers.into_iter().find(|layer| *layer >= count) {
            Some(layer) => Err(BuildError::UnknownLayer { key, layer, layers: count }),
            None => Ok(()),
        }
    }

    /// Records parameters that do not belong to a single site.
    fn shared(&mut self, method: &'static str, part: Option<&'static str>, parameters: usize) {
        self.entries.push(ReportEntry { site: None, part, method, parameters });
    }
}
