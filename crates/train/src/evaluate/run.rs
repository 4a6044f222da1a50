//! Runs a model over all batches of an evaluation, in one process or several.

use burn_adapters_core::Mode;
use burn_adapters_model::{AdapterBank, BaseModel, HeadOutput, Setup};

use super::{HeadValues, check_logits, check_loss, labels_of, logits_of, outputs, scalar, sum_of_losses, values_of};
use crate::heads::heads_of;
use crate::processes::Topic;
use crate::shares::{floats, put};
use crate::{GroupError, ProcessGroup, TokenData, TrainError, batches};

/// The values of one head for all rows in order, and the loss if there are labels.
pub(super) struct HeadResult {
    pub(super) head: String,
    pub(super) logits: Vec<Vec<f32>>,
    /// The sum of the losses of each batch; at the end, of all batches, their mean.
    losses: Vec<f64>,
    pub(super) loss: f64,
    /// The number of rows or tokens that the loss is the mean of.
    mass: f64,
}

/// Runs all batches and, if there are labels, compares the outputs with them.
#[allow(clippy::too_many_arguments)]
pub(super) fn run(
    group: &ProcessGroup,
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    labeled: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<HeadResult>, TrainError> {
    if batch_size == 0 {
        return Err(TrainError::BadConfig { option: "batch size", expected: "at least 1", found: "0".into() });
    }
    if setup.mode() == Mode::Training {
        let found = "a setup in training".into();
        return Err(TrainError::BadConfig { option: "setup", expected: "at inference", found });
    }
    let heads = heads_of(bank, setup)?;
    if labeled {
        heads.iter().try_for_each(|head| labels_of(data, head).map(drop))?;
    }
    let batches = data.batches(|lengths| batches::by_length(lengths, batch_size));
    let (logits, losses) = (vec![Vec::new(); data.len()], vec![0.0; batches.len()]);
    let new = |head| HeadResult { head, logits: logits.clone(), losses: losses.clone(), loss: 0.0, mass: 0.0 };
    let mut results: Vec<HeadResult> = heads.into_iter().map(new).collect();
    let mut done = 0;
    for (number, indices) in batches.iter().enumerate() {
        if labeled {
            for result in &mut results {
                let labels = labels_of(data, &result.head)?.select(indices);
                result.mass += bank.head(&result.head)?.config().task().mass(&labels, None);
            }
        }
        if number % group.size() == group.rank() {
            run_one(model, bank, setup, data, indices, labeled, number, &mut results)?;
        }
        done += indices.len();
        progress(done, data.len());
    }
    share_results(group, &batches, &mut results)?;
    for result in &mut results {
        check_logits(&result.head, &result.logits)?;
        result.loss = result.losses.iter().sum::<f64>() / result.mass.max(f64::MIN_POSITIVE);
        check_loss(&result.head, result.loss)?;
    }
    Ok(results)
}

/// Adds the values and losses of a batch to the results of all heads.
#[allow(clippy::too_many_arguments)]
fn run_one(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    indices: &[usize],
    labeled: bool,
    number: usize,
    results: &mut [HeadResult],
) -> Result<(), TrainError> {
    for (output, result) in outputs(model, bank, setup, data, indices)?.into_iter().zip(results) {
        let labels = labeled.then(|| labels_of(data, &result.head)).transpose()?;
        let labels = labels.map(|labels| labels.select(indices));
        let head = bank.head(&result.head)?;
        let part = match (output, labels) {
            (HeadOutput::Logits(part), Some(labels)) => {
                let mass = head.config().task().mass(&labels, None);
                result.losses[number] = scalar(head.loss(&part.logits, &labels)?)? * mass;
                HeadValues::of(part)?
            }
            (output @ HeadOutput::States(_), Some(labels)) => {
                let part = values_of(model, bank, data, indices, output)?;
                result.losses[number] = sum_of_losses(&part.values, &labels.select(&part.rows))?;
                part
            }
            (output, None) => HeadValues::of(logits_of(model, bank, setup, output)?)?,
        };
        for (row, values) in part.rows.iter().zip(part.values) {
            result.logits[indices[*row]] = values;
        }
    }
    Ok(())
}

/// Gives all processes the results of all batches.
fn share_results(group: &ProcessGroup, batches: &[Vec<usize>], results: &mut [HeadResult]) -> Result<(), TrainError> {
    if group.is_alone() {
        return Ok(());
    }
    // Of each head and each of the process's batches: the loss, and for each row the number of its values, and these.
    let of = |rank: usize| (0..batches.len()).filter(move |number| number % group.size() == rank);
    let mut message = Vec::new();
    for result in &*results {
        for number in of(group.rank()) {
            message.extend(result.losses[number].to_bits().to_le_bytes());
            for row in &batches[number] {
                message.extend((result.logits[*row].len() as u64).to_le_bytes());
                put(&mut message, &result.logits[*row]);
            }
        }
    }
    for (rank, message) in group.all_gather(Topic::Evaluation, message)?.into_iter().enumerate() {
        let mut rest = message.as_slice();
        let mut read = || -> Option<()> {
            for result in &mut *results {
                for number in of(rank) {
                    result.losses[number] = f64::from_bits(first_number(&mut rest)?);
                    for row in &batches[number] {
                        let count = usize::try_from(first_number(&mut rest)?).ok()?;
                        result.logits[*row] = floats(rest.split_off(..count.checked_mul(4)?)?)?;
                    }
                }
            }
            rest.is_empty().then_some(())
        };
        read().ok_or(GroupError::OutOfStep { rank })?;
    }
    Ok(())
}

/// Takes the number that a message begins with.
fn first_number(message: &mut &[u8]) -> Option<u64> {
    let (number, rest) = message.split_first_chunk()?;
    *message = rest;
    Some(u64::from_le_bytes(*number))
}
