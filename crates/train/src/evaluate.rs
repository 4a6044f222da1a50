//! Evaluation and prediction.

use burn::module::Module;
use burn::tensor::Tensor;
use burn_adapters_core::Mode;
use burn_adapters_heads::{HeadConfig, Labels, Task};
use burn_adapters_model::{AdapterBank, Setup};
use serde::{Deserialize, Serialize};

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

impl Evaluation {
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
    /// let prediction = Prediction::new(&HeadConfig::classification(2), vec![0.0, 3f32.ln()]);
    /// assert_eq!(prediction.labels, [1]);
    /// assert!((prediction.probabilities[1] - 0.75).abs() < 1e-6);
    /// ```
    pub fn new(head: &HeadConfig, logits: Vec<f32>) -> Self {
        let (probabilities, labels) = match head.task() {
            Task::Classification => (softmax(&logits), vec![greatest(&logits)]),
            Task::MultiLabel => {
                let labels = (0..logits.len()).filter(|label| logits[*label] > 0.0).collect();
                (logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(), labels)
            }
            Task::Regression => (Vec::new(), Vec::new()),
        };
        Self { logits, probabilities, labels }
    }
}

/// The logits of each text, in the order of the data. Texts of like length go through the model together; which ones
/// makes no difference beyond rounding.
///
/// # Errors
/// If the bank lacks the setup's adapter or head, or the model fails.
pub fn predict(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
) -> Result<Vec<Prediction>, TrainError> {
    let head = bank.head_of(setup)?.config().clone();
    let logits = run(encoder, bank, setup, data, batch_size, None, &mut |_, _| {})?.0;
    Ok(logits.into_iter().map(|logits| Prediction::new(&head, logits)).collect())
}

/// Compares the predictions for labelled data with the labels.
///
/// # Errors
/// If the data has no labels or they do not fit the head, the bank lacks the setup's adapter or head, or the model
/// fails.
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
    let no_labels = || TrainError::NoLabels { source_name: data.source().to_owned() };
    let labels = data.labels().ok_or_else(no_labels)?;
    let head = bank.head_of(setup)?.config().clone();
    let (logits, loss) = run(encoder, bank, setup, data, batch_size, Some(labels), progress)?;
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
    Ok(Evaluation { examples: data.len(), loss, scores, logits })
}

/// The logits of a batch: base model with adapters, then the head.
pub(crate) fn logits(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    batch: &TokenBatch<'_>,
) -> Result<Tensor<2>, TrainError> {
    let hooks = bank.hooks(setup)?;
    let encoded = encoder.encode(batch, &hooks).map_err(TrainError::Encoder)?;
    Ok(bank.head_of(setup)?.forward(encoded.hidden, encoded.pooled, setup.mode())?)
}

/// The logits of all rows in their order, and the mean loss if there are labels.
fn run(
    encoder: &(impl TextEncoder + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    batch_size: usize,
    labels: Option<&Labels>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(Vec<Vec<f32>>, f64), TrainError> {
    if batch_size == 0 {
        return Err(TrainError::BadConfig { option: "batch size", expected: "at least 1", found: "0".into() });
    }
    if setup.mode() == Mode::Training {
        let found = "a setup in training".into();
        return Err(TrainError::BadConfig { option: "setup", expected: "at inference", found });
    }
    // Without a graph: less memory, and fused operations.
    let bank = bank.valid();
    let head = bank.head_of(setup)?;
    let mut rows = vec![Vec::new(); data.len()];
    let (mut loss, mut done) = (0.0, 0);
    for indices in batches::by_length(&data.lengths(), batch_size) {
        let logits = logits(encoder, &bank, setup, &data.batch(&indices))?;
        if let Some(labels) = labels {
            let mean = scalar(head.loss(logits.clone(), &select_labels(labels, &indices))?)?;
            loss += mean * indices.len() as f64;
        }
        let [_, width] = logits.dims();
        let values = to_vec(logits)?;
        for (index, row) in indices.iter().zip(values.chunks(width.max(1))) {
            rows[*index] = row.to_vec();
        }
        done += indices.len();
        progress(done, data.len());
    }
    Ok((rows, loss / data.len() as f64))
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
