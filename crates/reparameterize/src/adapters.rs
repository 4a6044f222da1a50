//! What can be done with the adapters of a module.

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
/// A module's adapters are a part of its value: a clone has its own, and what is activated on one is not on the other.
/// (Tensors are shared until they change, so a clone costs next to nothing.) No method changes a weight of the base.
pub trait WeightAdapters: Module {
    /// Adds a new adapter with freshly drawn parameters to the chosen matrices, and freezes every parameter of the
    /// module that is in no adapter; what else is to be trained (a head) is unfrozen afterwards with
    /// [`Module::unfreeze_group`]. The new adapter is not active yet.
    ///
    /// Of the configuration, what chooses matrices by their role (`selfattn_lora`, `intermediate_lora`, `output_lora`,
    /// `attn_matrices`) is not read: `targets` chooses.
    ///
    /// # Errors
    /// If nothing is matched, a matched matrix has a reparameterization of another kind, the name is taken or unfit, or
    /// the configuration has no meaning on weights (gates, MTL-LoRA, `leave_out`).
    fn add_adapter(&mut self, name: &str, targets: &Targets, config: &LoraConfig) -> Result<AddReport> {
        add(self, name, targets, config, &mut Init::from_entropy())
    }

    /// As [`add_adapter`](Self::add_adapter), with parameters that depend on `seed` alone.
    ///
    /// # Errors
    /// The same.
    fn add_adapter_seeded(
        &mut self,
        name: &str,
        targets: &Targets,
        config: &LoraConfig,
        seed: u64,
    ) -> Result<AddReport> {
        add(self, name, targets, config, &mut Init::from_seed(seed))
    }

    /// Makes this adapter act, and no other.
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

    /// Makes no adapter act: the module computes exactly what it did without any.
    fn deactivate_adapters(&mut self) {
        edit_all(self, |adapted| adapted.named.values_mut().for_each(|named| named.active = None));
    }

    /// The adapter that acts.
    fn active_adapter(&self) -> Option<String> {
        Adapted::read(&survey(self)).state().0
    }

    /// The names of the adapters, in alphabetical order.
    fn adapter_names(&self) -> Vec<String> {
        Adapted::read(&survey(self)).names().into_iter().map(str::to_owned).collect()
    }

    /// Switches the adapters' dropout on ([`Mode::Training`]) or off. A new adapter, and what [`Module::valid`] gives, is
    /// in [`Mode::Inference`].
    fn set_adapter_mode(&mut self, mode: Mode) {
        edit_all(self, |adapted| adapted.named.values_mut().for_each(|named| named.mode = mode));
    }

    /// Freezes every parameter of the module but those of one adapter; gives their number.
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

    /// Takes an adapter out. If it was the active one, none is active.
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

    /// The module without adapters, its weights the base's bit for bit. They stay frozen: see [`Module::unfreeze`].
    ///
    /// # Errors
    /// If a parameter has a reparameterization of another kind: Burn detaches all or none.
    fn without_adapters(&self) -> Result<Self> {
        if let Some(error) = foreign(&survey(self)) {
            return Err(error);
        }
        let mut base = self.clone();
        base.deactivate_adapters();
        Ok(base.materialize())
    }

    /// A plain module with an adapter merged into its weights: it costs what the base does. It has no adapters, so it
    /// can be neither merged again nor saved as one. `self` keeps the unmerged weights.
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

    /// Writes an adapter, and nothing of the base, into a safetensors file: its tensors under the paths of the
    /// parameters (`layers.0.mha.query.weight.lora.a`), its configuration in the header. A file that is there is replaced
    /// when the new one is complete.
    ///
    /// # Errors
    /// If there is no such adapter, or the file cannot be written.
    fn save_adapter(&self, name: &str, path: impl AsRef<Path>) -> Result<AdapterSaveReport> {
        let adapted = Adapted::read(&survey(self));
        check_known(&adapted, name)?;
        file::save(&adapted, name, path.as_ref())
    }

    /// Adds an adapter from a file of [`save_adapter`](Self::save_adapter), under any name, to the parameters that it was
    /// saved from; the base is frozen as by [`add_adapter`](Self::add_adapter). The adapter is not active yet.
    ///
    /// # Errors
    /// If the module lacks one of the parameters, or the file's tensors are not exactly the adapter's: none missing,
    /// none left over, all of the right shape.
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
