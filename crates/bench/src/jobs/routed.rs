//! A batch whose rows use different adapters: mixed, or as one batch per adapter.

use std::time::{Duration, Instant};

use burn::tensor::Device;
use burn_adapters_composition::Composition;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Reads, Row, Setup, TokenBatch};
use burn_adapters_transformers::AutoModel;

use super::Prepared;
use super::parts::{Base, rows};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::{head, with_noise};
use crate::protocol::{Check, Kind, Prepare};

struct Routed {
    model: AutoModel,
    bank: AdapterBank,
    batches: Vec<Batch>,
    /// For each batch, the parts that are run one after another: the setup, the rows, and their positions.
    passes: Vec<Vec<Pass>>,
}

struct Pass {
    setup: Setup,
    rows: Vec<Row>,
    places: Vec<usize>,
}

pub(super) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let Base { model, batches } = Base::load(prepare, device)?;
    let config = prepare.config.as_deref().ok_or("this job needs a configuration")?;
    if prepare.adapters == 0 {
        return Err("this job needs an adapter".into());
    }
    let mut bank = AdapterBank::new(model.spec(), device);
    for index in 0..prepare.adapters {
        bank.add_seeded(&name(index), config.parse()?, index as u64)?;
        bank.add_head_seeded(&name(index), &head(), index as u64)?;
    }
    let bank = with_noise(bank, 0.02, 19);
    let passes = batches.iter().map(|batch| passes(prepare.kind, batch, prepare.adapters)).collect();
    let parameters = bank.names().map(|name| Ok(bank.adapter(name)?.parameters())).sum::<Result<usize, Failed>>()?;
    let (tokens, checksum) = (batches[0].count(), batches[0].checksum());
    let job = Routed { model, bank, batches, passes };
    let check = Check { parameters, tokens, checksum, logits: job.logits(0)?, ..Check::default() };
    Ok((Box::new(job), check))
}

fn name(index: usize) -> String {
    format!("tenant-{index}")
}

/// Row `i` belongs to adapter `i mod adapters`.
fn passes(kind: Kind, batch: &Batch, adapters: usize) -> Vec<Pass> {
    let rows = batch.rows.len();
    if kind == Kind::Separate {
        let part = |index: usize| Pass {
            setup: Setup::adapter(name(index)),
            rows: batch.part(index, adapters),
            places: (index..rows).step_by(adapters).collect(),
        };
        return (0..adapters.min(rows)).map(part).collect();
    }
    let setup = match adapters {
        1 => Setup::adapter(name(0)),
        _ => Setup::compose(Composition::route((0..rows).map(|row| Some(name(row % adapters))))),
    };
    vec![Pass { setup, rows: batch.rows.clone(), places: (0..rows).collect() }]
}

impl Routed {
    /// The logits of a batch, in the order of its rows.
    fn logits(&self, index: usize) -> Result<Vec<Vec<f32>>, Failed> {
        let passes = &self.passes[index % self.passes.len()];
        let mut all = vec![Vec::new(); passes.iter().map(|pass| pass.rows.len()).sum()];
        for pass in passes {
            let hooks = self.bank.hooks(&pass.setup)?;
            let output = self.model.forward_reading(&TokenBatch::from_rows(&pass.rows), &hooks, Reads::First)?;
            for part in self.bank.logits(&pass.setup, &output)? {
                for (row, logits) in part.rows.iter().zip(rows(part.logits)?) {
                    all[pass.places[*row]] = logits;
                }
            }
        }
        Ok(all)
    }
}

impl Job for Routed {
    fn batches(&self) -> &[Batch] {
        &self.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let start = Instant::now();
        self.logits(index)?;
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use burn_adapters_heads::Targets;

    use super::*;

    #[test]
    fn separate_batches_hold_every_row_once() {
        let batch = Batch { rows: (1..8).map(|id| Row::new(vec![id])).collect(), labels: Targets::Classes(vec![0; 7]) };
        let parts = passes(Kind::Separate, &batch, 3);
        let mut places: Vec<usize> = parts.iter().flat_map(|pass| pass.places.clone()).collect();
        places.sort_unstable();
        assert_eq!(places, (0..7).collect::<Vec<_>>());
        assert_eq!(parts[1].rows, [Row::new(vec![2]), Row::new(vec![5])]);
        assert_eq!(passes(Kind::Routed, &batch, 3).len(), 1);
    }
}
