//! A bank of many adapters: adding another one, and switching between them.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_adapters_config::AdapterConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};

use super::Prepared;
use super::parts::{Base, logits, rows, values};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::{NAME, head};
use crate::protocol::{Check, Kind, Prepare};

struct Adding {
    base: Base,
    bank: AdapterBank,
    kind: Kind,
    config: AdapterConfig,
    adapters: usize,
    /// The next adapter to use.
    next: usize,
}

/// A bank of `adapters`. If adding is measured, each unit adds the last one.
pub(super) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let base = Base::load(prepare, device)?;
    let config: AdapterConfig = prepare.config.as_deref().ok_or("this job needs a configuration")?.parse()?;
    let mut bank = AdapterBank::new(base.model.spec(), device);
    let there = if prepare.kind == Kind::Switch { prepare.adapters } else { prepare.adapters.saturating_sub(1) };
    for index in 0..there {
        bank.add_seeded(&name(index), config.clone(), index as u64)?;
    }
    bank.add_head_seeded(NAME, &head(), 13)?;

    let batch = &base.batches[0];
    let plain = Setup::base().with_head(NAME);
    let check = Check {
        parameters: bank.plan("planned", config.clone())?.1.parameters(),
        tokens: batch.count(),
        checksum: batch.checksum(),
        logits: rows(logits(&base.model, &bank, &plain, &batch.tokens())?)?,
        ..Check::default()
    };
    let (kind, adapters) = (prepare.kind, prepare.adapters);
    Ok((Box::new(Adding { base, bank, kind, config, adapters, next: 0 }), check))
}

fn name(index: usize) -> String {
    format!("tenant-{index}")
}

impl Job for Adding {
    fn batches(&self) -> &[Batch] {
        &self.base.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.base.batches[index % self.base.batches.len()];
        let start = Instant::now();
        if self.kind == Kind::Switch {
            // A stride that visits every adapter before it returns to the first.
            self.next = (self.next + 37) % self.adapters.max(1);
            let setup = Setup::adapter(name(self.next)).with_head(NAME);
            values(logits(&self.base.model, &self.bank, &setup, &batch.tokens())?.into_values())?;
            return Ok(start.elapsed());
        }
        self.bank.add_seeded("last", self.config.clone(), 5)?;
        if self.kind == Kind::AddAndUse {
            let setup = Setup::adapter("last").with_head(NAME);
            values(logits(&self.base.model, &self.bank, &setup, &batch.tokens())?.into_values())?;
        }
        let taken = start.elapsed();
        self.bank.remove("last")?;
        Ok(taken)
    }
}
