//! Evaluation and prediction.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use burn_adapters_core::Mode;
use burn_adapters_heads::{Head, HeadConfig, Labels, Task};
use burn_adapters_model::{AdapterBank, HeadLogits, Setup};
use serde::{Deserialize, Serialize};

use crate::heads::{distinct, heads_of, one_head};
use crate::tokens::select_labels;
use crate::{
    ClassScores, Metric, MultiLabelScores, RegressionScores, TextEncoder, TokenBatch, TokenData, TrainError, batches,
};

/// Scores, by what the head does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Scores {
    /// One class of several.
    Classification(ClassScores),
    /// Any number of labels.
    MultiLabel(MultiLabelScores),
    /// A number.
    Regression(RegressionScores),
}

/// How good an adapter is on labelled data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The number of examples.
    pub examples: usize,
    /// The mean loss.
    pub loss: f64,
    /// The scores.
    pub scores: Scores,
    /// The logits of each example, in the order of the data.
    #[serde(skip)]
    pub logits: Vec<Vec<f32>>,
}

/// How good one head of a setup is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadEvaluation {
    /// The head's name; where a second branch has the head `NAME` too, that is `NAME:2`.
    pub head: String,
    /// Its scores.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

impl Evaluation {
    /// Compares what a head said of some texts with their labels; the logits are as [`Prediction`] has them, one list a
    /// label.
    ///
    /// # Errors
    /// If the labels do not fit the head, there is not one for each list of logits, or a logit or the loss is not
    /// finite.
    pub fn new(head: &Head, logits: Vec<Vec<f32>>, labels: &Labels) -> Result<Self, TrainError> {
        let device = head.devices().into_iter().next().unwrap_or_default().without_autodiff();
        let shape = [logits.len(), head.config().num_labels];
        let values: Vec<f32> = logits.iter().flatten().copied().collect();
        if values.len() != shape[0] * shape[1] || labels.len() != shape[0] {
            let source_name = "the logits".to_owned();
            return Err(TrainError::LabelCount { source_name, rows: logits.len(), labels: labels.len() });
        }
        check_logits("", &logits)?;
        let loss = scalar(head.loss(Tensor::from_data(TensorData::new(values, shape), &device), labels)?)?;
        check_loss("", loss)?;
        Ok(Self::scored(head.config(), logits, labels, loss))
    }

    fn scored(head: &HeadConfig, logits: Vec<Vec<f32>>, labels: &Labels, loss: f64) -> Self {
        let scores = match labels {
            Labels::Classes(truth) => {
                let found: Vec<usize> = logits.iter().map(|logits| greatest(logits)).collect();
                Scores::Classification(ClassScores::new(&head.labels(), truth, &found))
            }
            Labels::Sets(truth) => {
                let truth: Vec<Vec<bool>> =
                    truth.iter().map(|row| row.iter().map(|value| *value > 0.5).collect()).collect();
                let found: Vec<Vec<bool>> =
                    logits.iter().map(|logits| logits.iter().map(|logit| *logit > 0.0).collect()).collect();
                Scores::MultiLabel(MultiLabelScores::new(&head.labels(), &truth, &found))
            }
            Labels::Values(truth) => {
                let found: Vec<f32> = logits.iter().flatten().copied().collect();
                Scores::Regression(RegressionScores::new(truth, &found))
            }
        };
        Self { examples: labels.len(), loss, scores, logits }
    }

    /// A single number; `None` if the head does not have it.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        match (metric, &self.scores) {
            (Metric::Loss, _) => Some(self.loss),
            (Metric::Accuracy, Scores::Classification(scores)) => Some(scores.accuracy),
            // Where every example has exactly one label and one prediction, the two are the same.
            (Metric::MicroF1, Scores::Classification(scores)) => Some(scores.accuracy),
            (Metric::MacroF1, Scores::Classification(scores)) => Some(scores.macro_f1),
            (Metric::Accuracy, Scores::MultiLabel(scores)) => Some(scores.accuracy),
            (Metric::MicroF1, Scores::MultiLabel(scores)) => Some(scores.micro_f1),
            (Metric::MacroF1, Scores::MultiLabel(scores)) => Some(scores.macro_f1),
            (Metric::MeanSquaredError, Scores::Regression(scores)) => Some(scores.mean_squared_error),
            (Metric::Pearson, Scores::Regression(scores)) => Some(scores.pearson),
            _ => None,
        }
    }

    /// The part of the examples that are right, if the head has it.
    pub fn accuracy(&self) -> Option<f64> {
        self.metric(Metric::Accuracy)
    }
}

/// What a head says of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// What the head computed: one number a label, or one number.
    pub logits: Vec<f32>,
    /// The probability of each label: a softmax over the logits for one class of several, a sigmoid of each where any
    /// number of labels apply; empty for regression.
    pub probabilities: Vec<f32>,
    /// The numbers of the predicted labels: one, or those above one half; none for regression.
    pub labels: Vec<usize>,
}

impl Prediction {
    /// What these logits of a head mean.
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
    /// If a logit is NaN or infinite: then no label follows from them.
    pub fn new(head: &HeadConfig, logits: Vec<f32>) -> Result<Self, TrainError> {
        check_logits("", std::slice::from_ref(&logits))?;
        let (probabilities, labels) = match head.task() {
            Task::Classification => (softmax(&logits), vec![greatest(&logits)]),
            Task::MultiLabel => {
                let labels = (0..logits.len()).filter(|label| logits[*label] > 0.0).collect();
                (logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(), labels)
            }
            Task::Regression => (Vec::new(), Vec::new()),
        };
        Ok(Self { logits, probabilities, labels })
    }
}

