//! Linear layers.

use burn::tensor::Tensor;

/// `x · weight + bias`.
///
/// All positions are multiplied in one GEMM; per-sequence products would repack the weight for every short sequence.
/// The backward pass keeps x if the weight is tracked, and the weight (shared, not copied) if x is.
///
/// The weight may be bf16 while x is f32. Then x, and in the backward pass the gradient, are rounded to bf16, and
/// products are summed in f32. On the flex backend, AMD CPUs with AVX-512 BF16 do this at twice the rate of f32, and those with AMX at several times. A tracked
/// weight, and one on another backend, is widened to f32.
///
/// # Shapes
/// - x: `[.., d_input]`
/// - weight: `[d_input, d_output]`
/// - bias: `[d_output]`
/// - output: `[.., d_output]`
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some(operands) = own::operands(&x, &weight, bias.as_ref()) {
        drop((x, weight, bias));
        return own::linear(operands);
    }
    let weight = if weight.dtype() == x.dtype() { weight } else { weight.cast(x.dtype()) };
    burn::tensor::module::linear(x, weight, bias)
}

#[cfg(feature = "flex")]
mod own {
    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::{DType, Shape, Tensor};
    use half::slice::HalfFloatSliceExt;

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::bfloat;
    use crate::kernel::dense::{self, Strided, column_sums, product_across};

    /// x, the weight and an optional bias.
    pub(super) enum Operands {
        Biased([Operand; 3]),
        Plain([Operand; 2]),
    }

    #[derive(Debug)]
    struct Linear;

    /// The operands that the gradients of the others need.
    #[derive(Debug, Clone)]
    struct State {
        x: Option<Raw>,
        weight: Option<Raw>,
    }

    pub(super) fn operands<const D: usize>(
        x: &Tensor<D>,
        weight: &Tensor<2>,
        bias: Option<&Tensor<1>>,
    ) -> Option<Operands> {
        let [d_input, d_output] = weight.dims();
        let fits = x.dims().last() == Some(&d_input) && bias.is_none_or(|bias| bias.dims() == [d_output]);
        if !fits || d_input == 0 || d_output == 0 {
            return None;
        }
        let weight = match weight.dtype() {
            DType::BF16 => Operand::frozen_bf16(weight)?,
            _ => Operand::new(weight)?,
        };
        let x = Operand::new(x)?;
        Some(match bias {
            Some(bias) => Operands::Biased([x, weight, Operand::new(bias)?]),
            None => Operands::Plain([x, weight]),
        })
    }

    pub(super) fn linear<const D: usize>(operands: Operands) -> Tensor<D> {
        match operands {
            Operands::Biased(operands) => record(operands, Linear, |[x, weight, bias], [to_x, to_weight, _]| {
                forward(x, weight, Some(bias), [to_x, to_weight])
            }),
            Operands::Plain(operands) => record(operands, Linear, |[x, weight], to| forward(x, weight, None, to)),
        }
    }

    fn forward(x: Raw, weight: Raw, bias: Option<Raw>, [to_x, to_weight]: [bool; 2]) -> (Raw, Option<State>) {
        let (x, bias) = (contiguous(x), bias.map(contiguous));
        let output = product(&x, &weight, Side::Straight, bias.as_ref().map(values));
        (output, Some(State { x: to_weight.then_some(x), weight: to_x.then_some(weight) }))
    }

    /// Whether a weight is used as it is, or transposed.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Side {
        Straight,
        Across,
    }

    /// `x · weight + bias`, or `x · weightᵀ`, for contiguous x.
    fn product(x: &Raw, weight: &Raw, side: Side, bias: Option<&[f32]>) -> Raw {
        let start = weight.layout().start_offset();
        let (output, width) = if weight.dtype() == DType::BF16 {
            let numbers = &weight.storage::<half::bf16>()[start..];
            let matrix = matrix(numbers.reinterpret_cast(), weight, side);
            (bfloat::product(values(x), matrix, bias), matrix.columns)
        } else {
            let matrix = matrix(&weight.storage::<f32>()[start..], weight, side);
            (dense::product(values(x), matrix, bias), matrix.columns)
        };
        let mut dims = shape(x).to_vec();
        if let Some(last) = dims.last_mut() {
            *last = width;
        }
        tensor(output, Shape::from(dims))
    }

    /// The matrix of these elements, in any layout.
    fn matrix<'a, T>(numbers: &'a [T], raw: &Raw, side: Side) -> Strided<'a, T> {
        let (dims, strides) = (shape(raw), raw.layout().strides());
        let strides = [strides[0], strides[1]];
        let straight = Strided { numbers, rows: dims[0], columns: dims[1], strides };
        if side == Side::Across { straight.transposed() } else { straight }
    }

    impl<const N: usize> Backward<Flex, N> for Linear {
        type State = State;

        fn backward(self, ops: Ops<State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let width = shape(&gradient).last().copied().unwrap_or(1);
            let mut nodes = ops.parents.into_iter().map(|node| node.map(|node| node.id));
            let mut next = || nodes.next().flatten();
            let (to_x, to_weight, to_bias) = (next(), next(), next());
            if let (Some(to_x), Some(weight)) = (to_x, &ops.state.weight) {
                register(gradients, Some(to_x), product(&gradient, weight, Side::Across, None));
            }
            if let (Some(to_weight), Some(x)) = (to_weight, &ops.state.x) {
                let d_input = shape(x).last().copied().unwrap_or(1);
                let output = product_across(values(x), d_input, values(&gradient), width);
                register(gradients, Some(to_weight), tensor(output, Shape::new([d_input, width])));
            }
            if let Some(to_bias) = to_bias {
                register(gradients, Some(to_bias), tensor(column_sums(values(&gradient), width), Shape::new([width])));
            }
        }
    }
}
