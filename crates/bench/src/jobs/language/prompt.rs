//! A pass over prompts, to the logits of the last token.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_adapters_model::Hooks;

use super::{Base, Batch, Check, Failed, Job, Prepare, Prepared, checked, last_logits};

struct Prompt {
    base: Base,
}

pub(in crate::jobs) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let base = Base::load(prepare, device)?;
    let batch = &base.batches[0];
    let logits = last_logits(&base.model, &Hooks::none(), &batch.tokens())?;
    let check = Check { logits, ..checked(batch) };
    Ok((Box::new(Prompt { base }), check))
}

impl Job for Prompt {
    fn batches(&self) -> &[Batch] {
        &self.base.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.base.batches[index % self.base.batches.len()];
        let start = Instant::now();
        last_logits(&self.base.model, &Hooks::none(), &batch.tokens())?;
        Ok(start.elapsed())
    }
}
