//! Prefix tuning, prompt tuning and ReFT: the methods that act on positions of the sequence.

use burn_adapters_config::{PrefixTuningConfig, PromptInit, PromptTuningConfig, ReftConfig, ReftLayers};
use burn_adapters_prefix_tuning::{PrefixGroup, PrefixTuning};
use burn_adapters_prompt_tuning::PromptTuning;
use burn_adapters_reft::Reft;

use super::{Builder, check_dtype};
use crate::{Adapter, BuildError};

impl Builder<'_> {
    pub(super) fn prefix_tuning(
        &mut self,
        config: &PrefixTuningConfig,
        adapter: &mut Adapter,
    ) -> Result<String, BuildError> {
        self.check_layers("leave_out", config.leave_out.iter().copied())?;
        for group in PrefixGroup::of_model(config, self.spec) {
            let name = group.kind.name();
            let module = PrefixTuning::new(config, group, self.init, self.device)?;
            self.shared("prefix_tuning", Some(name), crate::adapter::count(&module, &[]));
            if adapter.prefix.insert(name.to_owned(), module).is_some() {
                return Err(BuildError::TwoShared { method: "prefix tuning" });
            }
        }
        Ok("it has no attention block for a prefix, or leave_out names every layer".into())
    }

    pub(super) fn prompt_tuning(
        &mut self,
        config: &PromptTuningConfig,
        adapter: &mut Adapter,
    ) -> Result<String, BuildError> {
        if adapter.prompt.is_some() {
            return Err(BuildError::TwoShared { method: "prompt tuning" });
        }
        let module = PromptTuning::for_loading(config, self.spec.embedding_size, self.init, self.device)?;
        self.shared("prompt_tuning", None, crate::adapter::count(&module, &[]));
        adapter.prompt = Some(module);
        adapter.prompt_is_unset = config.prompt_init == PromptInit::FromString;
        Ok(String::new())
    }

    pub(super) fn reft(&mut self, config: &ReftConfig, adapter: &mut Adapter) -> Result<String, BuildError> {
        check_dtype(config.dtype.as_deref())?;
        if let ReftLayers::Some(layers) = &config.layers {
            self.check_layers("layers", layers.iter().copied())?;
        }
        for (site, hidden_size) in self.spec.whole_layers() {
            if !Reft::acts_in_layer(config, self.spec.layer_number(site)) {
                continue;
            }
            let module = Reft::new(config, hidden_size, self.init, self.device)
                .map_err(|source| BuildError::Reft { site, source })?;
            let parameters = module.num_trained();
            self.place_counted(site, "reft", parameters, module, &mut adapter.reft)?;
        }
        Ok("output_reft is False, or layers is empty".into())
    }
}
