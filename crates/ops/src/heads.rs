//! The heads of queries, keys and values in their tensors.

use crate::flex::{Raw, contiguous};
use crate::kernel::product::Matrix;

/// The heads of a tensor, in any layout.
#[derive(Debug, Clone)]
pub(crate) struct Heads {
    raw: Raw,
    offset: usize,
    /// The strides of sequence, head and row.
    strides: [usize; 3],
}

impl Heads {
    /// Of sequences that all have one length: `[batch, heads, rows, columns]`.
    pub(crate) fn of_batch(raw: Raw) -> Self {
        Self::new(raw, |by| [by(0), by(1), by(2)])
    }

    /// Of concatenated sequences: `[rows, heads, columns]`.
    pub(crate) fn of_rows(raw: Raw) -> Self {
        Self::new(raw, |by| [0, by(1), by(0)])
    }

    fn new(raw: Raw, strides: impl Fn(&dyn Fn(usize) -> usize) -> [usize; 3]) -> Self {
        let in_rows = raw.layout().strides().last() == Some(&1) && raw.layout().strides().iter().all(|&by| by >= 0);
        let raw = if in_rows { raw } else { contiguous(raw) };
        let strides = strides(&|dim| raw.layout().strides()[dim] as usize);
        Self { offset: raw.layout().start_offset(), strides, raw }
    }

    /// The part that begins at this row.
    #[inline(always)]
    pub(crate) fn get(&self, sequence: usize, head: usize, row: usize) -> Matrix<'_> {
        let [by_sequence, by_head, by_row] = self.strides;
        let start = self.offset + sequence * by_sequence + head * by_head + row * by_row;
        Matrix::new(&self.raw.storage()[start..], by_row)
    }
}
