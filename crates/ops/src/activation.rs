//! GELU, its tanh approximation, and SiLU: alone, and as the gates of gated feed-forward blocks.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, silu};

/// An activation with a kernel of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonlinearity {
    /// `x Φ(x)`: the exact GELU (Hendrycks and Gimpel, 2016, <https://arxiv.org/abs/1606.08415>).
    Gelu,
    /// `0.5 x (1 + tanh(√(2 / π) (x + 0.044715 x³)))`, which approximates it.
    GeluTanh,
    /// `x σ(x)` (Elfwing et al., 2017, <https://arxiv.org/abs/1702.03118>).
    Silu,
}

/// `2 √(2 / π)`.
const TWICE_SQRT_2_OVER_PI: f64 = 1.595_769_121_605_731;
/// The factor of the cube in the approximation of GELU.
const CUBE: f64 = 0.044_715;

/// The exact GELU: [`nonlinear`] with [`Nonlinearity::Gelu`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    nonlinear(x, Nonlinearity::Gelu)
}

/// Applies an activation element-wise. The backward pass keeps x.
pub fn nonlinear<const D: usize>(x: Tensor<D>, kind: Nonlinearity) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(operand) = crate::flex::Operand::new(&x) {
        drop(x);
        return own::nonlinear(operand, kind);
    }
    composed(x, kind)
}

/// `activation(gate) · up`, element-wise (Shazeer, 2020, <https://arxiv.org/abs/2002.05202>). The backward pass keeps both.
///
/// # Shapes
/// - gate, up, output: the same
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_ops::{Nonlinearity, gated, nonlinear};
///
/// let device = Device::default();
/// let (gate, up) = (Tensor::<1>::from_data([1.0, -2.0], &device), Tensor::from_data([3.0, 5.0], &device));
/// let expected = nonlinear(gate.clone(), Nonlinearity::Silu) * up.clone();
/// let difference = (gated(gate, up, Nonlinearity::Silu) - expected).abs().max();
/// assert!(difference.into_scalar::<f32>() < 1e-6);
/// ```
pub fn gated<const D: usize>(gate: Tensor<D>, up: Tensor<D>, kind: Nonlinearity) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if gate.dims() == up.dims()
        && let (Some(of_gate), Some(of_up)) = (crate::flex::Operand::new(&gate), crate::flex::Operand::new(&up))
    {
        drop((gate, up));
        return own::gated([of_gate, of_up], kind);
    }
    composed(gate, kind) * up
}

fn composed<const D: usize>(x: Tensor<D>, kind: Nonlinearity) -> Tensor<D> {
    match kind {
        Nonlinearity::Gelu if !x.is_autodiff() => burn::tensor::activation::gelu(x),
        // Burn's own operation uses the derivative of the tanh approximation, which is off by up to 5e-4.
        Nonlinearity::Gelu => {
            let cdf = (x.clone() / std::f64::consts::SQRT_2).erf() + 1.0;
            x * cdf * 0.5
        }
        Nonlinearity::GeluTanh => {
            // 0.5 (1 + tanh(u)) is σ(2u).
            let cube = x.clone() * x.clone() * x.clone();
            let inner = (x.clone() + cube * CUBE) * TWICE_SQRT_2_OVER_PI;
            x * sigmoid(inner)
        }
        Nonlinearity::Silu => silu(x),
    }
}

#[cfg(feature = "flex")]
mod own {
    use std::mem::MaybeUninit;

    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::Tensor;

    use super::{CUBE, Nonlinearity, TWICE_SQRT_2_OVER_PI};
    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::math::{normal, sigmoid};
    use crate::kernel::{Work, piece, run, written};

    /// A function and its derivative.
    trait Curve: Sync + Default {
        fn at(x: f32) -> (f32, f32);
    }

    #[derive(Default)]
    struct Gelu;
    #[derive(Default)]
    struct GeluTanh;
    #[derive(Default)]
    struct Silu;

    impl Curve for Gelu {
        #[inline(always)]
        fn at(x: f32) -> (f32, f32) {
            let (cdf, density) = normal(x);
            (x * cdf, cdf + x * density)
        }
    }

