//! Linear layers.

use burn::tensor::Tensor;

/// `x · weight + bias`.
///
/// All positions are one product: taken batch by batch, short sequences would have the weight put in order again for each.
/// The backward pass keeps x where the weight is tracked, and the weight, which is shared, where x is.
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
    burn::tensor::module::linear(x, weight, bias)
}

#[cfg(feature = "flex")]
mod own {
    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::{Shape, Tensor};

    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::dense::{Strided, column_sums, product, product_across};

    /// x, the weight and perhaps a bias.
    pub(super) enum Operands {
        Biased([Operand; 3]),
        Plain([Operand; 2]),
    }

    #[derive(Debug)]
    struct Linear;

    /// What the gradients of the others need.
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
        let (x, weight) = (Operand::new(x)?, Operand::new(weight)?);
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
        let mut dims = shape(&x).to_vec();
        let matrix = matrix(&weight);
        let output = product(values(&x), matrix, bias.as_ref().map(values));
        if let Some(last) = dims.last_mut() {
            *last = matrix.columns;
        }
        let output = tensor(output, Shape::from(dims));
        (output, Some(State { x: to_weight.then_some(x), weight: to_x.then_some(weight) }))
    }

    /// A matrix wherever it lies.
    fn matrix(raw: &Raw) -> Strided<'_> {
        let (dims, strides) = (shape(raw), raw.layout().strides());
        Strided {
            numbers: &raw.storage::<f32>()[raw.layout().start_offset()..],
            rows: dims[0],
            columns: dims[1],
            strides: [strides[0], strides[1]],
        }
    }

    impl<const N: usize> Backward<Flex, N> for Linear {
        type State = State;

        fn backward(self, ops: Ops<State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
            let mut dims = shape(&gradient).to_vec();
            let width = dims.last().copied().unwrap_or(1);
            let mut nodes = ops.parents.into_iter().map(|node| node.map(|node| node.id));
            let mut next = || nodes.next().flatten();
            let (to_x, to_weight, to_bias) = (next(), next(), next());
            if let (Some(to_x), Some(weight)) = (to_x, &ops.state.weight) {
                let across = matrix(weight).transposed();
                if let Some(last) = dims.last_mut() {
                    *last = across.columns;
                }
                register(gradients, Some(to_x), tensor(product(values(&gradient), across, None), Shape::from(dims)));
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
