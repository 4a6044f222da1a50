//! Softmax.

use burn::tensor::Tensor;

/// `exp(x) / Σ exp(x)` over the last dimension.
///
/// The backward pass keeps the output.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let (Some(operand), Some(&width)) = (crate::flex::Operand::new(&x), x.dims().last()) {
        drop(x);
        return own::softmax(operand, width);
    }
    burn::tensor::activation::softmax(x, D - 1)
}

#[cfg(feature = "flex")]
pub(crate) mod own {
    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::Tensor;

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::{Work, math, piece, run};

    #[derive(Debug)]
    struct Softmax;

    impl Backward<Flex, 1> for Softmax {
        type State = Raw;

        fn backward(self, ops: Ops<Raw, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [x] = ops.parents;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let shape = shape(&gradient);
            let width = shape.last().copied().unwrap_or(1).max(1);
            let mut output = values(&gradient).to_vec();
            let pieces = output.chunks_mut(piece(width)).zip(values(&ops.state).chunks(piece(width))).collect();
            run(pieces, &Rows(width));
            register(gradients, x.map(|node| node.id), tensor(output, shape));
        }
    }

    /// Softmax of rows of this width.
    struct Rows(usize);

    impl Work<&mut [f32]> for Rows {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, x: &mut [f32]) {
            for x in x.chunks_exact_mut(self.0) {
                row(x);
            }
        }
    }

    impl Work<(&mut [f32], &[f32])> for Rows {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (gradient, shares): (&mut [f32], &[f32])) {
            for (gradient, shares) in gradient.chunks_exact_mut(self.0).zip(shares.chunks_exact(self.0)) {
                let mean = math::sum2(gradient, shares, |g, p| g * p);
                for (gradient, share) in gradient.iter_mut().zip(shares) {
                    *gradient = (*gradient - mean) * share;
                }
            }
        }
    }

    pub(super) fn softmax<const D: usize>(x: Operand, width: usize) -> Tensor<D> {
        record([x], Softmax, |[x], [keeps]| {
            let x = contiguous(x);
            let mut output = values(&x).to_vec();
            run(output.chunks_mut(piece(width)).collect(), &Rows(width.max(1)));
            let output = tensor(output, shape(&x));
            (output.clone(), keeps.then_some(output))
        })
    }

    /// Softmax of one row, in place.
    #[inline(always)]
    pub(crate) fn row(x: &mut [f32]) {
        let largest = math::max(x);
        for x in x.iter_mut() {
            *x = math::exp_of_negative(*x - largest);
        }
        let share = 1.0 / math::sum(x, |x| x);
        for x in x.iter_mut() {
            *x *= share;
        }
    }
}
