//! Frozen weights that stay quantized.
//!
//! A weight in blocks is a parameter like any other: it has a shape, a device, and an id. Its f32 value is *lazy*: it is
//! dequantized if something reads it, and then kept, as Burn keeps every lazy value. Beside it, the parameter carries the
//! blocks (as a [`Reparameterization`] of Burn that changes nothing), and [`project`](crate::project), [`look_up`] and
//! [`dense_weight`] use these instead. So code that knows nothing of blocks stays correct, and code that does never holds
//! a second copy. Once the value exists, it counts: it may have been changed by training or loading.

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor, Param, ParamId, Reparameterization, Reparameterizer};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, FloatDType, Int, Tensor};
use burn_adapters_ops::{QuantizedMatrix, linear, quantized_linear};
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
/// Whatever reads the parameter's value dequantizes it for good: [`Param::val`], [`Module::valid`], printing the module.
/// [`dense_weight`] dequantizes it for one use.
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

/// The rows of a table in f32, `table.forward(ids)`; only the rows that are looked up are dequantized or widened.
///
/// # Shapes
/// - ids: `[batch, sequence]`
/// - output: `[batch, sequence, width]`
///
/// # Panics
/// If there is no such row.
pub fn look_up(table: &Embedding, ids: Tensor<2, Int>) -> Tensor<3> {
    let Some(matrix) = quantized_matrix(&table.weight) else { return table.forward(ids).cast(FloatDType::F32) };
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

// Linear layers computed by the kernels of `burn-adapters-ops`.

/// Computes `layer.forward(x)`, where the backend supports it as one operation with a custom backward pass.
///
/// # Shapes
/// - x: `[.., d_input]`
/// - output: `[.., d_output]`
///
/// # Panics
/// If the last dimension of `x` is not the layer's `d_input`.
pub fn project<const D: usize>(layer: &Linear, x: Tensor<D>) -> Tensor<D> {
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    match quantized_matrix(&layer.weight) {
        Some(matrix) => quantized_linear(x, matrix, bias),
        None => linear(x, layer.weight.val(), bias),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::nn::{EmbeddingConfig, Linear, LinearConfig};
    use burn_adapters_quantization::BlockType;

    use super::*;
    use crate::project;

    fn matrix() -> QuantizedMatrix {
        let values: Vec<f32> = (0..5 * 64).map(|at| ((at * 37) % 101) as f32 / 50.0 - 1.0).collect();
        QuantizedMatrix::quantize(BlockType::Q4_1, [5, 64], &values).unwrap()
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_weight_in_blocks_is_used_without_its_value() {
        let device = Device::default();
        let weight = quantized_weight(matrix(), BlockRows::Outputs, &device).unwrap();
        let linear = Linear { weight, ..LinearConfig::new(64, 5).init(&device) };
        let x = Tensor::<2>::ones([2, 64], &device);
        let found = project(&linear, x.clone());
        let dense = dense_weight(&linear.weight);
        assert_eq!(dense.dims(), [64, 5]);
        assert_eq!((linear.num_params(), is_quantized(&linear)), (64 * 5 + 5, has_own_kernels(&device)));
        if has_own_kernels(&device) {
            assert!(!linear.weight.is_initialized());
            assert_eq!(quantized_matrix(&linear.weight), Some(&matrix()));
        }
        // Read, it is the same weight, and a copy shares what was read.
        let copy = linear.clone();
        assert_eq!(values(linear.weight.val()), values(dense));
        assert_eq!(quantized_matrix(&copy.weight), None);
        let again = values(project(&copy, x));
        assert!(values(found).iter().zip(&again).all(|(found, again)| (found - again).abs() < 1e-4));
    }

    #[test]
    fn a_table_in_blocks_is_looked_up() {
        let device = Device::default();
        let weight = quantized_weight(matrix(), BlockRows::Rows, &device).unwrap();
        let mut table = EmbeddingConfig::new(5, 64).init(&device);
        table.weight = weight;
        let ids = || Tensor::<2, Int>::from_data([[4, 0, 4], [1, 2, 3]], &device);
        let found = look_up(&table, ids());
        assert_eq!(found.dims(), [2, 3, 64]);
        assert_eq!(table.weight.is_initialized(), !has_own_kernels(&device));
        assert_eq!(values(found), values(table.forward(ids())));
    }

    #[test]
    fn weights_that_are_trained_are_not_quantized() {
        let device = Device::default().autodiff();
        assert_eq!(quantized_weight(matrix(), BlockRows::Rows, &device).unwrap_err(), QuantizedWeightError);
        assert!(!is_quantized(&LinearConfig::new(2, 2).init(&device)));
    }
}
