//! Logits of a batch: with an adapter beside the model, with several one after another, or merged into its weights.

use std::time::{Duration, Instant};

use burn::nn::Linear;
use burn::tensor::Device;
use burn_adapters_composition::Composition;
use burn_adapters_core::{ModelSpec, Site};
use burn_adapters_model::{AdapterBank, BaseError, BaseModel, Limits, Matrices, MergedModel, Pass, Setup};
use burn_adapters_transformers::AutoModel;

use super::Prepared;
use super::parts::{Base, bank, folder, logits, rows, values};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::NAME;
use crate::protocol::{Check, Prepare};

struct Infer<M> {
    model: M,
    bank: AdapterBank,
    setup: Setup,
    batches: Vec<Batch>,
}

pub(super) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let Base { model, batches } = Base::load(prepare, device)?;
    let names: Vec<String> = (0..prepare.adapters).map(|index| format!("{NAME}{index}")).collect();
    let bank = bank(&model, folder(prepare)?, &names, device)?;
    let setup = match names.as_slice() {
        [] => Setup::base(),
        [one] => Setup::adapter(one),
        names => Setup::compose(Composition::stack(names.iter().map(String::as_str))),
    };
    let parameters = names.iter().map(|name| Ok(bank.adapter(name)?.parameters())).sum::<Result<usize, Failed>>()?;
    Infer { model, bank, setup: setup.with_head(NAME), batches }.with_check(parameters)
}

pub(super) fn prepare_merged(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let Base { model, batches } = Base::load(prepare, device)?;
    let bank = bank(&model, folder(prepare)?, &[NAME.to_owned()], device)?;
    let parameters = bank.adapter(NAME)?.parameters();
    let merged = MergedModel::merge(model, bank.adapter(NAME)?).map_err(|failure| failure.error.to_string())?;
    Infer { model: Merged(merged), bank, setup: Setup::base().with_head(NAME), batches }.with_check(parameters)
}

/// A merged model is a plain model.
struct Merged(MergedModel<AutoModel>);

impl Matrices for Merged {
    fn linear(&self, site: Site) -> Option<&Linear> {
        self.0.linear(site)
    }
}

impl BaseModel for Merged {
    fn spec(&self) -> &ModelSpec {
        self.0.spec()
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn device(&self) -> Device {
        self.0.device()
    }

    fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError> {
        self.0.run(pass)
    }
}

impl<M: BaseModel + 'static> Infer<M> {
    fn with_check(self, parameters: usize) -> Result<Prepared, Failed> {
        let batch = &self.batches[0];
        let logits = logits(&self.model, &self.bank, &self.setup, &batch.tokens())?;
        let (tokens, checksum) = (batch.count(), batch.checksum());
        let check = Check { parameters, tokens, checksum, logits: rows(logits)?, ..Check::default() };
        Ok((Box::new(self), check))
    }
}

impl<M: BaseModel> Job for Infer<M> {
    fn batches(&self) -> &[Batch] {
        &self.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.batches[index % self.batches.len()];
        let start = Instant::now();
        let logits = logits(&self.model, &self.bank, &self.setup, &batch.tokens())?;
        values(logits.into_values())?;
        Ok(start.elapsed())
    }
}
