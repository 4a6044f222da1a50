//! Layer norm.

use burn::tensor::Tensor;

/// `(x - mean) / √(variance + epsilon) · gamma + beta` over the last dimension (Ba et al., 2016).
///
/// The backward pass keeps x (shared, not copied) and two floats per row. Gradients of gamma and beta are computed only
/// if they are tracked; frozen ones may be on a device without a graph.
///
/// # Shapes
/// - x, output: `[.., width]`
/// - gamma, beta: `[width]`
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Option<Tensor<1>>, epsilon: f64) -> Tensor<D> {
    // Without a graph, Burn's layer norm is a single operation too.
    #[cfg(feature = "flex")]
    if (x.is_autodiff() || gamma.is_autodiff() || beta.as_ref().is_some_and(Tensor::is_autodiff))
        && let Some(operands) = own::operands(&x, &gamma, beta.as_ref())
    {
        drop(x);
        return own::layer_norm(operands, epsilon);
    }
    burn::tensor::module::layer_norm(x, gamma, beta, epsilon)
}

#[cfg(feature = "flex")]
mod own {
    use std::mem::MaybeUninit;

    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::{Shape, Tensor};

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::{Work, math, piece, rows_in_piece, run, written};

    #[derive(Debug)]
    struct LayerNorm;

    /// The mean of a row, and one over its standard deviation.
    type Moments = [f32; 2];

    #[derive(Debug, Clone)]
    struct State {
        x: Raw,
        gamma: Raw,
        moments: Vec<Moments>,
    }

    pub(super) fn operands<const D: usize>(
        x: &Tensor<D>,
        gamma: &Tensor<1>,
        beta: Option<&Tensor<1>>,
    ) -> Option<[Operand; 3]> {
        let width = *x.dims().last()?;
        let beta = match beta {
            Some(beta) => beta.clone(),
            None => Tensor::<1>::zeros([width], &gamma.device().without_autodiff()).cast(gamma.dtype()),
        };
        if width == 0 || gamma.dims() != [width] || beta.dims() != [width] {
            return None;
        }
        Some([Operand::new(x)?, Operand::new(gamma)?, Operand::new(&beta)?])
    }

    pub(super) fn layer_norm<const D: usize>(operands: [Operand; 3], epsilon: f64) -> Tensor<D> {
        record(operands, LayerNorm, |[x, gamma, beta], tracked| {
            let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
            let (output, moments) = forward(values(&x), values(&gamma), values(&beta), epsilon as f32);
            let output = tensor(output, shape(&x));
            (output, tracked.contains(&true).then_some(State { x, gamma, moments }))
        })
    }

    fn forward(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32) -> (Vec<f32>, Vec<Moments>) {
        let width = gamma.len();
        let mut moments = vec![[0.0; 2]; x.len() / width];
        let write = |output: &mut [MaybeUninit<f32>]| {
            let pieces = output.chunks_mut(piece(width)).zip(x.chunks(piece(width)));
            let pieces = pieces.zip(moments.chunks_mut(rows_in_piece(width))).collect();
            run(pieces, &Forward { gamma, beta, epsilon });
        };
        // SAFETY: x consists of whole rows of this width, and so do the pieces; each element of a row is written.
        let output = unsafe { written(x.len(), write) };
        (output, moments)
    }

    impl Backward<Flex, 3> for LayerNorm {
        type State = State;

        fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [to_x, to_gamma, to_beta] = ops.parents;
            let State { x, gamma, moments } = ops.state;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let width = values(&gamma).len();
            if to_gamma.is_some() || to_beta.is_some() {
                let (gamma, beta) = weights(values(&x), values(&gradient), &moments, width);
                register(gradients, to_gamma.map(|node| node.id), tensor(gamma, Shape::new([width])));
                register(gradients, to_beta.map(|node| node.id), tensor(beta, Shape::new([width])));
            }
            if let Some(to_x) = to_x {
                let output = input(values(&x), values(&gradient), values(&gamma), &moments);
                register(gradients, Some(to_x.id), tensor(output, shape(&x)));
            }
        }
    }

    /// The gradient of x.
    fn input(x: &[f32], gradient: &[f32], gamma: &[f32], moments: &[Moments]) -> Vec<f32> {
        let width = gamma.len();
        assert_eq!(gradient.len(), x.len(), "a gradient has the size of its tensor");
        let write = |output: &mut [MaybeUninit<f32>]| {
            let pieces = output.chunks_mut(piece(width)).zip(x.chunks(piece(width)));
            let pieces = pieces.zip(gradient.chunks(piece(width))).zip(moments.chunks(rows_in_piece(width))).collect();
            run(pieces, &Input { gamma });
        };
        // SAFETY: x consists of whole rows of this width, and so do the pieces; each element of a row is written.
        unsafe { written(x.len(), write) }
    }

    /// The gradients of gamma and beta.
    fn weights(x: &[f32], gradient: &[f32], moments: &[Moments], width: usize) -> (Vec<f32>, Vec<f32>) {
        let pieces = x.chunks(piece(width)).zip(gradient.chunks(piece(width)));
        let pieces = pieces.zip(moments.chunks(rows_in_piece(width))).collect();
        let sums = run(pieces, &Weights { width });
        let mut total = (vec![0.0; width], vec![0.0; width]);
        for (gamma, beta) in sums {
            total.0.iter_mut().zip(gamma).for_each(|(total, part): (&mut f32, f32)| *total += part);
            total.1.iter_mut().zip(beta).for_each(|(total, part): (&mut f32, f32)| *total += part);
        }
        total
    }

    struct Forward<'a> {
        gamma: &'a [f32],
        beta: &'a [f32],
        epsilon: f32,
    }

    /// A part of the result, of x and of the moments.
    type Normed<'a> = ((&'a mut [MaybeUninit<f32>], &'a [f32]), &'a mut [Moments]);

    impl Work<Normed<'_>> for Forward<'_> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((output, x), moments): Normed<'_>) {
            let Self { gamma, beta, epsilon } = *self;
            let width = gamma.len();
            for ((output, x), moments) in output.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(moments) {
                let mean = math::sum(x, |x| x) / width as f32;
                let variance = math::sum(x, |x| (x - mean) * (x - mean)) / width as f32;
                let scale = 1.0 / (variance + epsilon).sqrt();
                for (((output, x), gamma), beta) in output.iter_mut().zip(x).zip(gamma).zip(beta) {
                    output.write((x - mean) * scale * gamma + beta);
                }
                *moments = [mean, scale];
            }
        }
    }

    struct Input<'a> {
        gamma: &'a [f32],
    }

    /// A part of the result, of x, of the gradient and of the moments.
    type Reversed<'a> = (((&'a mut [MaybeUninit<f32>], &'a [f32]), &'a [f32]), &'a [Moments]);

    impl Work<Reversed<'_>> for Input<'_> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (((output, x), gradient), moments): Reversed<'_>) {
            let gamma = self.gamma;
            let width = gamma.len();
            let rows = output.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
            for (((output, x), gradient), [mean, scale]) in rows.zip(moments) {
                let along_one = math::sum2(gradient, gamma, |g, gamma| g * gamma) / width as f32;
                let along_x = math::sum3(gradient, gamma, x, |g, gamma, x| g * gamma * (x - mean));
                let along_x = along_x * scale * scale / width as f32;
                for (((output, gradient), gamma), x) in output.iter_mut().zip(gradient).zip(gamma).zip(x) {
                    output.write((gradient * gamma - along_one - (x - mean) * along_x) * scale);
                }
            }
        }
    }

    struct Weights {
        width: usize,
    }

    impl Work<((&[f32], &[f32]), &[Moments])> for Weights {
        type Result = (Vec<f32>, Vec<f32>);

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((x, gradient), moments): ((&[f32], &[f32]), &[Moments])) -> Self::Result {
            let width = self.width;
            let (mut gamma, mut beta) = (vec![0.0; width], vec![0.0; width]);
            for ((x, gradient), [mean, scale]) in x.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(moments) {
                for (((gamma, beta), x), gradient) in gamma.iter_mut().zip(&mut beta).zip(x).zip(gradient) {
                    *gamma += gradient * (x - mean) * scale;
                    *beta += gradient;
                }
            }
            (gamma, beta)
        }
    }
}
