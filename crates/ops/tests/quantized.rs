//! Products with a weight in blocks against those with the same weight dequantized.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_ops::{QuantizedMatrix, QuantizedMatrixError, linear, quantized_linear};
use burn_adapters_quantization::BlockType;
use proptest::prelude::*;

/// Numbers between -1 and 1.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|at| (((at + seed * 31) * 7919) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// A matrix of any bytes whose factors are small.
fn matrix(kind: BlockType, shape: [usize; 2], seed: usize) -> QuantizedMatrix {
    if kind.is_made() {
        return QuantizedMatrix::quantize(kind, shape, &numbers(shape[0] * shape[1], seed)).unwrap();
    }
    let count = shape[0] * shape[1] / kind.elements() * kind.bytes();
    // Halves of such bytes are between 0.001 and 0.02, whichever byte comes first, and so is the exponent of MXFP4.
    let byte = |at: usize| 0x14 + (((at + seed) * 40503) >> 7) as u8 % 16;
    QuantizedMatrix::new(kind, shape, (0..count).map(byte).collect()).unwrap()
}

/// The types with blocks that tests use, those with kernels of their own first.
const KINDS: [BlockType; 10] = [
    BlockType::Q4_1,
    BlockType::Q8_0,
    BlockType::Q4_0,
    BlockType::Q4K,
    BlockType::Q6K,
    BlockType::Q5_1,
    BlockType::Iq4Nl,
    BlockType::Mxfp4,
    BlockType::F16,
    BlockType::Bf16,
];

/// Checks `found` to be `x · weightᵀ + bias`, relative to the sum of magnitudes.
fn check(found: &[f32], x: &[f32], weight: &[f32], bias: &[f32], d_input: usize) {
    let d_output = weight.len() / d_input;
    assert_eq!(found.len(), x.len() / d_input * d_output);
    for (at, found) in found.iter().enumerate() {
        let (row, column) = (at / d_output, at % d_output);
        let pairs = x[row * d_input..][..d_input].iter().zip(&weight[column * d_input..][..d_input]);
        let products = pairs.map(|(x, weight)| f64::from(*x) * f64::from(*weight));
        let (sum, size) = products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()));
        let (expected, size) = (sum + f64::from(bias[column]), size + f64::from(bias[column]).abs());
        let apart = (f64::from(*found) - expected).abs();
        assert!(apart <= 1e-5 * size.max(1e-30), "row {row}, output {column}: {found} instead of {expected}");
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn forward(kind: BlockType, rows: usize, [d_output, d_input]: [usize; 2], seed: usize) {
    let device = Device::default();
    let weight = matrix(kind, [d_output, d_input], seed);
    let (x, bias) = (numbers(rows * d_input, seed + 1), numbers(d_output, seed + 2));
    let tensor = Tensor::<2>::from_data(TensorData::new(x.clone(), [rows, d_input]), &device);
    let dense = values(weight.dequantize(&device));
    check(&values(quantized_linear(tensor.clone(), &weight, None)), &x, &dense, &vec![0.0; d_output], d_input);
    let with_bias = Tensor::<1>::from_data(TensorData::new(bias.clone(), [d_output]), &device);
    check(&values(quantized_linear(tensor, &weight, Some(with_bias))), &x, &dense, &bias, d_input);
}

#[test]
fn every_type_gives_the_product_of_the_dequantized_weight() {
    for (seed, kind) in KINDS.into_iter().enumerate() {
        for rows in [1, 3, 8, 9, 70] {
            forward(kind, rows, [37, 512], seed);
        }
    }
}

#[test]
fn long_sums_and_many_outputs_are_cut_into_tiles() {
    forward(BlockType::Q4_1, 12, [300, 2080], 5);
    forward(BlockType::Q4K, 9, [130, 2304], 6);
}

#[test]
fn no_rows_give_none() {
    let weight = matrix(BlockType::Q8_0, [4, 32], 1);
    let x = Tensor::<2>::zeros([0, 32], &Device::default());
    assert_eq!(quantized_linear(x, &weight, None).dims(), [0, 4]);
}

#[test]
fn x_may_lie_in_memory_as_it_likes() {
    let weight = matrix(BlockType::Q4_0, [5, 64], 1);
    for rows in [2, 20] {
        let x = Tensor::<2>::from_data(TensorData::new(numbers(64 * rows, 3), [64, rows]), &Device::default());
        let turned = x.swap_dims(0, 1);
        let straight = Tensor::from_data(turned.clone().into_data(), &Device::default());
        let [found, expected] = [turned, straight].map(|x| values(quantized_linear(x, &weight, None)));
        assert_eq!(found, expected);
    }
}

