//! Conversions between Burn's tensors and f32 slices, and custom operations on the autodiff tape.

use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Flex};
use burn::tensor::{DType, Shape, Tensor, TensorData};

/// A flex tensor.
pub(crate) type Raw = FloatTensor<Flex>;
/// Flex with a graph that keeps what was computed.
pub(crate) type Tape = Autodiff<Flex, NoCheckpointing>;
/// A flex tensor on the tape.
pub(crate) type Taped = FloatTensor<Tape>;

/// A tensor on flex, with or without a graph.
pub(crate) enum Operand {
    /// Without a graph.
    Plain(Raw),
    /// In a graph, tracked or not.
    Taped(Taped),
}

impl Operand {
    /// An f32 tensor; `None` where the kernels don't apply.
    pub(crate) fn new<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        Self::of(tensor, DType::F32)
    }

    /// A bf16 tensor that is not tracked; `None` where the kernels don't apply.
    pub(crate) fn frozen_bf16<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        let operand = Self::of(tensor, DType::BF16)?;
        let is_tracked = matches!(&operand, Self::Taped(taped) if taped.is_tracked());
        (!is_tracked).then_some(operand)
    }

    fn of<const D: usize>(tensor: &Tensor<D>, dtype: DType) -> Option<Self> {
        if tensor.dtype() != dtype {
            return None;
        }
        let tensor = tensor.clone();
        if tensor.is_autodiff() {
            tensor.try_into_primitive::<Tape>().ok().map(Self::Taped)
        } else {
            tensor.try_into_primitive::<Flex>().ok().map(Self::Plain)
        }
    }

    fn tape(self) -> Taped {
        match self {
            Self::Plain(raw) => Tape::from_inner(raw),
            Self::Taped(taped) => taped,
        }
    }
}

/// Runs `forward` and, if an operand is tracked, keeps the state that it returns for the backward pass. The argument of
/// `forward` says which operands are tracked.
pub(crate) fn record<const D: usize, const N: usize, B, F>(operands: [Operand; N], backward: B, forward: F) -> Tensor<D>
where
    B: Backward<Flex, N>,
    F: FnOnce([Raw; N], [bool; N]) -> (Raw, Option<B::State>),
{
    if operands.iter().all(|operand| matches!(operand, Operand::Plain(_))) {
        let plain = operands.map(|operand| match operand {
            Operand::Plain(raw) => raw,
            Operand::Taped(taped) => taped.into_primitive(),
        });
        return Tensor::from_primitive::<Flex>(forward(plain, [false; N]).0);
    }
    let taped = operands.map(Operand::tape);
    let nodes = taped.each_ref().map(|tensor| tensor.node());
    let tracked = taped.each_ref().map(|tensor| tensor.is_tracked());
    let plain = taped.map(|tensor| tensor.into_primitive());
    let output = match backward.prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::UnTracked(prepared) => prepared.finish(forward(plain, [false; N]).0),
        OpsKind::Tracked(prepared) => match forward(plain, tracked) {
            (output, Some(state)) => prepared.finish(state, output),
            (_, None) => unreachable!("a forward pass with a tracked operand returns its state"),
        },
    };
    Tensor::from_primitive::<Tape>(output)
}

/// Passes a gradient to its node, if there is one.
pub(crate) fn register(gradients: &mut Gradients, node: Option<burn::backend::autodiff::NodeId>, gradient: Raw) {
    if let Some(node) = node {
        gradients.register::<Flex>(node, gradient);
    }
}

/// The elements in order, copied only if the tensor is not contiguous.
pub(crate) fn contiguous(tensor: Raw) -> Raw {
    tensor.to_contiguous()
}

/// The elements of a contiguous f32 tensor.
pub(crate) fn values(tensor: &Raw) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// The sizes of the dimensions.
pub(crate) fn shape(tensor: &Raw) -> Shape {
    tensor.layout().shape().clone()
}

/// A tensor of these elements, which are not copied.
pub(crate) fn tensor(values: Vec<f32>, shape: Shape) -> Raw {
    Raw::from_data(TensorData::new(values, shape))
}