/// The logits of each text, in the order of the data. Texts of like length go through the model together; which ones
/// makes no difference beyond rounding.
///
/// # Errors
/// If the bank lacks the setup's adapter or head, the setup has several heads, the model fails, or logits are not finite.
pub fn predict(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
) -> Result<Vec<Prediction>, TrainError> {
    let head = bank.head(&one_head(bank, setup)?)?.config();
    let said = run(encoder, bank, setup, data, batch_size, false, &mut |_, _| {})?.into_iter();
    said.flat_map(|said| said.logits).map(|logits| Prediction::new(head, logits)).collect()
}

/// Compares the predictions for labelled data with the labels.
///
/// # Errors
/// If the data has no labels or they do not fit the head, the bank lacks the setup's adapter or head, the setup has
/// several heads (see [`evaluate_heads`]), the model fails, or logits or the loss are not finite.
pub fn evaluate(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
) -> Result<Evaluation, TrainError> {
    evaluate_with(encoder, bank, setup, data, batch_size, &mut |_, _| {})
}

/// As [`evaluate`]; tells after each batch how many of how many examples are done.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, TrainError> {
    let head = one_head(bank, setup)?;
    let found = evaluate_heads(encoder, bank, setup, data, batch_size, progress)?.pop();
    found.map(|found| found.evaluation).ok_or(TrainError::SeveralHeads { heads: vec![head] })
}

/// Compares what each head of a setup (one for each branch of a `Parallel`, or several on the same output) says of
/// labelled data with the labels: in the order of the heads. Tells after each batch how many of how many examples are
/// done.
///
/// # Errors
/// If the data has no labels or they do not fit a head, the bank lacks an adapter or a head of the setup, the setup asks
/// each row's own head, the model fails, or logits or the loss are not finite.
pub fn evaluate_heads(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<HeadEvaluation>, TrainError> {
    let mut evaluations: Vec<HeadEvaluation> = Vec::new();
    for said in run(encoder, bank, setup, data, batch_size, true, progress)? {
        let config = bank.head(&said.head)?.config();
        let evaluation = Evaluation::scored(config, said.logits, labels_of(data, &said.head)?, said.loss);
        let head = distinct(&said.head, |name| evaluations.iter().any(|other| other.head == name));
        evaluations.push(HeadEvaluation { head, evaluation });
    }
    Ok(evaluations)
}

/// The labels of a data set that a head is to learn.
pub(crate) fn labels_of<'a>(data: &'a TokenData, head: &str) -> Result<&'a Labels, TrainError> {
    data.labels_of(head).ok_or_else(|| TrainError::NoLabels { source_name: data.source().to_owned() })
}

/// The logits of a batch, of each head: base model with adapters, then the heads.
pub(crate) fn logits(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    batch: &TokenBatch<'_>,
) -> Result<Vec<HeadLogits>, TrainError> {
    let hooks = bank.hooks(setup)?;
    let encoded = encoder.encode_first(batch, &hooks).map_err(TrainError::Encoder)?;
    Ok(bank.logits(setup, encoded.hidden, encoded.pooled)?)
}

/// What one head says of all rows, in their order, and the mean loss if the labels were asked for.
struct Said {
    head: String,
    logits: Vec<Vec<f32>>,
    loss: f64,
}

fn run(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    labelled: bool,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Said>, TrainError> {
    if batch_size == 0 {
        return Err(TrainError::BadConfig { option: "batch size", expected: "at least 1", found: "0".into() });
    }
    if setup.mode() == Mode::Training {
        let found = "a setup in training".into();
        return Err(TrainError::BadConfig { option: "setup", expected: "at inference", found });
    }
    let heads = heads_of(bank, setup)?;
    if labelled {
        heads.iter().try_for_each(|head| labels_of(data, head).map(drop))?;
    }
    let new = |head| Said { head, logits: vec![Vec::new(); data.len()], loss: 0.0 };
    let mut said: Vec<Said> = heads.into_iter().map(new).collect();
    let mut done = 0;
    for indices in batches::by_length(&data.lengths(), batch_size) {
        for (part, said) in logits(encoder, bank, setup, &data.batch(&indices))?.into_iter().zip(&mut said) {
            if labelled {
                let labels = select_labels(labels_of(data, &said.head)?, &indices);
                let mean = scalar(bank.head(&said.head)?.loss(part.logits.clone(), &labels)?)?;
                said.loss += mean * indices.len() as f64;
            }
            let [_, width] = part.logits.dims();
            let values = to_vec(part.logits)?;
            for (row, values) in part.rows.iter().zip(values.chunks(width.max(1))) {
                said.logits[indices[*row]] = values.to_vec();
            }
        }
        done += indices.len();
        progress(done, data.len());
    }
    for said in &mut said {
        check_logits(&said.head, &said.logits)?;
        said.loss /= data.len() as f64;
        check_loss(&said.head, said.loss)?;
    }
    Ok(said)
}

/// No label and no score follows from logits that are not finite.
fn check_logits(head: &str, logits: &[Vec<f32>]) -> Result<(), TrainError> {
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

/// The first of the greatest numbers.
fn greatest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |best, index| if values[index] > values[best] { index } else { best })
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / sum).collect()
}
