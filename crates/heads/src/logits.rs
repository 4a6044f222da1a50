//! The logits of a head: a vector for each row, or for each token of each row.

use burn::tensor::Tensor;

use crate::HeadError;

/// The output of a head: one vector of logits per row or, for a head that reads every position, one per token without
/// padding.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_heads::Logits;
///
/// let logits = Logits::new(Tensor::zeros([5, 3], &Device::default()), vec![2, 3])?; // two rows, of 2 and 3 tokens
/// assert_eq!((logits.rows(), logits.lengths()), (2, &[2, 3][..]));
/// # Ok::<(), burn_adapters_heads::HeadError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Logits {
    values: Tensor<2>,
    lengths: Vec<usize>,
}

impl Logits {
    /// Vectors of logits (`[Σ lengths, outputs]`), row by row; `lengths` has the number of vectors of each row.
    ///
    /// # Errors
    /// If the lengths do not add up to the number of vectors.
    pub fn new(values: Tensor<2>, lengths: Vec<usize>) -> Result<Self, HeadError> {
        let [vectors, _] = values.dims();
        let sum: usize = lengths.iter().sum();
        if sum != vectors {
            return Err(HeadError::Shape { expected: format!("{sum} vectors of logits"), found: vectors.to_string() });
        }
        Ok(Self { values, lengths })
    }

    /// One vector a row: `[rows, outputs]`.
    pub fn of_rows(values: Tensor<2>) -> Self {
        let [rows, _] = values.dims();
        Self { values, lengths: vec![1; rows] }
    }

    /// The vectors, row by row: `[Σ lengths, outputs]`.
    pub fn values(&self) -> &Tensor<2> {
        &self.values
    }

    /// The vectors, row by row: `[Σ lengths, outputs]`. Of a head that classifies texts, `[rows, labels]`.
    pub fn into_values(self) -> Tensor<2> {
        self.values
    }

    /// The number of vectors of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Splits values that were read from [`values`](Self::values) into those of each row.
    pub fn split<'a>(&self, values: &'a [f32]) -> Vec<&'a [f32]> {
        let [_, width] = self.values.dims();
        let mut rest = values;
        let take = |length: &usize| {
            let (row, others) = rest.split_at(rest.len().min(length * width));
            rest = others;
            row
        };
        self.lengths.iter().map(take).collect()
    }
}