    impl Curve for GeluTanh {
        #[inline(always)]
        fn at(x: f32) -> (f32, f32) {
            const FACTOR: f32 = TWICE_SQRT_2_OVER_PI as f32;
            const CUBED: f32 = CUBE as f32;
            let share = sigmoid(FACTOR * (x + CUBED * x * x * x));
            (x * share, share + x * share * (1.0 - share) * FACTOR * (1.0 + 3.0 * CUBED * x * x))
        }
    }

    impl Curve for Silu {
        #[inline(always)]
        fn at(x: f32) -> (f32, f32) {
            let share = sigmoid(x);
            (x * share, share * (1.0 + x * (1.0 - share)))
        }
    }

    /// Runs work that is generic over a curve.
    macro_rules! with_curve {
        ($kind:expr, $curve:ident => $body:expr) => {
            match $kind {
                Nonlinearity::Gelu => {
                    type $curve = Gelu;
                    $body
                }
                Nonlinearity::GeluTanh => {
                    type $curve = GeluTanh;
                    $body
                }
                Nonlinearity::Silu => {
                    type $curve = Silu;
                    $body
                }
            }
        };
    }

    #[derive(Debug)]
    struct Nonlinear(Nonlinearity);

    impl Backward<Flex, 1> for Nonlinear {
        type State = Raw;

        fn backward(self, ops: Ops<Raw, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [x] = ops.parents;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let (gradients_of, x_of) = (values(&gradient), values(&ops.state));
            assert_eq!(gradients_of.len(), x_of.len(), "a gradient has the size of its tensor");
            let write = |output: &mut [MaybeUninit<f32>]| {
                let pieces = output.chunks_mut(piece(1)).zip(gradients_of.chunks(piece(1)));
                let pieces = pieces.zip(x_of.chunks(piece(1))).collect();
                with_curve!(self.0, C => run(pieces, &Each::<C>::default()));
            };
            // SAFETY: the pieces cover all of the output and as much of the other slices; each element of a piece is
            // written.
            let output = unsafe { written(gradients_of.len(), write) };
            register(gradients, x.map(|node| node.id), tensor(output, shape(&gradient)));
        }
    }

    pub(super) fn nonlinear<const D: usize>(x: Operand, kind: Nonlinearity) -> Tensor<D> {
        record([x], Nonlinear(kind), |[x], [keeps]| {
            // In place if nothing else shares the tensor.
            let mut x = contiguous(x);
            let len = values(&x).len();
            if !keeps && let Some(numbers) = x.try_storage_mut::<f32>().filter(|numbers| numbers.len() == len) {
                let pieces: Vec<&mut [f32]> = numbers.chunks_mut(piece(1)).collect();
                with_curve!(kind, C => run(pieces, &Each::<C>::default()));
                return (x, None);
            }
            let write = |output: &mut [MaybeUninit<f32>]| {
                let pieces = output.chunks_mut(piece(1)).zip(values(&x).chunks(piece(1))).collect();
                with_curve!(kind, C => run(pieces, &Each::<C>::default()));
            };
            // SAFETY: the pieces cover all of the output and as much of x; each element of a piece is written.
            let output = unsafe { written(len, write) };
            let output = tensor(output, shape(&x));
            (output, keeps.then_some(x))
        })
    }

    /// The function of each element, or its gradient.
    #[derive(Default)]
    struct Each<C>(std::marker::PhantomData<C>);

