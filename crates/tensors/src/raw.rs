//! Tensors in the memory of the host.

use std::collections::BTreeMap;

use burn::tensor::{DType, TensorData};
use half::bf16;

/// A tensor of f32 elements as a file holds it, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct RawTensor {
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// The elements.
    pub values: Vec<f32>,
}

/// The tensors of a file, by name.
pub type Tensors = BTreeMap<String, RawTensor>;

/// A matrix `[rows, columns]` of f32 or bf16 as `[columns, rows]`. It is transposed on the host, because some backends
/// would copy a transposed view on the device at each use.
///
/// ```
/// use burn::tensor::TensorData;
/// use burn_adapters_tensors::transposed;
///
/// let matrix = TensorData::from([[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]]);
/// assert_eq!(transposed(matrix), TensorData::from([[1.0f32, 3.0, 5.0], [2.0, 4.0, 6.0]]));
/// ```
///
/// # Panics
/// If the tensor is not a matrix, or has elements of another type.
pub fn transposed(data: TensorData) -> TensorData {
    let shape = data.shape().to_vec();
    assert!(shape.len() == 2, "expected a matrix, found a tensor of shape {shape:?}");
    let (rows, columns) = (shape[0], shape[1]);
    let transposed = match data.dtype() {
        DType::F32 => {
            data.as_slice().map(|values| TensorData::new(columns_of::<f32>(values, rows, columns), [columns, rows]))
        }
        DType::BF16 => {
            data.as_slice().map(|values| TensorData::new(columns_of::<bf16>(values, rows, columns), [columns, rows]))
        }
        other => panic!("expected elements of f32 or bf16, found {other:?}"),
    };
    match transposed {
        Ok(transposed) => transposed,
        Err(error) => panic!("data of a type cannot be read as that type: {error}"),
    }
}

/// Block by block, so that both sides stay in the cache.
fn columns_of<E: Copy + Default>(values: &[E], rows: usize, columns: usize) -> Vec<E> {
    const BLOCK: usize = 32;
    let mut transposed = vec![E::default(); values.len()];
    for first in (0..rows).step_by(BLOCK) {
        let block = first..(first + BLOCK).min(rows);
        for column in 0..columns {
            let target = &mut transposed[column * rows..][block.clone()];
            for (target, row) in target.iter_mut().zip(block.clone()) {
                *target = values[row * columns + column];
            }
        }
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_whatever_its_size() {
        for (rows, columns) in [(1, 1), (5, 3), (33, 40), (32, 64)] {
            let values: Vec<f32> = (0..rows * columns).map(|value| value as f32).collect();
            let expected: Vec<f32> =
                (0..columns).flat_map(|column| (0..rows).map(move |row| (row * columns + column) as f32)).collect();
            let half = |values: &[f32]| values.iter().map(|value| bf16::from_f32(*value)).collect::<Vec<_>>();
            let found = transposed(TensorData::new(half(&values), [rows, columns]));
            assert_eq!(found, TensorData::new(half(&expected), [columns, rows]));
            assert_eq!(
                transposed(TensorData::new(values, [rows, columns])),
                TensorData::new(expected, [columns, rows])
            );
        }
    }
}
