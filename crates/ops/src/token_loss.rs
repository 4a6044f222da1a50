//! The cross-entropy of tokens of a large vocabulary.

use burn::tensor::Tensor;

/// The negative logarithm of the probability that a softmax of the logits gives each target.
///
/// The backward pass keeps the logits (shared, not copied) and one float per row, and writes the gradient in their place if
/// nothing else shares them.
///
/// # Shapes
/// - logits: `[targets, vocabulary]`
/// - output: `[targets, 1]`
///
/// # Panics
/// If there is not one target for each row, or a target is not in the vocabulary.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_ops::token_losses;
///
/// let logits = Tensor::<2>::zeros([1, 4], &Device::default());
/// let loss = token_losses(logits, &[2]).into_scalar::<f32>();
/// assert!((loss - 4.0_f32.ln()).abs() < 1e-6);
/// ```
pub fn token_losses(logits: Tensor<2>, targets: &[usize]) -> Tensor<2> {
    let [rows, vocabulary] = logits.dims();
    assert!(
        rows == targets.len() && targets.iter().all(|target| *target < vocabulary),
        "expected {rows} targets below {vocabulary}, found {targets:?}"
    );
    #[cfg(feature = "flex")]
    if let Some(operand) = crate::flex::Operand::new(&logits).filter(|_| rows > 0) {
        drop(logits);
        return own::token_losses(operand, targets);
    }
    composed(logits, targets)
}

fn composed(logits: Tensor<2>, targets: &[usize]) -> Tensor<2> {
    let indices: Vec<i32> = targets.iter().map(|target| *target as i32).collect();
    let indices = burn::tensor::TensorData::new(indices, [targets.len(), 1]);
    let indices = Tensor::from_data(indices, &logits.device().without_autodiff());
    -burn::tensor::activation::log_softmax(logits, 1).gather(1, indices)
}

#[cfg(feature = "flex")]
mod own {
    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::{Shape, Tensor};

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::{Work, math, run};

    #[derive(Debug)]
    struct TokenLosses;

    #[derive(Debug, Clone)]
    struct State {
        logits: Raw,
        targets: Vec<usize>,
        /// The logarithm of the sum of exponentials of each row.
        sums: Vec<f32>,
    }

    pub(super) fn token_losses(logits: Operand, targets: &[usize]) -> Tensor<2> {
        record([logits], TokenLosses, |[logits], [keeps]| {
            let logits = contiguous(logits);
            let rows = values(&logits).chunks_exact(values(&logits).len() / targets.len());
            let sums = run(rows.clone().collect(), &LogOfSum);
            let losses = rows.zip(targets).zip(&sums).map(|((row, target), sum)| sum - row[*target]).collect();
            let losses = tensor(losses, Shape::new([targets.len(), 1]));
            (losses, keeps.then(|| State { logits, targets: targets.to_vec(), sums }))
        })
    }

    impl Backward<Flex, 1> for TokenLosses {
        type State = State;

        fn backward(self, ops: Ops<State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [to_logits] = ops.parents;
            let State { mut logits, targets, sums } = ops.state;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let len = values(&logits).len();
            let of_rows = targets.iter().zip(&sums).zip(values(&gradient));
            let width = len / targets.len().max(1);
            let gradient = match logits.try_storage_mut::<f32>().filter(|numbers| numbers.len() == len) {
                Some(numbers) => {
                    run(numbers.chunks_exact_mut(width).zip(of_rows).collect(), &Reverse);
                    logits
                }
                None => {
                    let mut numbers = values(&logits).to_vec();
                    run(numbers.chunks_exact_mut(width).zip(of_rows).collect(), &Reverse);
                    tensor(numbers, shape(&logits))
                }
            };
            register(gradients, to_logits.map(|node| node.id), gradient);
        }
    }

    struct LogOfSum;

    impl Work<&[f32]> for LogOfSum {
        type Result = f32;

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, row: &[f32]) -> f32 {
            let largest = math::max(row);
            largest + math::sum(row, |logit| math::exp_of_negative(logit - largest)).ln()
        }
    }

    struct Reverse;

    /// The logits of a row; its target, its sum and its gradient.
    type Row<'a> = (&'a mut [f32], ((&'a usize, &'a f32), &'a f32));

    impl Work<Row<'_>> for Reverse {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (row, ((target, sum), gradient)): Row<'_>) {
            for logit in row.iter_mut() {
                *logit = math::exp_of_negative(*logit - sum) * gradient;
            }
            row[*target] -= gradient;
        }
    }
}
