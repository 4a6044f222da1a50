//! The loss of language modeling, part by part.
//!
//! The logits of a batch over a whole vocabulary, their softmax and both gradients can take gigabytes. So they are
//! computed for a bounded number of tokens at a time. In training, each part is differentiated by itself, down to the
//! states that the output layer reads; the gradients of all states then continue the backward pass of the model at once:
//! the sum of `states · gradients`, with the gradients held constant, has the gradients of the loss.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::Mode;
use burn_adapters_heads::HeadError;
use burn_adapters_model::{AdapterBank, BankError, BaseModel, TokenStates};
use burn_adapters_ops::token_losses;

use crate::evaluate::{scalar, to_vec};
use crate::{Gradients, TrainError};

/// The most logits that are computed at once: 32 MiB, which the C library's allocator can keep for the next part.
const MOST_LOGITS: usize = 1 << 23;

/// A loss whose gradients are known in part.
pub(crate) struct PartialLoss {
    /// The sum of the losses of all tokens, times the factor.
    pub(crate) value: f64,
    /// A tensor that continues the backward pass. Its value means nothing.
    pub(crate) rest: Tensor<1>,
    /// The gradients of the head's last layer.
    pub(crate) gradients: Gradients,
}

/// The cross-entropy of `targets`, one for each state, summed and multiplied by `factor`, in training.
pub(crate) fn loss(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    states: &TokenStates,
    targets: &[usize],
    factor: f64,
) -> Result<PartialLoss, TrainError> {
    loss_in_parts(model, bank, states, targets, Factor::Common(factor), part_size(model))
}

/// As [`loss`], where each target has a factor of its own.
pub(crate) fn weighted_loss(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    states: &TokenStates,
    targets: &[usize],
    factors: &[f32],
) -> Result<PartialLoss, TrainError> {
    loss_in_parts(model, bank, states, targets, Factor::Own(factors), part_size(model))
}

/// What the losses of targets are multiplied by.
#[derive(Debug, Clone, Copy)]
enum Factor<'a> {
    /// All by the same.
    Common(f64),
    /// Each by its own.
    Own(&'a [f32]),
}

impl Factor<'_> {
    /// The sum of the products with the losses of the targets in a range: `[range, 1]`.
    fn sum(self, losses: Tensor<2>, range: Range<usize>) -> Tensor<1> {
        match self {
            Factor::Common(factor) => losses.sum() * factor,
            Factor::Own(factors) => {
                let (device, shape) = (losses.device().without_autodiff(), [range.len(), 1]);
                let factors = TensorData::new(factors[range].to_vec(), shape);
                (losses * Tensor::<2>::from_data(factors, &device)).sum()
            }
        }
    }
}

fn loss_in_parts(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    states: &TokenStates,
    targets: &[usize],
    factor: Factor<'_>,
    size: usize,
) -> Result<PartialLoss, TrainError> {
    check(bank, states, targets)?;
    let all = states.states.clone();
    let all = if all.device().is_autodiff() { all } else { all.autodiff() };
    let (mut value, mut gradients, mut of_states) = (0.0, Gradients::default(), Vec::new());
    for (range, targets) in parts(targets, size) {
        let leaf = all.clone().slice([range.clone()]).detach().require_grad();
        let logits = bank.token_logits(model, &states.head, leaf.clone(), Mode::Training)?;
        let loss = factor.sum(token_losses(logits, targets), range);
        value += scalar(loss.clone())?;
        let mut found = loss.backward();
        of_states.push(leaf.grad_remove(&mut found).unwrap_or_else(|| leaf.clone().inner().zeros_like()));
        gradients.accumulate(Gradients::collect(found, bank));
    }
    let of_states = Tensor::cat(of_states, 0).autodiff();
    Ok(PartialLoss { value, rest: (all * of_states).sum(), gradients })
}

/// How probable a target was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// The natural logarithm of its probability.
    pub(crate) log_probability: f32,
    /// Whether no other token was more probable.
    pub(crate) is_best: bool,
}

/// Measures the targets, one for each state, at inference.
pub(crate) fn measure(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    states: &TokenStates,
    targets: &[usize],
) -> Result<Vec<Measured>, TrainError> {
    check(bank, states, targets)?;
    let mut measured = Vec::with_capacity(targets.len());
    for (range, targets) in parts(targets, part_size(model)) {
        let logits = bank.token_logits(model, &states.head, states.states.clone().slice([range]), Mode::Inference)?;
        let best = to_vec(logits.clone().max_dim(1).squeeze_dim::<1>(1))?;
        let own = to_vec(logits.clone().gather(1, indices(&logits, targets)).squeeze_dim::<1>(1))?;
        let losses = to_vec(token_losses(logits, targets).squeeze_dim::<1>(1))?;
        let each = losses.into_iter().map(|loss| -loss).zip(own.into_iter().zip(best));
        measured.extend(each.map(|(log_probability, (own, best))| Measured { log_probability, is_best: own >= best }));
    }
    Ok(measured)
}

