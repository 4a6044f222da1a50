//! The heads that a setup trains and evaluates.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_heads::Targets;
use burn_adapters_model::{AdapterBank, BankError, BaseModel, HeadOutput, RecordedPass, Setup};

use crate::evaluate::{labels_of, scalar};
use crate::language::{self, PartialLoss};
use crate::tasks::TRAIN_TASKS;
use crate::{ClassWeights, Gradients, TokenData, TrainError, train_task_named};

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

/// The losses of all heads for one batch of an optimizer step.
pub(crate) struct StepLoss {
    /// The part that is already differentiated down to some states.
    known: f64,
    /// The losses that are not differentiated yet.
    sum: Option<Tensor<1>>,
    /// Continues the backward pass of the others: its value means nothing.
    rest: Option<Tensor<1>>,
    /// The gradients that are already there.
    gradients: Gradients,
}

impl StepLoss {
    /// Adds a further loss.
    pub(crate) fn add(&mut self, loss: Tensor<1>) {
        add(&mut self.sum, loss);
    }

    /// The value and the gradients of the parameters of a bank. The pass is that of the loss, if its layers are to be
    /// computed again.
    pub(crate) fn backward(
        self,
        model: &(impl BaseModel + ?Sized),
        bank: &AdapterBank,
        pass: Option<RecordedPass>,
    ) -> Result<(f64, Gradients), TrainError> {
        let Self { known, sum, mut rest, mut gradients } = self;
        let value = known + sum.clone().map(scalar).transpose()?.unwrap_or(0.0);
        if !value.is_finite() {
            return Ok((value, gradients));
        }
        if let Some(sum) = sum {
            add(&mut rest, sum);
        }
        let rest = rest.ok_or(TrainError::NothingToTrain)?;
        if rest.is_tracked() {
            let mut found = rest.backward();
            if let Some(pass) = pass {
                pass.backward(model, bank, &mut found, |found| gradients.accumulate(Gradients::collect(found, bank)))?;
            }
            gradients.accumulate(Gradients::collect(found, bank));
        } else if gradients.is_empty() {
            return Err(TrainError::NothingToTrain);
        }
        Ok((value, gradients))
    }
}

fn add(sum: &mut Option<Tensor<1>>, other: Tensor<1>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + other,
        None => other,
    });
}

/// The sum of the losses of all heads for one batch of an optimizer step. Each loss is the mean over the head's rows,
/// as in the reference, multiplied by the batch's share of the step, so that the step equals that of one large batch.
/// `indices` are the rows of the data in the batch, `step` those of all batches of the step.
pub(crate) fn loss(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    outputs: Vec<HeadOutput>,
    data: &TokenData,
    indices: &[usize],
    step: &[Vec<usize>],
    weights: &Weights,
) -> Result<StepLoss, TrainError> {
    let mut found = StepLoss { known: 0.0, sum: None, rest: None, gradients: Gradients::default() };
    for output in outputs {
        let (name, rows) = match &output {
            HeadOutput::Logits(part) => (part.head.as_str(), &part.rows),
            HeadOutput::States(part) => (part.head.as_str(), &part.rows),
        };
        let rows: Vec<usize> = rows.iter().map(|row| indices[*row]).collect();
        let labels = labels_of(data, name)?;
        let selected = labels.select(&rows);
        let head_weights = weights.get(name).map(Vec::as_slice);
        let head = bank.head(name)?;
        let task = head.config().task();
        let whole: f64 = step.iter().map(|batch| task.mass(&labels.select(batch), head_weights)).sum();
        match output {
            HeadOutput::Logits(part) => {
                let loss = match head_weights {
                    None => head.loss(&part.logits, &selected)?,
                    Some(weights) => head.weighted_loss(&part.logits, &selected, weights)?,
                };
                // A step without any target changes nothing.
                let share = if whole > 0.0 { task.mass(&selected, head_weights) / whole } else { 0.0 };
                found.add(loss * share);
            }
            HeadOutput::States(states) => {
                let targets: Vec<usize> = selected.token_classes().collect();
                let factor = 1.0 / whole;
                let PartialLoss { value, rest, gradients } = match &selected {
                    Targets::Preferences(pairs) => {
                        language::preference_loss(model, bank, &states, pairs, &targets, factor)?
                    }
                    _ => language::loss(model, bank, &states, &targets, factor)?,
                };
                found.known += value;
                add(&mut found.rest, rest);
                found.gradients.accumulate(gradients);
            }
        }
    }
    Ok(found)
}
