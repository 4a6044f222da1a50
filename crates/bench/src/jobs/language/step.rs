//! A training step of a language model's adapter: forward, loss over all next tokens, backward, clipping, AdamW.
//!
//! The step is the trainer's, with its loss in parts: a training of one epoch of one batch.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_adapters_checkpoint::load_adapter;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_train::{Schedule, StepRecord, TokenData, TrainConfig, Trainer};

use super::{Base, Batch, Check, Failed, Job, NAME, Prepare, Prepared, checked};
use crate::jobs::parts::{LEARNING_RATE, MAX_NORM, folder};

struct Step {
    base: Base,
    /// The rows of each batch.
    data: Vec<TokenData>,
    bank: AdapterBank,
    setup: Setup,
    checkpoints: bool,
}

pub(in crate::jobs) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let base = Base::load(prepare, device)?;
    let mut bank = AdapterBank::new(base.model.spec(), &device.clone().autodiff());
    load_adapter(folder(prepare)?, &mut bank, Some(NAME))?;
    bank.add_model_head(NAME, &HeadConfig::causal_lm(base.model.decoder_limits().vocabulary))?;
    let data = |batch: &Batch| Ok(TokenData::new("the batch", batch.rows.clone(), None)?.predicting_next()?);
    let data = base.batches.iter().map(data).collect::<Result<Vec<_>, Failed>>()?;
    let parameters = bank.adapter(NAME)?.parameters();
    let mut step =
        Step { base, data, bank, setup: Setup::adapter(NAME).with_head(NAME), checkpoints: prepare.checkpoints };

    // The step of the check is undone.
    let before = step.bank.clone();
    let record = step.train(0)?;
    step.bank = before;
    let (loss, gradient_norm) = (Some(record.loss), Some(record.gradient_norm));
    let check = Check { parameters, loss, gradient_norm, ..checked(&step.base.batches[0]) };
    Ok((Box::new(step), check))
}

impl Step {
    fn train(&mut self, index: usize) -> Result<StepRecord, Failed> {
        let data = &self.data[index % self.data.len()];
        let config = TrainConfig::new()
            .with_epochs(1)
            .with_batch_size(data.len())
            .with_keep_order(true)
            .with_learning_rate(LEARNING_RATE)
            .with_schedule(Schedule::Constant)
            .with_checkpoint_layers(self.checkpoints)
            .with_max_gradient_norm(Some(MAX_NORM));
        let bank = self.bank.clone();
        let trained = Trainer::new(config).train(&self.base.model, bank, &self.setup, data, None, &mut ())?;
        self.bank = trained.bank;
        self.bank.device().sync()?;
        let record = trained.history.steps.last().cloned();
        record.ok_or_else(|| "training ended without a step".into())
    }
}

impl Job for Step {
    fn batches(&self) -> &[Batch] {
        &self.base.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let start = Instant::now();
        self.train(index)?;
        Ok(start.elapsed())
    }
}
