//! Splitting features in halves.

use burn::tensor::Tensor;

/// Splits `[batch, sequence, hidden]` into two tensors of `[batch, sequence, hidden / 2]`.
pub(crate) fn halves(x: Tensor<3>) -> [Tensor<3>; 2] {
    let half = x.dims()[2] / 2;
    let rest = x.dims()[2] - half;
    [x.clone().narrow(2, 0, half), x.narrow(2, half, rest)]
}

/// Joins both halves.
pub(crate) fn join(first: Tensor<3>, second: Tensor<3>) -> Tensor<3> {
    Tensor::cat(vec![first, second], 2)
}
