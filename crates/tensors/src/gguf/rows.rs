//! The order of the rows of query and key in llama.cpp.
//!
//! Rotary positions turn pairs of elements of a head: in Hugging Face's models the first half with the second, in llama.cpp's
//! file of some architectures neighbors. So row `2 · pair + half` of a head there is row `half · (head / 2) + pair` here.

/// The rows in llama.cpp's order: of each head, pairs of neighbors. `None` if `rows` are not `heads` heads of pairs.
///
/// ```
/// use burn_adapters_tensors::{heads_in_pairs, pairs_in_heads};
///
/// let rows = [0, 1, 2, 3, 10, 11, 12, 13]; // two heads of four rows
/// let stored = heads_in_pairs(&rows, 8, 2).unwrap();
/// assert_eq!(stored, [0, 2, 1, 3, 10, 12, 11, 13]);
/// assert_eq!(pairs_in_heads(&stored, 8, 2).unwrap(), rows);
/// ```
pub fn heads_in_pairs<T: Copy>(values: &[T], rows: usize, heads: usize) -> Option<Vec<T>> {
    reordered(values, rows, heads, |row, half| (row % 2) * half + row / 2)
}

/// The rows in the model's order, from llama.cpp's. `None` if `rows` are not `heads` heads of pairs.
pub fn pairs_in_heads<T: Copy>(values: &[T], rows: usize, heads: usize) -> Option<Vec<T>> {
    reordered(values, rows, heads, |row, half| 2 * (row % half) + row / half)
}

/// The rows of each head, each from the row that `from` names.
fn reordered<T: Copy>(values: &[T], rows: usize, heads: usize, from: impl Fn(usize, usize) -> usize) -> Option<Vec<T>> {
    let head = rows.checked_div(heads).filter(|head| *head > 0 && head * heads == rows && head % 2 == 0)?;
    let row = (values.len() / rows.max(1)).max(1);
    let mut ordered = Vec::with_capacity(values.len());
    for at in 0..rows {
        let source = at / head * head + from(at % head, head / 2);
        ordered.extend_from_slice(values.get(source * row..(source + 1) * row)?);
    }
    Some(ordered)
}
