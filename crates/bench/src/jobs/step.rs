//! A training step of an adapter and its head: forward, loss, backward, clipping, AdamW.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_train::{AdamW, AdamWOptions, Gradients};

use super::Prepared;
use super::parts::{Base, LEARNING_RATE, MAX_NORM, bank, check, folder, logits, scalar};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::NAME;
use crate::protocol::Prepare;

struct Step {
    base: Base,
    bank: AdapterBank,
    setup: Setup,
    optimizer: AdamW,
    steps: u64,
}

pub(super) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let base = Base::load(prepare, device)?;
    let mut bank = bank(&base.model, folder(prepare)?, &[NAME.to_owned()], &device.clone().autodiff())?;
    let setup = Setup::adapter(NAME);
    let parameters = bank.train_only(&setup)?;

    let (mut check, gradients) = check(&base.model, &bank, &setup, &base.batches[0])?;
    check.parameters = parameters;
    check.gradient_norm = Some(Gradients::collect(gradients, &bank).norm());
    let optimizer = AdamW::new(AdamWOptions::default());
    Ok((Box::new(Step { base, bank, setup: setup.training(), optimizer, steps: 0 }), check))
}

impl Job for Step {
    fn batches(&self) -> &[Batch] {
        &self.base.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.base.batches[index % self.base.batches.len()];
        let start = Instant::now();
        self.base.model.device().seed(self.steps);
        let logits = logits(&self.base.model, &self.bank, &self.setup, &batch.tokens())?;
        let loss = self.bank.head_of(&self.setup)?.loss(&logits, &batch.labels)?;
        if !scalar(loss.clone())?.is_finite() {
            return Err("the loss became NaN or infinite".into());
        }
        let mut gradients = Gradients::collect(loss.backward(), &self.bank);
        let norm = gradients.norm();
        gradients.clip(norm, MAX_NORM);
        self.bank = self.optimizer.step(LEARNING_RATE, self.bank.clone(), gradients);
        self.bank.device().sync()?;
        self.steps += 1;
        Ok(start.elapsed())
    }
}
