//! Evaluation and prediction.

mod run;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use burn_adapters_heads::{ComparedAnswers, Head, HeadConfig, Logits, Targets};
use burn_adapters_model::{
    AdapterBank, BankError, BaseModel, Forward, HeadLogits, HeadOutput, Output, RecordedPass, Setup, TokenStates,
};
use serde::{Deserialize, Serialize};

use self::run::run;
use crate::heads::{check_tasks, distinct, one_head};
use crate::language::{compared, measure};
use crate::{Metric, ProcessGroup, Scores, TokenData, TrainError, train_task};

/// The evaluation of an adapter on labeled data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The number of examples.
    pub examples: usize,
    /// The mean loss.
    pub loss: f64,
    /// The number of rows, tokens or questions that the loss is a mean over.
    #[serde(skip)]
    pub mass: f64,
    /// The scores.
    pub scores: Scores,
    /// The logits of each row, in the order of the data; for token-level heads, those of all tokens. For heads of language
    /// models, two numbers for each token that is predicted: the natural logarithm of its probability, and 1 if no other
    /// token was more probable, otherwise 0.
    #[serde(skip)]
    pub logits: Vec<Vec<f32>>,
}

/// The evaluation of one head of a setup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadEvaluation {
    /// The head's name; if a second branch has the head `NAME` too, it is `NAME:2`.
    pub head: String,
    /// The evaluation.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

impl Evaluation {
    /// Compares the logits of a head with the labels; the logits have the form of [`Prediction::logits`].
    ///
    /// # Errors
    /// If the labels do not fit the head, their number differs from that of the logits, or a logit or the loss is not
    /// finite.
    pub fn new(head: &Head, logits: Vec<Vec<f32>>, labels: &Targets) -> Result<Self, TrainError> {
        if head.config().head_type.is_language_model() {
            return Self::measured(head.config(), logits, labels);
        }
        let device = head.devices().into_iter().next().unwrap_or_default().without_autodiff();
        let width = head.config().outputs();
        let values: Vec<f32> = logits.iter().flatten().copied().collect();
        if logits.iter().any(|row| !row.len().is_multiple_of(width)) || labels.len() != logits.len() {
            let source_name = "the logits".to_owned();
            return Err(TrainError::LabelCount { source_name, rows: logits.len(), labels: labels.len() });
        }
        check_logits("", &logits)?;
        let vectors = TensorData::new(values, [logits.iter().map(Vec::len).sum::<usize>() / width, width]);
        let lengths = logits.iter().map(|row| row.len() / width).collect();
        let loss = scalar(head.loss(&Logits::new(Tensor::from_data(vectors, &device), lengths)?, labels)?)?;
        check_loss("", loss)?;
        Ok(Self::scored(head.config(), logits, labels, loss))
    }

    /// The evaluation of a language-model head, from two numbers for each target.
    fn measured(head: &HeadConfig, values: Vec<Vec<f32>>, labels: &Targets) -> Result<Self, TrainError> {
        let count = labels.token_classes().count();
        if values.iter().map(Vec::len).sum::<usize>() != 2 * count || labels.len() != values.len() {
            let source_name = "the logits".to_owned();
            return Err(TrainError::LabelCount { source_name, rows: values.len(), labels: labels.len() });
        }
        check_logits("", &values)?;
        let loss = sum_of_losses(&values, labels)? / head.task().mass(labels, None).max(1.0);
        check_loss("", loss)?;
        Ok(Self::scored(head, values, labels, loss))
    }

    fn scored(head: &HeadConfig, logits: Vec<Vec<f32>>, labels: &Targets, loss: f64) -> Self {
        let (examples, mass) = (labels.examples(), head.task().mass(labels, None));
        Self { examples, loss, mass, scores: train_task(head).score(head, &logits, labels), logits }
    }

    /// The value of a metric; `None` if the head does not have it.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        if metric == Metric::LOSS { Some(self.loss) } else { self.scores.metric(metric) }
    }

    /// The fraction of correct predictions, if the task has it.
    pub fn accuracy(&self) -> Option<f64> {
        self.metric(Metric::ACCURACY)
    }
}

/// The prediction of a head for a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// The logits: one per label, or one number. For token-level heads, those of all tokens in order.
    pub logits: Vec<f32>,
    /// The probability of each label, in the order of the logits: a softmax in classification, a sigmoid for each label
    /// in multilabel classification; empty for regression.
    pub probabilities: Vec<f32>,
    /// The numbers of the predicted labels: the best one, those with a probability above one half, or one per token;
    /// empty for regression.
    pub labels: Vec<usize>,
}

impl Prediction {
    /// Interprets the logits of a head.
    ///
    /// ```
    /// use burn_adapters_heads::HeadConfig;
    /// use burn_adapters_train::Prediction;
    ///
    /// let prediction = Prediction::new(&HeadConfig::classification(2), vec![0.0, 3f32.ln()])?;
    /// assert_eq!(prediction.labels, [1]);
    /// assert!((prediction.probabilities[1] - 0.75).abs() < 1e-6);
    /// assert!(Prediction::new(&HeadConfig::classification(2), vec![0.0, f32::NAN]).is_err());
    /// # Ok::<(), burn_adapters_train::TrainError>(())
    /// ```
    ///
    /// # Errors
    /// If a logit is NaN or infinite.
    pub fn new(head: &HeadConfig, logits: Vec<f32>) -> Result<Self, TrainError> {
        check_logits("", std::slice::from_ref(&logits))?;
        Ok(train_task(head).decode(head, logits))
    }
}

