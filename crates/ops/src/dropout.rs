//! Seeded dropout.

use burn::tensor::{Distribution, Tensor};

/// Zeroes each element with `probability` and scales the others by `1 / (1 - probability)` (Srivastava et al., 2014).
///
/// It applies whether or not `x` is in a graph. The same seed zeroes the same elements of tensors of the same shape, on
/// any number of threads. The backward pass keeps nothing: it draws them again from the seed. Where the kernels do not
/// apply, random numbers come from the device's own generator, not from the seed.
pub fn dropout<const D: usize>(x: Tensor<D>, probability: f64, seed: u64) -> Tensor<D> {
    if probability.is_nan() || probability <= 0.0 {
        return x;
    }
    if probability >= 1.0 {
        return x * 0.0;
    }
    #[cfg(feature = "flex")]
    if let Some(operand) = crate::flex::Operand::new(&x) {
        drop(x);
        return own::dropout(operand, crate::kernel::random::Keep::new(probability, seed));
    }
    let _ = seed;
    let keep = x.random_like(Distribution::Bernoulli(1.0 - probability)).without_autodiff();
    x * (keep / (1.0 - probability))
}

#[cfg(feature = "flex")]
mod own {
    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::Tensor;

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::{Work, piece, random::Keep, run};

    #[derive(Debug)]
    struct Dropout;

    impl Backward<Flex, 1> for Dropout {
        type State = Keep;

        fn backward(self, ops: Ops<Keep, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [x] = ops.parents;
            let gradient = gradients.consume::<Flex>(&ops.node);
            register(gradients, x.map(|node| node.id), apply(gradient, ops.state));
        }
    }

    pub(super) fn dropout<const D: usize>(x: Operand, keep: Keep) -> Tensor<D> {
        record([x], Dropout, |[x], [keeps]| (apply(x, keep), keeps.then_some(keep)))
    }

    /// In place if nothing else shares the tensor.
    fn apply(x: Raw, keep: Keep) -> Raw {
        let shape = shape(&x);
        let mut x = contiguous(x);
        let len = values(&x).len();
        if let Some(numbers) = x.try_storage_mut::<f32>().filter(|numbers| numbers.len() == len) {
            run(numbers.chunks_mut(piece(1)).enumerate().collect(), &keep);
            return x;
        }
        let mut output = vec![0.0; len];
        run(output.chunks_mut(piece(1)).zip(values(&x).chunks(piece(1))).enumerate().collect(), &keep);
        tensor(output, shape)
    }

    impl Work<(usize, &mut [f32])> for Keep {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (number, numbers): (usize, &mut [f32])) {
            let start = (number * piece(1)) as u32;
            for (index, x) in numbers.iter_mut().enumerate() {
                *x = if self.at(start.wrapping_add(index as u32)) { *x * self.scale } else { 0.0 };
            }
        }
    }

    impl Work<(usize, (&mut [f32], &[f32]))> for Keep {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (number, (output, x)): (usize, (&mut [f32], &[f32]))) {
            let start = (number * piece(1)) as u32;
            for (index, (output, x)) in output.iter_mut().zip(x).enumerate() {
                *output = if self.at(start.wrapping_add(index as u32)) { x * self.scale } else { 0.0 };
            }
        }
    }
}