/// The gradients of x and of the bias, with a loss that weighs the outputs.
fn gradients(rows: usize, weight: &QuantizedMatrix, dense: bool) -> [Vec<f32>; 2] {
    let [d_output, d_input] = weight.shape();
    let device = Device::default().autodiff();
    let x = Tensor::<3>::from_data(TensorData::new(numbers(rows * d_input, 1), [1, rows, d_input]), &device);
    let bias = Tensor::<1>::from_data(TensorData::new(numbers(d_output, 2), [d_output]), &device);
    let (x, bias) = (x.require_grad(), bias.require_grad());
    let y = match dense {
        true => linear(x.clone(), weight.dequantize(&Device::default()).transpose(), Some(bias.clone())),
        false => quantized_linear(x.clone(), weight, Some(bias.clone())),
    };
    let weights = TensorData::new(numbers(rows * d_output, 9), [1, rows, d_output]);
    let gradients = (y * Tensor::from_data(weights, &device)).sum().backward();
    [values(x.grad(&gradients).unwrap()), values(bias.grad(&gradients).unwrap())]
}

#[test]
fn gradients_are_those_with_the_dequantized_weight() {
    for (seed, kind) in KINDS.into_iter().enumerate() {
        for (rows, d_output) in [(1, 40), (3, 7), (11, 40), (30, 1100)] {
            let weight = matrix(kind, [d_output, 256], seed);
            let (found, expected) = (gradients(rows, &weight, false), gradients(rows, &weight, true));
            for (found, expected) in found.iter().zip(&expected) {
                let size = expected.iter().fold(0.0_f32, |size, value| size.max(value.abs()));
                let apart = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
                let apart = apart.fold(0.0_f32, f32::max);
                assert!(apart <= 1e-5 * size, "{kind}, {rows} rows: {apart:e} of {size:e}");
            }
        }
    }
}

#[test]
fn a_bias_alone_may_be_trained() {
    let weight = matrix(BlockType::Q4_1, [6, 32], 1);
    let device = Device::default();
    let bias = Tensor::<1>::zeros([6], &device.clone().autodiff()).require_grad();
    let y = quantized_linear(Tensor::<2>::ones([4, 32], &device), &weight, Some(bias.clone()));
    let gradients = y.sum().backward();
    assert_eq!(values(bias.grad(&gradients).unwrap()), [4.0; 6]);
}

#[test]
fn rows_are_dequantized_alone() {
    let device = Device::default();
    for kind in KINDS {
        let weight = matrix(kind, [9, 256], 3);
        let whole = weight.dequantize(&device);
        let found = values(weight.select(&[7, 0, 7], &device));
        let row = |row: usize| values(whole.clone().narrow(0, row, 1));
        assert_eq!(found, [row(7), row(0), row(7)].concat());
    }
}

#[test]
fn blocks_that_are_no_matrix_are_an_error() {
    let shape = |kind, shape| QuantizedMatrixError::Shape { kind, shape };
    let kind = BlockType::Q4_0;
    assert_eq!(QuantizedMatrix::new(kind, [2, 33], vec![0; 36]), Err(shape(kind, [2, 33])));
    assert_eq!(QuantizedMatrix::new(kind, [0, 32], vec![]), Err(shape(kind, [0, 32])));
    assert_eq!(QuantizedMatrix::new(kind, [usize::MAX, 64], vec![]), Err(shape(kind, [usize::MAX, 64])));
    assert_eq!(QuantizedMatrix::quantize(kind, [1, 40], &[0.0; 40]), Err(shape(kind, [1, 40])));
    let size = QuantizedMatrixError::Size { kind, shape: [2, 32], expected: 36, found: 35 };
    assert_eq!(QuantizedMatrix::new(kind, [2, 32], vec![0; 35]), Err(size));
    let other = BlockType::Other(77);
    assert_eq!(QuantizedMatrix::new(other, [1, 1], vec![0]), Err(QuantizedMatrixError::Type { kind: other }));
    let nan = QuantizedMatrix::quantize(kind, [1, 32], &[f32::NAN; 32]).unwrap_err().to_string();
    assert!(nan.contains("not finite"), "{nan}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_of_any_size_are_those_of_the_dequantized_weight(
        kind in prop::sample::select(&KINDS[..]),
        rows in 1_usize..24,
        d_output in 1_usize..80,
        blocks in 1_usize..4,
        seed in 0_usize..1000,
    ) {
        forward(kind, rows, [d_output, blocks * kind.elements().max(17)], seed);
    }
}
