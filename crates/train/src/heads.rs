//! The heads that a setup trains and evaluates.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_model::{AdapterBank, BankError, HeadLogits, Setup};

use crate::evaluate::labels_of;
use crate::tasks::TRAIN_TASKS;
use crate::{ClassWeights, TokenData, TrainError, train_task_named};

/// The heads that a setup runs on every row, in order; the bank has all of them. There is one head, several on the same
/// output, or one per branch of a `Parallel`.
pub(crate) fn heads_of(bank: &AdapterBank, setup: &Setup) -> Result<Vec<String>, TrainError> {
    let heads = match setup.heads() {
        Some(HeadSetup::One(name)) => vec![name],
        Some(HeadSetup::Several(names)) => names,
        Some(HeadSetup::BatchSplit { .. } | HeadSetup::Route(_)) => return Err(TrainError::HeadsOfRows),
        Some(HeadSetup::Unnamed) | None => {
            return Err(BankError::WhichHead { known: bank.head_names().map(str::to_owned).collect() }.into());
        }
    };
    heads.iter().try_for_each(|name| bank.head(name).map(drop))?;
    check_tasks(bank, setup)?;
    let branches = setup.composition().map_or(1, Composition::parallel_channels);
    if branches > 1 && branches != heads.len() {
        return Err(TrainError::HeadsOfBranches { branches, heads });
    }
    Ok(heads)
}

/// Refuses heads of a setup whose task this crate neither trains nor scores.
pub(crate) fn check_tasks(bank: &AdapterBank, setup: &Setup) -> Result<(), TrainError> {
    let heads = setup.heads();
    for name in heads.iter().flat_map(HeadSetup::names) {
        let Ok(head) = bank.head(name) else { continue };
        let task = head.config().task().name();
        if train_task_named(task).is_none() {
            let known = TRAIN_TASKS.iter().map(|task| task.task().name()).collect();
            return Err(TrainError::NoTask { head: name.to_owned(), task, known });
        }
    }
    Ok(())
}

/// The only head of a setup.
pub(crate) fn one_head(bank: &AdapterBank, setup: &Setup) -> Result<String, TrainError> {
    let mut heads = heads_of(bank, setup)?;
    match (heads.pop(), heads.is_empty()) {
        (Some(head), true) => Ok(head),
        (last, _) => Err(TrainError::SeveralHeads { heads: heads.into_iter().chain(last).collect() }),
    }
}

/// A unique name: two branches may have the same head.
pub(crate) fn distinct(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}:{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}

/// The class weights of each head that has any.
pub(crate) type Weights = BTreeMap<String, Vec<f32>>;

/// The class weights of the heads in training.
pub(crate) fn weights(
    weights: Option<&ClassWeights>,
    bank: &AdapterBank,
    heads: &[String],
    data: &TokenData,
) -> Result<Weights, TrainError> {
    let Some(weights) = weights else { return Ok(Weights::new()) };
    let mut found = Weights::new();
    let mut names = Vec::new();
    for head in heads {
        let config = bank.head(head)?.config();
        if let Some(weights) = weights.of(config, labels_of(data, head)?)? {
            found.insert(head.clone(), weights);
        }
        names.push(config.labels());
    }
    match weights.unknown(&names) {
        Some(unknown) => Err(TrainError::UnknownClass { class: unknown.to_owned(), known: names.concat() }),
        None => Ok(found),
    }
}

/// The sum of the losses of all heads for one batch of an optimizer step. Each loss is the mean over the head's rows,
/// as in the reference, multiplied by the batch's share of the step, so that the step equals that of one large batch.
/// `indices` are the rows of the data in the batch, `step` those of all batches of the step.
pub(crate) fn loss(
    bank: &AdapterBank,
    said: Vec<HeadLogits>,
    data: &TokenData,
    indices: &[usize],
    step: &[Vec<usize>],
    weights: &Weights,
) -> Result<Tensor<1>, TrainError> {
    let mut sum: Option<Tensor<1>> = None;
    for HeadLogits { head, rows, logits } in said {
        let rows: Vec<usize> = rows.into_iter().map(|row| indices[row]).collect();
        let labels = labels_of(data, &head)?;
        let selected = labels.select(&rows);
        let head_weights = weights.get(&head).map(Vec::as_slice);
        let head = bank.head(&head)?;
        let loss = match head_weights {
            None => head.loss(&logits, &selected)?,
            Some(weights) => head.weighted_loss(&logits, &selected, weights)?,
        };
        let task = head.config().task();
        let whole: f64 = step.iter().map(|batch| task.mass(&labels.select(batch), head_weights)).sum();
        // A step without any target changes nothing.
        let share = if whole > 0.0 { task.mass(&selected, head_weights) / whole } else { 0.0 };
        let loss = loss * share;
        sum = Some(match sum {
            Some(sum) => sum + loss,
            None => loss,
        });
    }
    sum.ok_or(TrainError::NothingToTrain)
}
