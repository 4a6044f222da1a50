//! Frozen weights that stay quantized.
//!
//! A weight in blocks is a parameter like any other: it has a shape, a device, and an id. Its f32 value is *lazy*: it is
//! dequantized if something reads it, and then kept, as Burn keeps every lazy value. Beside it, the parameter carries the
//! blocks (as a [`Reparameterization`] of Burn that changes nothing), and [`project`](crate::project), [`look_up`] and
//! [`dense_weight`] use these instead. So code that knows nothing of blocks stays correct, and code that does never holds
//! a second copy. Once the value exists, it counts: it may have been changed by training or loading.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, Param, ParamId, Reparameterization, Reparameterizer};
use burn::nn::Embedding;
use burn::tensor::{Device, Int, Tensor};
use burn_adapters_ops::QuantizedMatrix;
use thiserror::Error;

use crate::has_own_kernels;

/// What the rows of a quantized matrix are in a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockRows {
    /// The outputs of a linear layer, whose parameter is `[d_input, d_output]`.
    Outputs,
    /// The rows of a table, whose parameter is `[rows, width]`.
    Rows,
}

/// Weights on an autodiff device cannot be quantized: those are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "weights on an autodiff device are trained and cannot be quantized: put a frozen model on the plain device, or keep \
    its weights in f32"
)]
pub struct QuantizedWeightError;

/// The blocks of a parameter.
#[derive(Debug, Clone)]
struct Blocks {
    matrix: QuantizedMatrix,
    rows: BlockRows,
}

impl Blocks {
    /// The f32 value of the parameter.
    fn dense(&self, device: &Device) -> Tensor<2> {
        let dense = self.matrix.dequantize(device);
        match self.rows {
            BlockRows::Outputs => dense.transpose(),
            BlockRows::Rows => dense,
        }
    }
}

/// A frozen weight that is kept in blocks. On devices without kernels for blocks, it is dequantized right away.
///
/// # Shapes
/// - matrix: `[d_output, d_input]` or `[rows, width]`
/// - output: `[d_input, d_output]` or `[rows, width]`
///
/// # Errors
/// If the device is an autodiff device.
///
/// ```
/// use burn::nn::Linear;
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_core::{BlockRows, project, quantized_weight};
/// use burn_adapters_ops::QuantizedMatrix;
/// use burn_adapters_quantization::BlockType;
///
/// let matrix = QuantizedMatrix::quantize(BlockType::Q8_0, [3, 32], &[0.5; 96])?;
/// let device = Device::default();
/// let linear = Linear { weight: quantized_weight(matrix, BlockRows::Outputs, &device)?, bias: None };
/// assert_eq!(linear.weight.lazy_shape().dims(), [32, 3]);
/// assert_eq!(project(&linear, Tensor::<2>::ones([2, 32], &device)).dims(), [2, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantized_weight(
    matrix: QuantizedMatrix,
    rows: BlockRows,
    device: &Device,
) -> Result<Param<Tensor<2>>, QuantizedWeightError> {
    if device.is_autodiff() {
        return Err(QuantizedWeightError);
    }
    let blocks = Blocks { matrix, rows };
    if !has_own_kernels(device) {
        // In the order of a dense weight: some backends would copy a transposed view at each use.
        return Ok(Param::from_tensor(Tensor::from_data(blocks.dense(device).into_data(), device)));
    }
    let [height, width] = blocks.matrix.shape();
    let shape = if rows == BlockRows::Outputs { [width, height] } else { [height, width] };
    let value = blocks.clone();
    let init = move |device: &Device, _: bool| value.dense(device);
    let param = Param::uninitialized(ParamId::new(), init, device.clone(), false, shape.into());
    Ok(param.apply_reparameterization(Attach(Some(blocks))))
}

/// The blocks of a weight, unless it has none or its value has been computed.
fn blocks(weight: &Param<Tensor<2>>) -> Option<&Blocks> {
    weight.reparameterization::<Blocks>().filter(|_| !weight.is_initialized())
}

/// The matrix of a weight that is in blocks.
pub fn quantized_matrix(weight: &Param<Tensor<2>>) -> Option<&QuantizedMatrix> {
    blocks(weight).map(|blocks| &blocks.matrix)
}

/// The value of a weight; one in blocks is dequantized for this call and stays as it is.
pub fn dense_weight(weight: &Param<Tensor<2>>) -> Tensor<2> {
    match blocks(weight) {
        Some(blocks) => blocks.dense(&weight.lazy_device()),
        None => weight.val(),
    }
}

/// The rows of a table, `table.forward(ids)`; only the rows that are looked up are dequantized.
///
/// # Shapes
/// - ids: `[batch, sequence]`
/// - output: `[batch, sequence, width]`
///
/// # Panics
/// If there is no such row.
pub fn look_up(table: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
    let Some(matrix) = quantized_matrix(&table.weight) else { return table.forward(ids) };
    let [batch, sequence] = ids.dims();
    let rows: Vec<usize> = ids.into_data().iter::<i64>().map(|id| usize::try_from(id).unwrap_or(usize::MAX)).collect();
    matrix.select(&rows, &table.weight.lazy_device()).reshape([batch, sequence, matrix.shape()[1]])
}

/// Whether any weight of a module is in blocks.
pub fn is_quantized<M: Module>(module: &M) -> bool {
    #[derive(Default)]
    struct Find(bool);
    impl ModuleVisitor for Find {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.0 |= name == Blocks::NAME && container_type == "Reparameterization";
        }
    }
    let mut find = Find::default();
    module.visit(&mut find);
    find.0
}

struct Attach(Option<Blocks>);

impl Reparameterizer for Attach {
    type Reparam = Blocks;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Blocks>) {
        (param, self.0.take())
    }
}

impl Reparameterization for Blocks {
    const NAME: &'static str = "quantized";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        base
    }
}

/// Blocks hold no parameter.
impl Module for Blocks {
    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn fork(self, _: &Device) -> Self {
        self
    }

    fn to_device(self, _: &Device) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, _: &mut V) {}

    fn map<M: ModuleMapper>(self, _: &mut M) -> Self {
        self
    }

    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        self
    }
}
