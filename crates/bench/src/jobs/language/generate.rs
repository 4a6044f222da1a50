//! Generation after prompts, without an adapter, with one, or with several in one batch.

use std::time::{Duration, Instant};

use burn::tensor::{Device, Tensor};
use burn_adapters_composition::Composition;
use burn_adapters_generate::{GenerationOptions, generate};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup};

use super::{Base, Batch, Check, Failed, Job, Prepare, Prepared, checked, last_logits};
use crate::make::with_noise;

struct Generate {
    base: Base,
    bank: AdapterBank,
    /// The adapters of each batch; empty without any.
    setups: Vec<Setup>,
    options: GenerationOptions,
}

pub(in crate::jobs) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let base = Base::load(prepare, device)?;
    let mut bank = AdapterBank::new(base.model.spec(), device);
    let mut setups = Vec::new();
    if prepare.adapters > 0 {
        let config = prepare.config.as_deref().ok_or("adapters need a configuration")?;
        for index in 0..prepare.adapters {
            bank.add_seeded(&name(index), config.parse()?, index as u64)?;
        }
        bank = with_noise(bank, 0.01, 19);
        setups = base.batches.iter().map(|batch| setup(batch.rows.len(), prepare.adapters)).collect();
    }
    let options = GenerationOptions::greedy().with_max_new_tokens(prepare.new_tokens);
    let job = Generate { base, bank, setups, options };
    let parameters = job.bank.names().map(|name| Ok(job.bank.adapter(name)?.parameters()));
    let parameters = parameters.sum::<Result<usize, Failed>>()?;
    let batch = &job.base.batches[0];
    let logits = last_logits(&job.base.model, &job.hooks(0)?, &batch.tokens())?;
    let check = Check { parameters, logits, generated: job.generate(0)?, ..checked(batch) };
    Ok((Box::new(job), check))
}

fn name(index: usize) -> String {
    format!("tenant-{index}")
}

/// Row `i` belongs to adapter `i mod adapters`.
fn setup(rows: usize, adapters: usize) -> Setup {
    match adapters {
        1 => Setup::adapter(name(0)),
        _ => Setup::compose(Composition::route((0..rows).map(|row| Some(name(row % adapters))))),
    }
}

impl Generate {
    fn hooks(&self, index: usize) -> Result<Hooks<'_>, Failed> {
        match self.setups.get(index) {
            Some(setup) => Ok(self.bank.hooks(setup)?),
            None => Ok(Hooks::none()),
        }
    }

    /// The new tokens of each row of a batch.
    fn generate(&self, index: usize) -> Result<Vec<Vec<u32>>, Failed> {
        let index = index % self.base.batches.len();
        let (model, prompts) = (&self.base.model, self.base.batches[index].tokens());
        let logits = |states: Tensor<2>| Ok(model.token_logits(states)?);
        let texts = generate(model, &self.hooks(index)?, &prompts, &logits, &self.options)?;
        Ok(texts.into_iter().map(|text| text.ids).collect())
    }
}

impl Job for Generate {
    fn batches(&self) -> &[Batch] {
        &self.base.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let start = Instant::now();
        self.generate(index)?;
        Ok(start.elapsed())
    }
}
