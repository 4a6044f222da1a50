//! Operations on the adapters of a module.

use std::path::Path;

use burn::module::Module;
use burn_adapters_config::LoraConfig;
use burn_adapters_core::{Init, Mode};

use crate::attach::{Adapted, FreezeBase};
use crate::plan::{Plan, foreign};
use crate::survey::survey;
use crate::{AdapterSaveReport, AddReport, Targets, WeightAdapterError, file};

type Result<T> = std::result::Result<T, WeightAdapterError>;

/// Named adapters on the weights of any Burn module. See the [crate] for an example.
///
/// The adapters of a module are part of its value: a clone has its own, and activating one on the clone leaves the
/// original unchanged. (Tensors are shared until they change, so a clone costs next to nothing.) No method changes a
/// base weight.
pub trait WeightAdapters: Module {
    /// Adds a new adapter with freshly drawn parameters to the matrices selected by `targets`, and freezes all
    /// parameters of the module that are not in an adapter. Parameters that should be trained too (a head) can be
    /// unfrozen afterwards with [`Module::unfreeze_group`]. The new adapter is not active yet.
    ///
    /// The configuration keys that select matrices by their role (`selfattn_lora`, `intermediate_lora`, `output_lora`,
    /// `attn_matrices`) are ignored: `targets` selects the matrices.
    ///
    /// # Errors
    /// If nothing matches, a matching matrix has a reparameterization of another kind, the name is taken or invalid, or
    /// the configuration does not apply to weights (gates, MTL-LoRA, `leave_out`).
    fn add_adapter(&mut self, name: &str, targets: &Targets, config: &LoraConfig) -> Result<AddReport> {
        add(self, name, targets, config, &mut Init::from_entropy())
    }

    /// [`add_adapter`](Self::add_adapter) with parameters that depend on `seed` alone.
    ///
    /// # Errors
    /// As [`add_adapter`](Self::add_adapter).
    fn add_adapter_seeded(
        &mut self,
        name: &str,
        targets: &Targets,
        config: &LoraConfig,
        seed: u64,
    ) -> Result<AddReport> {
        add(self, name, targets, config, &mut Init::from_seed(seed))
    }

    /// Activates this adapter and no other.
    ///
    /// # Errors
    /// If there is no such adapter.
    fn activate_adapter(&mut self, name: &str) -> Result<()> {
        edit(self, |adapted| {
            check_known(adapted, name)?;
            adapted.named.values_mut().for_each(|named| named.active = Some(name.to_owned()));
            Ok(())
        })
    }

    /// Deactivates all adapters: the module computes exactly the same as without them.
    fn deactivate_adapters(&mut self) {
        edit_all(self, |adapted| adapted.named.values_mut().for_each(|named| named.active = None));
    }

    /// The active adapter.
    fn active_adapter(&self) -> Option<String> {
        Adapted::read(&survey(self)).state().0
    }

    /// The names of the adapters, in alphabetical order.
    fn adapter_names(&self) -> Vec<String> {
        Adapted::read(&survey(self)).names().into_iter().map(str::to_owned).collect()
    }

    /// Turns the adapters' dropout on ([`Mode::Training`]) or off. New adapters, and the result of [`Module::valid`],
    /// are in [`Mode::Inference`].
    fn set_adapter_mode(&mut self, mode: Mode) {
        edit_all(self, |adapted| adapted.named.values_mut().for_each(|named| named.mode = mode));
    }

    /// Freezes all parameters of the module except those of one adapter; returns the number of trainable parameters.
    ///
    /// # Errors
    /// If there is no such adapter.
    fn train_only_adapter(&mut self, name: &str) -> Result<usize> {
        let mut trained = 0;
        edit(self, |adapted| {
            check_known(adapted, name)?;
            for named in adapted.named.values_mut() {
                named.updates = std::mem::take(&mut named.updates)
                    .into_iter()
                    .map(|(key, update)| {
                        let trains = key == name;
                        trained += if trains { Module::num_params(&update) } else { 0 };
                        (key, update.set_require_grad(trains))
                    })
                    .collect();
            }
            Ok(())
        })?;
        *self = self.clone().map(&mut FreezeBase::default());
        Ok(trained)
    }

