//! GELU.

use burn::tensor::Tensor;

/// `x Φ(x)`, exact, not the tanh approximation (Hendrycks and Gimpel, 2016).
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

/// Burn's own operation has the tanh approximation's derivative: up to 5e-4 off.
fn composed<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !x.is_autodiff() {
        return burn::tensor::activation::gelu(x);
    }
    let cdf = (x.clone() / std::f64::consts::SQRT_2).erf() + 1.0;
    x * cdf * 0.5
}

#[cfg(feature = "flex")]
mod own {
    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::Tensor;

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::{Work, math::normal, piece, run};

    #[derive(Debug)]
    struct Gelu;

    impl Backward<Flex, 1> for Gelu {
        type State = Raw;

        fn backward(self, ops: Ops<Raw, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [x] = ops.parents;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let mut output = vec![0.0; values(&gradient).len()];
            let pieces = output.chunks_mut(piece(1)).zip(values(&gradient).chunks(piece(1)));
            let pieces = pieces.zip(values(&ops.state).chunks(piece(1))).collect();
            run(pieces, &Gelu);
            register(gradients, x.map(|node| node.id), tensor(output, shape(&gradient)));
        }
    }

    pub(super) fn gelu<const D: usize>(x: Operand) -> Tensor<D> {
        record([x], Gelu, |[x], [keeps]| {
            let x = contiguous(x);
            let mut output = vec![0.0; values(&x).len()];
            run(output.chunks_mut(piece(1)).zip(values(&x).chunks(piece(1))).collect(), &Gelu);
            let output = tensor(output, shape(&x));
            (output, keeps.then_some(x))
        })
    }

    impl Work<(&mut [f32], &[f32])> for Gelu {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (output, x): (&mut [f32], &[f32])) {
            for (output, x) in output.iter_mut().zip(x) {
                *output = x * normal(*x).0;
            }
        }
    }

    impl Work<((&mut [f32], &[f32]), &[f32])> for Gelu {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((output, gradient), x): ((&mut [f32], &[f32]), &[f32])) {
            for ((output, gradient), x) in output.iter_mut().zip(gradient).zip(x) {
                let (cdf, density) = normal(*x);
                *output = gradient * (cdf + x * density);
            }
        }
    }
}