/// The prediction for each text, in the order of the data; of a question with several windows or choices, the logits of
/// all of them one after another. Texts of similar length are batched together; the batches influence only the rounding.
///
/// # Errors
/// If the bank lacks the setup's adapter or head, the setup has several heads, the model fails, or logits are not finite.
pub fn predict(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
) -> Result<Vec<Prediction>, TrainError> {
    let head = bank.head(&one_head(bank, setup)?)?.config();
    let alone = ProcessGroup::alone();
    let outputs = run(&alone, model, bank, setup, data, batch_size, false, &mut |_, _| {})?.into_iter();
    let logits: Vec<Vec<f32>> = outputs.flat_map(|output| output.logits).collect();
    data.examples().map(|rows| Prediction::new(head, logits.get(rows).unwrap_or_default().concat())).collect()
}

/// Compares the predictions for labeled data with the labels.
///
/// # Errors
/// If the data has no labels or they do not fit the head, the bank lacks the setup's adapter or head, the setup has
/// several heads (see [`evaluate_heads`]), the model fails, or logits or the loss are not finite.
pub fn evaluate(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    evaluate_with(model, bank, setup, data, batch_size, &mut |_, _| {})
}

/// [`evaluate`] with a callback that gets the numbers of completed and of all examples after each batch.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, TrainError> {
    let head = one_head(bank, setup)?;
    let found = evaluate_heads(model, bank, setup, data, batch_size, progress)?.pop();
    found.map(|found| found.evaluation).ok_or(TrainError::SeveralHeads { heads: vec![head] })
}

/// Evaluates each head of a setup (one per branch of a `Parallel`, or several on the same output) on labeled data, in
/// the order of the heads. The callback gets the numbers of completed and of all examples after each batch.
///
/// # Errors
/// If the data has no labels or they do not fit a head, the bank lacks an adapter or a head of the setup, the setup has
/// a head for each row, the model fails, or logits or the loss are not finite.
pub fn evaluate_heads(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<HeadEvaluation>, TrainError> {
    evaluate_in(&ProcessGroup::alone(), model, bank, setup, data, batch_size, progress)
}

/// [`evaluate_heads`] in several processes, each of which computes some batches and has the result of all.
#[allow(clippy::too_many_arguments)]
pub(crate) fn evaluate_in(
    group: &ProcessGroup,
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<HeadEvaluation>, TrainError> {
    let mut evaluations: Vec<HeadEvaluation> = Vec::new();
    for output in run(group, model, bank, setup, data, batch_size, true, progress)? {
        let config = bank.head(&output.head)?.config();
        let evaluation = Evaluation::scored(config, output.logits, labels_of(data, &output.head)?, output.loss);
        let head = distinct(&output.head, |name| evaluations.iter().any(|other| other.head == name));
        evaluations.push(HeadEvaluation { head, evaluation });
    }
    Ok(evaluations)
}

/// The labels of a data set that a head learns.
pub(crate) fn labels_of<'a>(data: &'a TokenData, head: &str) -> Result<&'a Targets, TrainError> {
    data.labels_of(head).ok_or_else(|| TrainError::NoLabels { source_name: data.source().to_owned() })
}

/// The logits of some rows for each head: runs the base model with adapters, then the heads. In the last layer, only the
/// positions that the heads read are computed, if the model and the adapters allow it. A head of a language model computes
/// those of the tokens that are [wanted](TokenData::wanted).
///
/// # Errors
/// If the bank lacks the setup's adapters or heads, the data is for another kind of model, or the model fails.
pub fn run_batch(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    rows: &[usize],
) -> Result<Vec<HeadLogits>, TrainError> {
    let logits = |output| logits_of(model, bank, setup, output);
    outputs(model, bank, setup, data, rows)?.into_iter().map(logits).collect()
}

/// The logits of a head, of a language-model head those of its states.
fn logits_of(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    output: HeadOutput,
) -> Result<HeadLogits, TrainError> {
    match output {
        HeadOutput::Logits(logits) => Ok(logits),
        HeadOutput::States(TokenStates { head, rows, states, lengths }) => {
            let values = bank.token_logits(model, &head, states, setup.mode())?;
            let failed = |source| BankError::Head { name: head.clone(), source };
            Ok(HeadLogits { logits: Logits::new(values, lengths).map_err(failed)?, head, rows })
        }
    }
}

/// What [`Evaluation::new`] scores, for some rows of labeled data: as [`run_batch`], but of a language-model head not the
/// logits, which would be many, but two numbers for each target (see [`Evaluation::logits`]).
///
/// # Errors
/// As [`run_batch`]; if the data has no targets for a head of a language model.
pub fn score_batch(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    rows: &[usize],
) -> Result<Vec<HeadValues>, TrainError> {
    let values = |output| values_of(model, bank, data, rows, output);
    outputs(model, bank, setup, data, rows)?.into_iter().map(values).collect()
}