    /// Removes an adapter. If it was active, no adapter is active afterwards.
    ///
    /// # Errors
    /// If there is no such adapter.
    fn remove_adapter(&mut self, name: &str) -> Result<()> {
        edit(self, |adapted| {
            check_known(adapted, name)?;
            for named in adapted.named.values_mut() {
                named.updates.remove(name);
                named.about.remove(name);
                if named.active.as_deref() == Some(name) {
                    named.active = None;
                }
            }
            Ok(())
        })?;
        if self.adapter_names().is_empty()
            && let Ok(base) = self.without_adapters()
        {
            *self = base;
        }
        Ok(())
    }

    /// The module without adapters. Its weights equal the base's bit for bit, and stay frozen: see
    /// [`Module::unfreeze`].
    ///
    /// # Errors
    /// If a parameter has a reparameterization of another kind: Burn detaches either all or none.
    fn without_adapters(&self) -> Result<Self> {
        if let Some(error) = foreign(&survey(self)) {
            return Err(error);
        }
        let mut base = self.clone();
        base.deactivate_adapters();
        Ok(base.materialize())
    }

    /// A plain module with an adapter merged into its weights, at the cost of the base. It has no adapters, so it can
    /// be neither merged again nor saved as one. `self` keeps the unmerged weights.
    ///
    /// # Errors
    /// If there is no such adapter, or a parameter has a reparameterization of another kind.
    fn merged_adapter(&self, name: &str) -> Result<Self> {
        if let Some(error) = foreign(&survey(self)) {
            return Err(error);
        }
        let mut merged = self.clone();
        merged.set_adapter_mode(Mode::Inference);
        merged.activate_adapter(name)?;
        Ok(merged.materialize())
    }

    /// Writes an adapter, without the base, into a safetensors file: its tensors under the paths of the parameters
    /// (`layers.0.mha.query.weight.lora.a`), its configuration in the header. An existing file is replaced once the new
    /// one is complete.
    ///
    /// # Errors
    /// If there is no such adapter, or the file cannot be written.
    fn save_adapter(&self, name: &str, path: impl AsRef<Path>) -> Result<AdapterSaveReport> {
        let adapted = Adapted::read(&survey(self));
        check_known(&adapted, name)?;
        file::save(&adapted, name, path.as_ref())
    }

    /// Adds an adapter from a file written by [`save_adapter`](Self::save_adapter), under any name, to the parameters
    /// that it was saved from. The base is frozen as by [`add_adapter`](Self::add_adapter). The adapter is not active
    /// yet.
    ///
    /// # Errors
    /// If the module lacks one of the parameters, or the tensors of the file do not match those of the adapter: tensors
    /// are missing, unexpected, or of the wrong shape.
    fn load_adapter(&mut self, name: &str, path: impl AsRef<Path>) -> Result<AddReport> {
        let plan = file::load(self, name, path.as_ref())?;
        Ok(attach(self, plan))
    }
}

impl<M: Module> WeightAdapters for M {}

fn add<M: Module>(
    module: &mut M,
    name: &str,
    targets: &Targets,
    config: &LoraConfig,
    init: &mut Init,
) -> Result<AddReport> {
    let mut plan = Plan::new(module, name, targets, config, init)?;
    plan.set_magnitudes();
    Ok(attach(module, plan))
}

fn attach<M: Module>(module: &mut M, plan: Plan) -> AddReport {
    let (adapted, report) = plan.attach(module.clone());
    *module = adapted.map(&mut FreezeBase::default());
    report
}

fn edit<M: Module>(module: &mut M, change: impl FnOnce(&mut Adapted) -> Result<()>) -> Result<()> {
    let survey = survey(module);
    let mut adapted = Adapted::read(&survey);
    change(&mut adapted)?;
    *module = adapted.write(module.clone(), &survey);
    Ok(())
}

fn edit_all<M: Module>(module: &mut M, change: impl FnOnce(&mut Adapted)) {
    let survey = survey(module);
    let mut adapted = Adapted::read(&survey);
    change(&mut adapted);
    *module = adapted.write(module.clone(), &survey);
}

fn check_known(adapted: &Adapted, name: &str) -> Result<()> {
    let names = adapted.names();
    if names.contains(name) {
        return Ok(());
    }
    let known = names.into_iter().map(str::to_owned).collect();
    Err(WeightAdapterError::UnknownAdapter { name: name.to_owned(), known })
}
