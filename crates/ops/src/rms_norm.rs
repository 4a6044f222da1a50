//! RMS norm.

use burn::tensor::Tensor;

/// `x / √(mean(x²) + epsilon) · gamma` over the last dimension (Zhang and Sennrich, 2019).
///
/// The backward pass keeps x (shared, not copied) and one float per row. The gradient of gamma is computed only if it is
/// tracked; a frozen one may be on a device without a graph.
///
/// # Shapes
/// - x, output: `[.., width]`
/// - gamma: `[width]`
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_ops::rms_norm;
///
/// let device = Device::default();
/// let y = rms_norm(Tensor::<2>::from_data([[3.0, -4.0]], &device), Tensor::ones([2], &device), 0.0);
/// let squares = y.powi_scalar(2).mean().into_scalar::<f32>();
/// assert!((squares - 1.0).abs() < 1e-6);
/// ```
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, epsilon: f64) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(operands) = own::operands(&x, &gamma) {
        drop(x);
        return own::rms_norm(operands, epsilon);
    }
    let scale = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt().recip();
    x * scale * gamma.unsqueeze()
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
    struct RmsNorm;

    #[derive(Debug, Clone)]
    struct State {
        x: Raw,
        gamma: Raw,
        /// The factor of each row.
        scales: Vec<f32>,
    }

    pub(super) fn operands<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>) -> Option<[Operand; 2]> {
        let width = *x.dims().last()?;
        if width == 0 || gamma.dims() != [width] {
            return None;
        }
        Some([Operand::new(x)?, Operand::new(gamma)?])
    }

    pub(super) fn rms_norm<const D: usize>(operands: [Operand; 2], epsilon: f64) -> Tensor<D> {
        record(operands, RmsNorm, |[x, gamma], tracked| {
            let (x, gamma) = (contiguous(x), contiguous(gamma));
            let (output, scales) = forward(values(&x), values(&gamma), epsilon as f32);
            let output = tensor(output, shape(&x));
            (output, tracked.contains(&true).then_some(State { x, gamma, scales }))
        })
    }

    fn forward(x: &[f32], gamma: &[f32], epsilon: f32) -> (Vec<f32>, Vec<f32>) {
        let width = gamma.len();
        let mut scales = vec![0.0; x.len() / width];
        let write = |output: &mut [MaybeUninit<f32>]| {
            let pieces = output.chunks_mut(piece(width)).zip(x.chunks(piece(width)));
            let pieces = pieces.zip(scales.chunks_mut(rows_in_piece(width))).collect();
            run(pieces, &Forward { gamma, epsilon });
        };
        // SAFETY: x consists of whole rows of this width, and so do the pieces; each element of a row is written.
        let output = unsafe { written(x.len(), write) };
        (output, scales)
    }

    impl Backward<Flex, 2> for RmsNorm {
        type State = State;

        fn backward(self, ops: Ops<State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [to_x, to_gamma] = ops.parents;
            let State { x, gamma, scales } = ops.state;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let width = values(&gamma).len();
            if let Some(to_gamma) = to_gamma {
                let sums = weights(values(&x), values(&gradient), &scales, width);
                register(gradients, Some(to_gamma.id), tensor(sums, Shape::new([width])));
            }
            if let Some(to_x) = to_x {
                let output = input(values(&x), values(&gradient), values(&gamma), &scales);
                register(gradients, Some(to_x.id), tensor(output, shape(&x)));
            }
        }
    }

    /// The gradient of x.
    fn input(x: &[f32], gradient: &[f32], gamma: &[f32], scales: &[f32]) -> Vec<f32> {
        let width = gamma.len();
        assert_eq!(gradient.len(), x.len(), "a gradient has the size of its tensor");
        let write = |output: &mut [MaybeUninit<f32>]| {
            let pieces = output.chunks_mut(piece(width)).zip(x.chunks(piece(width)));
            let pieces = pieces.zip(gradient.chunks(piece(width))).zip(scales.chunks(rows_in_piece(width))).collect();
            run(pieces, &Input { gamma });
        };
        // SAFETY: x consists of whole rows of this width, and so do the pieces; each element of a row is written.
        unsafe { written(x.len(), write) }
    }

    /// The gradient of gamma.
    fn weights(x: &[f32], gradient: &[f32], scales: &[f32], width: usize) -> Vec<f32> {
        let pieces = x.chunks(piece(width)).zip(gradient.chunks(piece(width)));
        let sums = run(pieces.zip(scales.chunks(rows_in_piece(width))).collect(), &Weights { width });
        let mut total = vec![0.0; width];
        for part in sums {
            total.iter_mut().zip(part).for_each(|(total, part): (&mut f32, f32)| *total += part);
        }
        total
    }

    struct Forward<'a> {
        gamma: &'a [f32],
        epsilon: f32,
    }

    /// A part of the result, of x and of the factors.
    type Normed<'a> = ((&'a mut [MaybeUninit<f32>], &'a [f32]), &'a mut [f32]);

    impl Work<Normed<'_>> for Forward<'_> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((output, x), scales): Normed<'_>) {
            let Self { gamma, epsilon } = *self;
            let width = gamma.len();
            for ((output, x), scale) in output.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(scales) {
                let factor = 1.0 / (math::sum(x, |x| x * x) / width as f32 + epsilon).sqrt();
                for ((output, x), gamma) in output.iter_mut().zip(x).zip(gamma) {
                    output.write(x * factor * gamma);
                }
                *scale = factor;
            }
        }
    }

    struct Input<'a> {
        gamma: &'a [f32],
    }

    /// A part of the result, of x, of the gradient and of the factors.
    type Reversed<'a> = (((&'a mut [MaybeUninit<f32>], &'a [f32]), &'a [f32]), &'a [f32]);

    impl Work<Reversed<'_>> for Input<'_> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (((output, x), gradient), scales): Reversed<'_>) {
            let gamma = self.gamma;
            let width = gamma.len();
            let rows = output.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
            for (((output, x), gradient), scale) in rows.zip(scales) {
                let along = math::sum3(gradient, gamma, x, |g, gamma, x| g * gamma * x);
                let along = along * scale * scale / width as f32;
                for (((output, gradient), gamma), x) in output.iter_mut().zip(gradient).zip(gamma).zip(x) {
                    output.write((gradient * gamma - x * along) * scale);
                }
            }
        }
    }

    struct Weights {
        width: usize,
    }

    impl Work<((&[f32], &[f32]), &[f32])> for Weights {
        type Result = Vec<f32>;

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((x, gradient), scales): ((&[f32], &[f32]), &[f32])) -> Vec<f32> {
            let mut sums = vec![0.0; self.width];
            for ((x, gradient), scale) in x.chunks_exact(self.width).zip(gradient.chunks_exact(self.width)).zip(scales)
            {
                for ((sum, x), gradient) in sums.iter_mut().zip(x).zip(gradient) {
                    *sum += gradient * x * scale;
                }
            }
            sums
        }
    }
}