fn values_of(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    data: &TokenData,
    rows: &[usize],
    output: HeadOutput,
) -> Result<HeadValues, TrainError> {
    let states = match output {
        HeadOutput::Logits(part) => return HeadValues::of(part),
        HeadOutput::States(states) => states,
    };
    let selected: Vec<usize> = states.rows.iter().map(|row| rows[*row]).collect();
    let targets: Vec<usize> = labels_of(data, &states.head)?.select(&selected).token_classes().collect();
    let measured = measure(model, bank, &states, &targets)?;
    let mut numbers = measured.into_iter().map(|target| [target.log_probability, f32::from(u8::from(target.is_best))]);
    let of_rows = states.lengths.iter().map(|length| numbers.by_ref().take(*length).flatten().collect());
    let values = of_rows.collect();
    Ok(HeadValues { head: states.head, rows: states.rows, values })
}

/// The sum of the losses of a language-model head, from two values for each token: those of tokens, or of pairs of answers.
fn sum_of_losses(values: &[Vec<f32>], labels: &Targets) -> Result<f64, TrainError> {
    if let Targets::Preferences(rows) = labels {
        return Ok(compared(rows, values)?.iter().map(ComparedAnswers::loss).sum());
    }
    let tokens = values.iter().flat_map(|row| row.iter().step_by(2));
    Ok(-tokens.map(|value| f64::from(*value)).sum::<f64>())
}

/// The numbers of one head for some rows, that scores are made of.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadValues {
    /// The head's name.
    pub head: String,
    /// The rows of the batch, in the order of the values.
    pub rows: Vec<usize>,
    /// The values of each row.
    pub values: Vec<Vec<f32>>,
}

impl HeadValues {
    /// The logits of each row, read from the device.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn of(part: HeadLogits) -> Result<Self, TrainError> {
        let values = to_vec(part.logits.values().clone())?;
        let of_rows = part.logits.split(&values).into_iter().map(<[f32]>::to_vec).collect();
        Ok(Self { head: part.head, rows: part.rows, values: of_rows })
    }
}

/// Runs the base model and the heads, except for the last layer of language models.
pub(crate) fn outputs(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    rows: &[usize],
) -> Result<Vec<HeadOutput>, TrainError> {
    check_tasks(bank, setup)?;
    data.check_model(model)?;
    let hooks = bank.hooks(setup)?;
    let output = model.forward_reading(&data.batch(model, rows), &hooks, bank.reads(setup))?;
    outputs_of(model, bank, setup, data, rows, &output)
}

/// [`outputs`] in training, of a pass that keeps only the inputs of its layers.
pub(crate) fn recorded(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    rows: &[usize],
    seed: u64,
) -> Result<(Vec<HeadOutput>, RecordedPass), TrainError> {
    check_tasks(bank, setup)?;
    data.check_model(model)?;
    let pass = RecordedPass::new(model, bank, setup, data.batch(model, rows), seed)?;
    Ok((outputs_of(model, bank, setup, data, rows, pass.output())?, pass))
}

/// What the heads give for the output of the base model.
fn outputs_of(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    rows: &[usize],
    output: &Output,
) -> Result<Vec<HeadOutput>, TrainError> {
    let wanted: &mut dyn FnMut(&str, usize) -> Vec<usize> =
        &mut |_, row| data.wanted(rows[row]).unwrap_or_default().to_vec();
    let wanted = (!data.language.wanted.is_empty()).then_some(wanted);
    Ok(bank.outputs(model, setup, output, wanted)?)
}

/// Checks that logits are finite: otherwise they give neither labels nor scores.
pub(crate) fn check_logits(head: &str, logits: &[Vec<f32>]) -> Result<(), TrainError> {
    let bad = |row: &[f32]| row.iter().copied().find(|value| !value.is_finite());
    let mut rows = logits.iter().enumerate().filter_map(|(row, logits)| Some((row, bad(logits)?)));
    let Some((first, value)) = rows.next() else { return Ok(()) };
    let rows = std::iter::once(first).chain(rows.map(|(row, _)| row)).collect();
    Err(TrainError::NotFiniteLogits { head: head.to_owned(), value, rows })
}

fn check_loss(head: &str, value: f64) -> Result<(), TrainError> {
    if value.is_finite() { Ok(()) } else { Err(TrainError::NotFiniteLoss { head: head.to_owned(), value }) }
}

/// The values of a tensor.
pub(crate) fn to_vec<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    let data = tensor.try_into_data_as::<f32>().map_err(|error| TrainError::Device(error.to_string()))?;
    data.try_into_vec().map_err(|error| TrainError::Device(error.to_string()))
}

/// The value of a tensor of one element.
pub(crate) fn scalar(tensor: Tensor<1>) -> Result<f64, TrainError> {
    Ok(to_vec(tensor)?.first().copied().unwrap_or(f32::NAN).into())
}
