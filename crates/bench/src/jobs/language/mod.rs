//! Jobs of language models: training steps, prompts, and generation.

mod generate;
mod prompt;
mod step;

use burn::tensor::Tensor;
use burn_adapters_model::{Forward, Hooks, Reads, TokenBatch};
use burn_adapters_transformers::AutoModel;

pub(super) use self::generate::prepare as prepare_generate;
pub(super) use self::prompt::prepare as prepare_prompt;
pub(super) use self::step::prepare as prepare_step;
use super::Prepared;
use super::parts::{Base, values};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::NAME;
use crate::protocol::{Check, Prepare};

/// The logits of the last token of each row.
fn last_logits(model: &AutoModel, hooks: &Hooks<'_>, batch: &TokenBatch) -> Result<Vec<Vec<f32>>, Failed> {
    let states = model.forward_reading(batch, hooks, Reads::First)?.row_states();
    let logits: Tensor<2> = model.token_logits(states)?;
    let [_, vocabulary] = logits.dims();
    Ok(values(logits)?.chunks(vocabulary.max(1)).map(<[f32]>::to_vec).collect())
}

/// The part of a check that every job has.
fn checked(batch: &Batch) -> Check {
    Check { tokens: batch.count(), checksum: batch.checksum(), ..Check::default() }
}