/// Checks that there is a target for each state, and that the head has it.
fn check(bank: &AdapterBank, states: &TokenStates, targets: &[usize]) -> Result<(), TrainError> {
    let head = bank.head(&states.head)?.config();
    let failed = |source| TrainError::from(BankError::Head { name: states.head.clone(), source });
    let [found, _] = states.states.dims();
    if found != targets.len() {
        return Err(failed(HeadError::LabelCount { rows: found, labels: targets.len() }));
    }
    match targets.iter().find(|target| **target >= head.num_labels) {
        Some(&label) => Err(failed(HeadError::LabelOutOfRange { row: 0, label, labels: head.num_labels })),
        None => Ok(()),
    }
}

/// The number of states that are computed together.
fn part_size(model: &(impl BaseModel + ?Sized)) -> usize {
    (MOST_LOGITS / model.decoder_limits().vocabulary.max(1)).max(1)
}

/// The ranges of states that are computed together, at most `size` and about equally many, with their targets.
fn parts(targets: &[usize], size: usize) -> impl Iterator<Item = (Range<usize>, &[usize])> {
    let size = targets.len().div_ceil(targets.len().div_ceil(size).max(1)).max(1);
    targets.chunks(size).enumerate().map(move |(part, targets)| (part * size..part * size + targets.len(), targets))
}

fn indices(logits: &Tensor<2>, targets: &[usize]) -> Tensor<2, Int> {
    let targets: Vec<i32> = targets.iter().map(|target| *target as i32).collect();
    let shape = [targets.len(), 1];
    Tensor::from_data(TensorData::new(targets, shape), &logits.device().without_autodiff())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;
    use burn_adapters_heads::{HeadConfig, Targets};
    use burn_adapters_model::{Forward, HeadOutput, Setup, TokenBatch};
    use burn_adapters_transformers::{AutoModel, BertConfig};

    use super::*;

    #[test]
    fn the_loss_in_parts_has_the_value_and_the_gradients_of_the_whole() {
        let device = Device::default();
        let model = AutoModel::new_seeded(&BertConfig::new(30, 16, 2, 2, 32), 1, &device);
        let mut bank = AdapterBank::new(model.spec(), &device.clone().autodiff());
        bank.add_seeded("a", "seq_bn_inv[reduction_factor=2]".parse().unwrap(), 2).unwrap();
        bank.add_head_seeded("a", &HeadConfig::masked_lm(30), 3).unwrap();
        bank.tie_heads(&model).unwrap();
        let setup = Setup::adapter("a");
        bank.train_only(&setup).unwrap();
        let setup = setup.training().without_base_dropout();
        let (batch, targets) = (TokenBatch::new([[3, 4, 5].as_slice(), &[6, 7]]), [9, 1, 4, 0, 29]);

        let output = model.forward(&batch, &bank.hooks(&setup).unwrap()).unwrap();
        let logits = bank.logits(&setup, &output).unwrap().remove(0).logits;
        let rows = [&targets[..3], &targets[3..]].map(|row| row.iter().map(|id| Some(*id)).collect()).to_vec();
        let whole = bank.head("a").unwrap().loss(&logits, &Targets::Tokens(rows)).unwrap();
        let value = scalar(whole.clone()).unwrap();
        let expected = Gradients::collect(whole.backward(), &bank);
        assert!(expected.len() > 8);

        for size in [1, 2, 3, 5, 9] {
            // Once with a common factor, and once as two halves whose factors are those of each target.
            let halves = [[0.2, 0.0, -0.3, 0.1, 0.5], [0.0, 0.2, 0.5, 0.1, -0.3]];
            for factors in [vec![Factor::Common(0.2)], halves.iter().map(|half| Factor::Own(half)).collect()] {
                let (mut sum, mut gradients) = (0.0, Gradients::default());
                for factor in factors {
                    let output = model.forward(&batch, &bank.hooks(&setup).unwrap()).unwrap();
                    let HeadOutput::States(states) = bank.outputs(&model, &setup, &output, None).unwrap().remove(0)
                    else {
                        panic!("no states")
                    };
                    let found = loss_in_parts(&model, &bank, &states, &targets, factor, size).unwrap();
                    sum += found.value;
                    gradients.accumulate(found.gradients);
                    gradients.accumulate(Gradients::collect(found.rest.backward(), &bank));
                }
                assert!((sum - value).abs() < 1e-6, "{sum} and {value} in parts of {size}");
                assert_eq!(gradients.len(), expected.len());
                for (path, gradient) in &expected.tensors {
                    let difference = (gradients.tensors[path].clone() - gradient.clone()).abs().max();
                    assert!(scalar(difference).unwrap() < 1e-6, "{path} in parts of {size}");
                }
            }
        }
        let output = model.forward(&batch, &bank.hooks(&setup).unwrap()).unwrap();
        let HeadOutput::States(states) = bank.outputs(&model, &setup, &output, None).unwrap().remove(0) else {
            panic!("no states")
        };
        assert!(loss(&model, &bank, &states, &targets[1..], 1.0).is_err());
        assert!(loss(&model, &bank, &states, &[0, 1, 2, 3, 30], 1.0).is_err());
    }
}
