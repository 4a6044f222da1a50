//! Matrices in blocks.

use std::fmt;

use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_quantization::{BlockType, QuantizeError};
use bytes::Bytes;
use thiserror::Error;

/// A matrix in blocks: each row is a sequence of whole blocks, as in GGUF files. Clones share the blocks.
#[derive(Clone, PartialEq)]
pub struct QuantizedMatrix {
    kind: BlockType,
    /// `[rows, columns]`
    shape: [usize; 2],
    blocks: Bytes,
}

/// Reasons why blocks are not a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuantizedMatrixError {
    /// Blocks of an unknown type.
    #[error("blocks of {kind} cannot be read")]
    Type {
        /// The type.
        kind: BlockType,
    },
    /// A row does not consist of whole blocks, or there are no elements.
    #[error("a matrix of shape {shape:?} does not fit blocks of {kind}: rows must be a multiple of {} elements, and not empty",
        kind.elements())]
    Shape {
        /// The type.
        kind: BlockType,
        /// The shape.
        shape: [usize; 2],
    },
    /// Another number of bytes than the shape needs.
    #[error("a matrix of shape {shape:?} takes {expected} bytes in blocks of {kind}, found {found}")]
    Size {
        /// The type.
        kind: BlockType,
        /// The shape.
        shape: [usize; 2],
        /// The number of bytes that the shape needs.
        expected: usize,
        /// The number of bytes found.
        found: usize,
    },
    /// Values that cannot be quantized.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
}

impl QuantizedMatrix {
    /// The matrix of these blocks. Elements that are NaN or infinite are as in any other weight: the outputs are, too.
    ///
    /// # Errors
    /// If the type is not known, or the blocks are not those of a matrix of this shape, `[rows, columns]`.
    pub fn new(kind: BlockType, shape: [usize; 2], blocks: Vec<u8>) -> Result<Self, QuantizedMatrixError> {
        Self::shared(kind, shape, blocks.into())
    }

    /// As [`new`](Self::new), of blocks that others may use, too, such as a part of a mapped file.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn shared(kind: BlockType, shape: [usize; 2], blocks: Bytes) -> Result<Self, QuantizedMatrixError> {
        let [rows, columns] = shape;
        if !kind.is_known() {
            return Err(QuantizedMatrixError::Type { kind });
        }
        let bytes = (columns / kind.elements()).checked_mul(kind.bytes()).and_then(|row| row.checked_mul(rows));
        let expected = match bytes.filter(|bytes| *bytes > 0 && columns.is_multiple_of(kind.elements())) {
            Some(expected) if rows.checked_mul(columns).is_some() => expected,
            _ => return Err(QuantizedMatrixError::Shape { kind, shape }),
        };
        let found = blocks.len();
        if found != expected {
            return Err(QuantizedMatrixError::Size { kind, shape, expected, found });
        }
        Ok(Self { kind, shape, blocks })
    }

    /// Quantizes a matrix in row-major order.
    ///
    /// # Errors
    /// As [`new`](Self::new); if blocks of this type are not made, or an element is not finite.
    pub fn quantize(kind: BlockType, shape: [usize; 2], values: &[f32]) -> Result<Self, QuantizedMatrixError> {
        if !shape[1].is_multiple_of(kind.elements()) {
            return Err(QuantizedMatrixError::Shape { kind, shape });
        }
        Self::new(kind, shape, kind.quantize(values)?)
    }

    /// The type of the blocks.
    pub fn kind(&self) -> BlockType {
        self.kind
    }

    /// `[rows, columns]`
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The blocks, row after row.
    pub fn blocks(&self) -> &[u8] {
        &self.blocks
    }

    /// The number of bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.shape[1] / self.kind.elements() * self.kind.bytes()
    }

    /// The dequantized matrix, `[rows, columns]`.
    pub fn dequantize(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.values(0..self.shape[0]), self.shape), device)
    }

    /// Some rows, dequantized: `[rows.len(), columns]`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn select(&self, rows: &[usize], device: &Device) -> Tensor<2> {
        let values = self.values(rows.iter().copied());
        Tensor::from_data(TensorData::new(values, [rows.len(), self.shape[1]]), device)
    }

    fn values(&self, rows: impl ExactSizeIterator<Item = usize>) -> Vec<f32> {
        let bytes = self.row_bytes();
        let mut values = vec![0.0; rows.len() * self.shape[1]];
        let rows = rows.map(|row| &self.blocks[row * bytes..][..bytes]);
        let pieces: Vec<_> = rows.zip(values.chunks_exact_mut(self.shape[1])).collect();
        #[cfg(feature = "flex")]
        crate::kernel::quantized::dequantize(self.kind, pieces);
        #[cfg(not(feature = "flex"))]
        pieces.into_iter().for_each(|(blocks, values)| self.kind.dequantize(blocks, values));
        values
    }
}

impl fmt::Debug for QuantizedMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuantizedMatrix({}, {:?})", self.kind, self.shape)
    }
}
