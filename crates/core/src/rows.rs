//! Rows of a batch.

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The indices of rows on a device.
pub fn row_indices(rows: &[usize], device: &Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}

/// Where some rows of a batch of `rows` are in a tensor that holds the batch once or several times, one copy after the
/// other. `None` if `held`, the rows of the tensor, are not such copies.
///
/// ```
/// use burn_adapters_core::repeated_rows;
///
/// assert_eq!(repeated_rows(&[2, 0], 3, 6), Some(vec![2, 0, 5, 3]));
/// assert_eq!(repeated_rows(&[2, 0], 3, 4), None);
/// ```
pub fn repeated_rows(order: &[usize], rows: usize, held: usize) -> Option<Vec<usize>> {
    let copies = held.checked_div(rows).filter(|copies| copies * rows == held)?;
    Some((0..copies).flat_map(|copy| order.iter().map(move |row| copy * rows + row)).collect())
}
