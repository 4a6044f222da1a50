//! Logits of a batch: with an adapter beside the model, with several one after the other, or merged into its weights.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_adapters_composition::Composition;
use burn_adapters_model::{AdapterBank, MergedModel, Setup};
use burn_adapters_train::TextEncoder;
use burn_adapters_transformers::Bert;

use super::Prepared;
use super::parts::{Base, bank, folder, logits, rows, values};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::NAME;
use crate::protocol::{Check, Prepare};

struct Infer<E> {
    encoder: E,
    bank: AdapterBank,
    setup: Setup,
    batches: Vec<Batch>,
}

pub(super) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let Base { bert, batches } = Base::load(prepare, device)?;
    let names: Vec<String> = (0..prepare.adapters).map(|index| format!("{NAME}{index}")).collect();
    let bank = bank(&bert, folder(prepare)?, &names, device)?;
    let setup = match names.as_slice() {
        [] => Setup::base(),
        [one] => Setup::adapter(one),
        names => Setup::compose(Composition::stack(names.iter().map(String::as_str))),
    };
    let parameters = names.iter().map(|name| Ok(bank.adapter(name)?.parameters())).sum::<Result<usize, Failed>>()?;
    Infer { encoder: bert, bank, setup: setup.with_head(NAME), batches }.with_check(parameters)
}

pub(super) fn prepare_merged(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let Base { bert, batches } = Base::load(prepare, device)?;
    let bank = bank(&bert, folder(prepare)?, &[NAME.to_owned()], device)?;
    let parameters = bank.adapter(NAME)?.parameters();
    let merged = MergedModel::merge(bert, bank.adapter(NAME)?).map_err(|failure| failure.error.to_string())?;
    Infer { encoder: Merged(merged), bank, setup: Setup::base().with_head(NAME), batches }.with_check(parameters)
}

/// A merged model is a model.
struct Merged(MergedModel<Bert>);

impl TextEncoder for Merged {
    fn encode(
        &self,
        batch: &burn_adapters_train::TokenBatch<'_>,
        hooks: &burn_adapters_model::Hooks<'_>,
    ) -> Result<burn_adapters_train::Encoded, burn_adapters_train::BoxError> {
        TextEncoder::encode(&*self.0, batch, hooks)
    }

    fn encode_first(
        &self,
        batch: &burn_adapters_train::TokenBatch<'_>,
        hooks: &burn_adapters_model::Hooks<'_>,
    ) -> Result<burn_adapters_train::Encoded, burn_adapters_train::BoxError> {
        TextEncoder::encode_first(&*self.0, batch, hooks)
    }

    fn device(&self) -> Device {
        self.0.device()
    }
}

impl<E: TextEncoder + 'static> Infer<E> {
    fn with_check(self, parameters: usize) -> Result<Prepared, Failed> {
        let batch = &self.batches[0];
        let logits = logits(&self.encoder, &self.bank, &self.setup, &batch.tokens())?;
        let (tokens, checksum) = (batch.count(), batch.checksum());
        let check = Check { parameters, tokens, checksum, logits: rows(logits)?, ..Check::default() };
        Ok((Box::new(self), check))
    }
}

impl<E: TextEncoder> Job for Infer<E> {
    fn batches(&self) -> &[Batch] {
        &self.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.batches[index % self.batches.len()];
        let start = Instant::now();
        let logits = logits(&self.encoder, &self.bank, &self.setup, &batch.tokens())?;
        values(logits.into_values())?;
        Ok(start.elapsed())
    }
}
