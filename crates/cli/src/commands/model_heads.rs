//! The model's own output layer as the head of language modeling.

use std::collections::BTreeMap;

use burn::tensor::Device;
use burn_adapters_composition::HeadSetup;
use burn_adapters_core::StackKind;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Forward};
use burn_adapters_train::TrainTask;
use burn_adapters_train::tasks::language::{CAUSAL, SEQ2SEQ};

use super::model::{Model, bank_error};
use super::setup::{Loaded, SetupArguments, SetupSource};
use crate::draw;
use crate::error::{CliError, CliResult};
use crate::progress::Style;

/// The name of the model's own output layer where no adapter has it as its head.
const MODEL_HEAD: &str = "model";

impl SetupArguments {
    /// [`composition`](Self::composition); for language modeling, the model alone does, too.
    pub(super) fn composition_for(
        &self,
        task: Option<&'static dyn TrainTask>,
        routed: bool,
    ) -> CliResult<Option<SetupSource>> {
        let is_language = task.is_some_and(|task| task.form().is_language());
        if is_language && !routed { self.composition_if_any() } else { self.composition(routed).map(Some) }
    }

    /// Reads the folders of adapters that generate or score texts. Instead of heads of other tasks, they use the model's own
    /// output layer, as the model alone does.
    pub(super) fn load_to_predict(
        &self,
        source: Option<SetupSource>,
        model: &Model,
        device: &Device,
        style: Style,
    ) -> CliResult<Loaded> {
        let mut loaded = self.load_or_base(source, model, device, style)?;
        loaded.remove_other_heads(style)?;
        let has_encoder = model.base.spec().stack(StackKind::Encoder).is_some();
        loaded.add_model_heads(if has_encoder { &SEQ2SEQ } else { &CAUSAL }, model)?;
        Ok(loaded)
    }

    /// Reads the folders. For language modeling, adapters without a head use the model's own output layer.
    pub(super) fn load_for(
        &self,
        task: Option<&'static dyn TrainTask>,
        source: Option<SetupSource>,
        model: &Model,
        device: &Device,
        style: Style,
    ) -> CliResult<Loaded> {
        let mut loaded = self.load_or_base(source, model, device, style)?;
        if let Some(task) = task {
            loaded.add_model_heads(task, model)?;
        }
        Ok(loaded)
    }

    fn load_or_base(
        &self,
        source: Option<SetupSource>,
        model: &Model,
        device: &Device,
        style: Style,
    ) -> CliResult<Loaded> {
        match source {
            Some(source) => self.load(source, model, device, style),
            None => Ok(Loaded::base(model, device)),
        }
    }
}

impl Loaded {
    /// Removes heads of other tasks than language modeling.
    ///
    /// # Errors
    /// If the head of an adapter is damaged: it is not passed over.
    fn remove_other_heads(&mut self, style: Style) -> CliResult {
        let needed = self.setup(None).heads();
        for (name, unread) in std::mem::take(&mut self.unread) {
            if needed.as_ref().is_none_or(|heads| heads.names().contains(&name.as_str())) {
                if !unread.unknown {
                    return Err(unread.error);
                }
                style.say(format_args!(
                    "note: the head of `{name}` is of a type that is not supported; the logits are those of the model's own \
                     output layer"
                ));
            }
        }
        let is_other = |head: &HeadConfig| !head.head_type.is_language_model();
        let others = self.head_configs().filter(|(_, head)| is_other(head));
        let others: Vec<_> = others.map(|(name, head)| (name.to_owned(), head.task())).collect();
        for (name, task) in others {
            style.say(format_args!(
                "note: the head `{name}` does {task}; the logits are those of the model's own output layer"
            ));
            // It exists.
            let _ = self.bank.remove_head(&name);
        }
        Ok(())
    }

    /// The model without adapters.
    fn base(model: &Model, device: &Device) -> Self {
        Self {
            bank: AdapterBank::new(model.base.spec(), device),
            composition: None,
            heads: None,
            skip_layers: Vec::new(),
            folders: Vec::new(),
            unread: BTreeMap::new(),
        }
    }

    /// Adds the model's own output layer as the head of every adapter that needs one and has none, for a task of language
    /// modeling.
    fn add_model_heads(&mut self, task: &'static dyn TrainTask, model: &Model) -> CliResult {
        let Some(config) = task.task().language_head(model.base.decoder_limits().vocabulary) else { return Ok(()) };
        let names = match self.setup(None).heads() {
            Some(heads) if heads != HeadSetup::Unnamed => heads.names().into_iter().map(str::to_owned).collect(),
            _ if self.is_open() => self.folders.iter().map(|(name, _)| name.clone()).collect(),
            _ if self.bank.head_names().next().is_some() => Vec::new(),
            _ => {
                self.heads = Some(HeadSetup::One(MODEL_HEAD.to_owned()));
                vec![MODEL_HEAD.to_owned()]
            }
        };
        for name in names {
            if self.bank.head(&name).is_ok() || self.unread.get(&name).is_some_and(|unread| !unread.unknown) {
                continue;
            }
            if self.unread.remove(&name).is_some() {
                draw::warning(&format!(
                    "the head of `{name}` is of a type that is not supported: the model's own output layer is used instead"
                ));
            }
            if !model.base.has_token_logits() {
                let message = format!(
                    "{} has no output layer of its own, and `{name}` no head: nothing predicts tokens",
                    model.name
                );
                return Err(CliError::mistake(message).with_help(
                    "the files of a base model lack that layer: use those of the language model, or name a head with --head",
                ));
            }
            self.bank.add_model_head(&name, &config).map_err(|error| bank_error(&error))?;
        }
        Ok(())
    }
}
