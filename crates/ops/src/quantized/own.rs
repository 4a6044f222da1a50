//! The product with a quantized weight as one operation on flex.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::tensor::{Shape, Tensor};

use super::QuantizedMatrix;
use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
use crate::kernel::dense::column_sums;
use crate::kernel::quantized::{product, product_across};

/// x and an optional bias.
pub(super) enum Operands {
    Biased([Operand; 2]),
    Plain([Operand; 1]),
}

#[derive(Debug)]
struct QuantizedLinear;

pub(super) fn operands<const D: usize>(
    x: &Tensor<D>,
    weight: &QuantizedMatrix,
    bias: Option<&Tensor<1>>,
) -> Option<Operands> {
    if weight.shape().contains(&0) {
        return None;
    }
    let x = Operand::new(x)?;
    Some(match bias {
        Some(bias) => Operands::Biased([x, Operand::new(bias)?]),
        None => Operands::Plain([x]),
    })
}

pub(super) fn linear<const D: usize>(operands: Operands, weight: &QuantizedMatrix) -> Tensor<D> {
    match operands {
        Operands::Biased(operands) => {
            record(operands, QuantizedLinear, |[x, bias], _| forward(x, weight, Some(contiguous(bias))))
        }
        Operands::Plain(operands) => record(operands, QuantizedLinear, |[x], _| forward(x, weight, None)),
    }
}

/// The backward pass needs the weight alone, which is shared.
fn forward(x: Raw, weight: &QuantizedMatrix, bias: Option<Raw>) -> (Raw, Option<QuantizedMatrix>) {
    let x = contiguous(x);
    let output = product(values(&x), weight, bias.as_ref().map(values));
    (tensor(output, with_width(&x, weight.shape()[0])), Some(weight.clone()))
}

/// The shape of a tensor with another last dimension.
fn with_width(raw: &Raw, width: usize) -> Shape {
    let mut dims = shape(raw).to_vec();
    if let Some(last) = dims.last_mut() {
        *last = width;
    }
    Shape::from(dims)
}

impl<const N: usize> Backward<Flex, N> for QuantizedLinear {
    type State = QuantizedMatrix;

    fn backward(self, ops: Ops<QuantizedMatrix, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = contiguous(gradients.consume::<Flex>(&ops.node));
        let [d_output, d_input] = ops.state.shape();
        let mut nodes = ops.parents.into_iter().map(|node| node.map(|node| node.id));
        let (to_x, to_bias) = (nodes.next().flatten(), nodes.next().flatten());
        if to_x.is_some() {
            let output = product_across(values(&gradient), &ops.state);
            register(gradients, to_x, tensor(output, with_width(&gradient, d_input)));
        }
        if to_bias.is_some() {
            let sums = column_sums(values(&gradient), d_output);
            register(gradients, to_bias, tensor(sums, Shape::new([d_output])));
        }
    }
}
