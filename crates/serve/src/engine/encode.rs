//! Texts that go through the model once: the logits of heads, and embeddings.

use std::sync::Arc;

use burn_adapters_composition::{Composition, HeadSetup, Route};
use burn_adapters_core::mean_of_tokens;
use burn_adapters_model::{AdapterBank, Forward, Row, Setup, TokenBatch};
use burn_adapters_train::{HeadValues, TokenData, run_batch};
use burn_adapters_transformers::AutoModel;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Engine, chain, guarded};
use crate::metrics::{Activity, State};
use crate::registry::Resident;

/// What is computed of each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The logits of the adapter's head.
    Logits,
    /// The mean of the last hidden states.
    Mean,
}

/// Rows of tokens of one request.
pub(crate) struct EncodeJob {
    pub(crate) adapter: Option<Arc<Resident>>,
    pub(crate) rows: Vec<Row>,
    pub(crate) wanted: Wanted,
    pub(crate) reply: oneshot::Sender<Result<Vec<Vec<f32>>, String>>,
    pub(crate) place: Option<OwnedSemaphorePermit>,
    pub(crate) activity: Activity,
}

impl Engine {
    /// Runs the next batch of rows, of neighboring requests that want the same.
    pub(super) fn encode(&mut self) {
        self.encodes.retain(|job| !job.reply.is_closed());
        let Some(wanted) = self.encodes.front().map(|job| job.wanted) else { return };
        let mut jobs: Vec<EncodeJob> = Vec::new();
        let (mut rows, mut longest) = (0, 0);
        while let Some(job) = self.encodes.front().filter(|job| job.wanted == wanted) {
            let length = job.rows.iter().map(|row| row.ids.len()).max().unwrap_or(0).max(longest);
            let count = rows + job.rows.len();
            // A request by itself may be larger; its size is limited where it is made.
            if !jobs.is_empty() && (count > self.sizes.texts || count * length > self.sizes.cache_tokens) {
                break;
            }
            (rows, longest) = (count, length);
            let Some(mut job) = self.encodes.pop_front() else { break };
            job.place = None;
            job.activity.set(State::Running);
            jobs.push(job);
        }
        let (model, bank) = (&*self.model, &self.bank);
        let together = guarded(|| run(model, bank, &jobs, wanted));
        let count = jobs.len();
        match together {
            Ok(values) => {
                let mut values = values.into_iter();
                for job in jobs {
                    let own = values.by_ref().take(job.rows.len()).collect();
                    let _ = job.reply.send(Ok(own));
                }
            }
            Err(error) if count == 1 => jobs.into_iter().for_each(|job| {
                let _ = job.reply.send(Err(error.clone()));
            }),
            // One that fails does not fail others.
            Err(_) => {
                for job in jobs {
                    let alone = guarded(|| run(model, bank, std::slice::from_ref(&job), wanted));
                    let _ = job.reply.send(alone);
                }
            }
        }
    }
}

/// The values of all rows, in order.
fn run(model: &AutoModel, bank: &AdapterBank, jobs: &[EncodeJob], wanted: Wanted) -> Result<Vec<Vec<f32>>, String> {
    let rows: Vec<Row> = jobs.iter().flat_map(|job| job.rows.iter().cloned()).collect();
    let of_rows = |name: &dyn Fn(&Resident) -> String| {
        let named = jobs.iter().flat_map(|job| std::iter::repeat_n(job.adapter.as_deref().map(name), job.rows.len()));
        named.collect::<Vec<Option<String>>>()
    };
    let adapters = of_rows(&|adapter| adapter.name().to_owned());
    let setup = match adapters.iter().all(Option::is_none) {
        true => Setup::base(),
        false => Setup::compose(Composition::route(adapters)),
    };
    match wanted {
        Wanted::Logits => {
            let setup = setup.with_head(HeadSetup::Route(Route::new(of_rows(&Resident::task_head_name))));
            let data = TokenData::new("the requests", rows, None).map_err(|error| chain(&error))?;
            let all: Vec<usize> = (0..data.len()).collect();
            let mut found = vec![Vec::new(); data.len()];
            for part in run_batch(model, bank, &setup, &data, &all).map_err(|error| chain(&error))? {
                let HeadValues { rows, values, .. } = HeadValues::of(part).map_err(|error| chain(&error))?;
                rows.into_iter().zip(values).for_each(|(row, values)| found[row] = values);
            }
            Ok(found)
        }
        Wanted::Mean => {
            let hooks = bank.hooks(&setup).map_err(|error| chain(&error))?;
            let output = model.forward(&TokenBatch::from_rows(&rows), &hooks).map_err(|error| chain(&error))?;
            let [_, _, width] = output.hidden.dims();
            let mean = mean_of_tokens(output.hidden, &output.tokens);
            let values = mean.into_data().convert::<f32>().try_into_vec::<f32>();
            let values = values.map_err(|error| format!("the embeddings could not be read: {error:?}"))?;
            Ok(values.chunks(width.max(1)).map(<[f32]>::to_vec).collect())
        }
    }
}
