//! GELU.

use burn::tensor::Tensor;

/// `x Φ(x)`: the exact GELU, not the tanh approximation (Hendrycks and Gimpel, 2016).
///
/// The backward pass keeps x.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(operand) = crate::flex::Operand::new(&x) {
        drop(x);
        return own::gelu(operand);
    }
    composed(x)
}

/// Burn's own operation uses the derivative of the tanh approximation, which is off by up to 5e-4.
fn composed<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !x.is_autodiff() {
        return burn::tensor::activation::gelu(x);
    }
    let cdf = (x.clone() / std::f64::consts::SQRT_2).erf() + 1.0;
    x * cdf * 0.5
}

#[cfg(feature = "flex")]
mod own {
    use std::mem::MaybeUninit;

    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::Tensor;

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::{Work, math::normal, piece, run, written};

    #[derive(Debug)]
    struct Gelu;

    impl Backward<Flex, 1> for Gelu {
        type State = Raw;

        fn backward(self, ops: Ops<Raw, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [x] = ops.parents;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let (gradients_of, x_of) = (values(&gradient), values(&ops.state));
            assert_eq!(gradients_of.len(), x_of.len(), "a gradient has the size of its tensor");
            let write = |output: &mut [MaybeUninit<f32>]| {
                let pieces = output.chunks_mut(piece(1)).zip(gradients_of.chunks(piece(1)));
                run(pieces.zip(x_of.chunks(piece(1))).collect(), &Gelu);
            };
            // SAFETY: the pieces cover all of the output and as much of the other slices; each element of a piece is
            // written.
            let output = unsafe { written(gradients_of.len(), write) };
            register(gradients, x.map(|node| node.id), tensor(output, shape(&gradient)));
        }
    }

    pub(super) fn gelu<const D: usize>(x: Operand) -> Tensor<D> {
        record([x], Gelu, |[x], [keeps]| {
            // In place if nothing else shares the tensor.
            let mut x = contiguous(x);
            let len = values(&x).len();
            if !keeps && let Some(numbers) = x.try_storage_mut::<f32>().filter(|numbers| numbers.len() == len) {
                run(numbers.chunks_mut(piece(1)).collect(), &Gelu);
                return (x, None);
            }
            let write = |output: &mut [MaybeUninit<f32>]| {
                run(output.chunks_mut(piece(1)).zip(values(&x).chunks(piece(1))).collect(), &Gelu);
            };
            // SAFETY: the pieces cover all of the output and as much of x; each element of a piece is written.
            let output = unsafe { written(len, write) };
            let output = tensor(output, shape(&x));
            (output, keeps.then_some(x))
        })
    }

    impl Work<&mut [f32]> for Gelu {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, x: &mut [f32]) {
            for x in x {
                *x *= normal(*x).0;
            }
        }
    }

    impl Work<(&mut [MaybeUninit<f32>], &[f32])> for Gelu {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (output, x): (&mut [MaybeUninit<f32>], &[f32])) {
            for (output, x) in output.iter_mut().zip(x) {
                output.write(x * normal(*x).0);
            }
        }
    }

    /// A part of the result, of the gradient and of x.
    type Reversed<'a> = ((&'a mut [MaybeUninit<f32>], &'a [f32]), &'a [f32]);

    impl Work<Reversed<'_>> for Gelu {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((output, gradient), x): Reversed<'_>) {
            for ((output, gradient), x) in output.iter_mut().zip(gradient).zip(x) {
                let (cdf, density) = normal(*x);
                output.write(gradient * (cdf + x * density));
            }
        }
    }
}
