//! A training step of the whole model: full fine-tuning.

use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_checkpoint::load_head;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_train::{AdamW, AdamWOptions, Gradients};
use burn_adapters_transformers::AutoModel;

use super::Prepared;
use super::parts::{Base, LEARNING_RATE, MAX_NORM, check, folder, logits, scalar};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::NAME;
use crate::protocol::Prepare;

/// A model and the bank that holds its head.
#[derive(Module, Debug)]
pub(super) struct Whole {
    pub(super) model: AutoModel,
    pub(super) bank: AdapterBank,
}

impl Whole {
    /// The model and its head, both on the autodiff device.
    pub(super) fn load(prepare: &Prepare, device: &Device) -> Result<(Self, Vec<Batch>), Failed> {
        let device = device.clone().autodiff();
        let Base { model, batches } = Base::load(prepare, &device)?;
        let mut bank = AdapterBank::new(model.spec(), &device);
        load_head(folder(prepare)?, &mut bank, Some(NAME))?;
        Ok((Self { model, bank }, batches))
    }
}

/// A setup without an adapter, with the head.
pub(super) fn setup() -> Setup {
    Setup::base().with_head(NAME)
}

struct Full {
    whole: Whole,
    batches: Vec<Batch>,
    optimizer: AdamW,
    steps: u64,
}

pub(super) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let (mut whole, batches) = Whole::load(prepare, device)?;
    whole = whole.set_require_grad(true);
    let (mut check, gradients) = check(&whole.model, &whole.bank, &setup(), &batches[0])?;
    check.parameters = Module::num_params(&whole.model);
    check.gradient_norm = Some(Gradients::collect(gradients, &whole).norm());
    Ok((Box::new(Full { whole, batches, optimizer: AdamW::new(AdamWOptions::default()), steps: 0 }), check))
}

impl Job for Full {
    fn batches(&self) -> &[Batch] {
        &self.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.batches[index % self.batches.len()];
        let setup = setup().training();
        let start = Instant::now();
        self.whole.model.device().seed(self.steps);
        let logits = logits(&self.whole.model, &self.whole.bank, &setup, &batch.tokens())?;
        let loss = self.whole.bank.head_of(&setup)?.loss(&logits, &batch.labels)?;
        if !scalar(loss.clone())?.is_finite() {
            return Err("the loss became NaN or infinite".into());
        }
        let mut gradients = Gradients::collect(loss.backward(), &self.whole);
        let norm = gradients.norm();
        gradients.clip(norm, MAX_NORM);
        self.whole = self.optimizer.step(LEARNING_RATE, self.whole.clone(), gradients);
        self.whole.model.device().sync()?;
        self.steps += 1;
        Ok(start.elapsed())
    }
}