    impl<C: Curve> Work<&mut [f32]> for Each<C> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, x: &mut [f32]) {
            for x in x {
                *x = C::at(*x).0;
            }
        }
    }

    impl<C: Curve> Work<(&mut [MaybeUninit<f32>], &[f32])> for Each<C> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (output, x): (&mut [MaybeUninit<f32>], &[f32])) {
            for (output, x) in output.iter_mut().zip(x) {
                output.write(C::at(*x).0);
            }
        }
    }

    /// A part of the result, and of two operands.
    type Pair<'a> = ((&'a mut [MaybeUninit<f32>], &'a [f32]), &'a [f32]);

    impl<C: Curve> Work<Pair<'_>> for Each<C> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((output, gradient), x): Pair<'_>) {
            for ((output, gradient), x) in output.iter_mut().zip(gradient).zip(x) {
                output.write(gradient * C::at(*x).1);
            }
        }
    }

    #[derive(Debug)]
    struct GatedBy(Nonlinearity);

    /// The gate, and what it multiplies.
    #[derive(Debug, Clone)]
    struct Both {
        gate: Raw,
        up: Raw,
    }

    impl Backward<Flex, 2> for GatedBy {
        type State = Both;

        fn backward(self, ops: Ops<Both, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [to_gate, to_up] = ops.parents;
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let (gate, up) = (values(&ops.state.gate), values(&ops.state.up));
            let len = values(&gradient).len();
            assert!(gate.len() == len && up.len() == len, "a gradient has the size of its tensor");
            let mut of_gate = None;
            let write_up = |of_up: &mut [MaybeUninit<f32>]| {
                let write_gate = |of_gate: &mut [MaybeUninit<f32>]| {
                    let outputs = of_gate.chunks_mut(piece(1)).zip(of_up.chunks_mut(piece(1)));
                    let inputs = values(&gradient).chunks(piece(1)).zip(gate.chunks(piece(1)));
                    let pieces = outputs.zip(inputs.zip(up.chunks(piece(1)))).collect();
                    with_curve!(self.0, C => run(pieces, &GatedEach::<C>::default()));
                };
                // SAFETY: the pieces cover all of both outputs, and each element of a piece is written.
                of_gate = Some(unsafe { written(len, write_gate) });
            };
            // SAFETY: as above.
            let of_up = unsafe { written(len, write_up) };
            let of_gate = of_gate.unwrap_or_default();
            register(gradients, to_gate.map(|node| node.id), tensor(of_gate, shape(&gradient)));
            register(gradients, to_up.map(|node| node.id), tensor(of_up, shape(&gradient)));
        }
    }

    pub(super) fn gated<const D: usize>(operands: [Operand; 2], kind: Nonlinearity) -> Tensor<D> {
        record(operands, GatedBy(kind), |[gate, up], tracked| {
            let (gate, up) = (contiguous(gate), contiguous(up));
            let len = values(&gate).len();
            let write = |output: &mut [MaybeUninit<f32>]| {
                let pieces = output.chunks_mut(piece(1)).zip(values(&gate).chunks(piece(1)));
                let pieces = pieces.zip(values(&up).chunks(piece(1))).collect();
                with_curve!(kind, C => run(pieces, &GatedEach::<C>::default()));
            };
            // SAFETY: both operands have this many elements, and each element of a piece is written.
            let output = tensor(unsafe { written(len, write) }, shape(&gate));
            (output, tracked.contains(&true).then_some(Both { gate, up }))
        })
    }

    /// The product with a gate, or both of its gradients.
    #[derive(Default)]
    struct GatedEach<C>(std::marker::PhantomData<C>);

    impl<C: Curve> Work<Pair<'_>> for GatedEach<C> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((output, gate), up): Pair<'_>) {
            for ((output, gate), up) in output.iter_mut().zip(gate).zip(up) {
                output.write(C::at(*gate).0 * up);
            }
        }
    }

    /// Parts of the gradients of both operands; of the gradient, of the gate and of what it multiplies.
    type Reversed<'a> = ((&'a mut [MaybeUninit<f32>], &'a mut [MaybeUninit<f32>]), ((&'a [f32], &'a [f32]), &'a [f32]));

    impl<C: Curve> Work<Reversed<'_>> for GatedEach<C> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, ((of_gate, of_up), ((gradient, gate), up)): Reversed<'_>) {
            let outputs = of_gate.iter_mut().zip(of_up);
            for (((of_gate, of_up), gradient), (gate, up)) in outputs.zip(gradient).zip(gate.iter().zip(up)) {
                let (value, slope) = C::at(*gate);
                of_gate.write(gradient * up * slope);
                of_up.write(gradient * value);
            }
        }
    }
}
