//! The number formats in which a model keeps its matrices.

use std::collections::BTreeMap;
use std::fmt;

use burn::tensor::Device;
use burn_adapters_core::{QuantizedWeightError, check_bf16, has_own_kernels};
use burn_adapters_tensors::{BlockType, FloatType};

use crate::LoadError;

/// The number format of a model's matrices: the weights of linear layers and the table of word embeddings. Everything else is
/// f32.
///
/// Quantized weights are frozen: they need a plain device. Products with them take f32 and give f32. Devices without kernels
/// for blocks keep the rounded values in f32, and the report of loading says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WeightFormat {
    /// Single precision, whatever the format of the files.
    #[default]
    F32,
    /// Half the memory of f32. The table of word embeddings stays f32 unless it is the matrix of a language model's output
    /// layer. See [`linear_weights_in_bf16`](burn_adapters_core::linear_weights_in_bf16).
    Bf16,
    /// About 8 bits: blocks of Q8_0. What a GGUF file has in blocks stays in these.
    Int8,
    /// About 5 bits: blocks of Q4_1, and of Q8_0 for word embeddings. What a GGUF file has in blocks stays in these.
    Int4,
    /// The blocks of a GGUF file as they are, also those of F16 and BF16. From other files, f32.
    AsStored,
}

impl WeightFormat {
    /// The type of the elements of dense matrices.
    pub(super) fn float_type(self) -> FloatType {
        if self == Self::Bf16 { FloatType::Bf16 } else { FloatType::F32 }
    }

    /// Checks that a device has the format for frozen weights.
    pub(crate) fn check(self, device: &Device) -> Result<(), LoadError> {
        match self {
            Self::F32 => Ok(()),
            Self::Bf16 => Ok(check_bf16(device)?),
            Self::Int8 | Self::Int4 | Self::AsStored if device.is_autodiff() => Err(QuantizedWeightError.into()),
            Self::Int8 | Self::Int4 | Self::AsStored => Ok(()),
        }
    }

    /// Whether a file's blocks are kept.
    pub(super) fn keeps(self, kind: BlockType, device: &Device) -> bool {
        match self {
            Self::F32 | Self::Bf16 => false,
            Self::Int8 | Self::Int4 => !kind.is_plain(),
            // Without kernels they would only be dequantized again.
            Self::AsStored => !matches!(kind, BlockType::F32 | BlockType::F64) && has_own_kernels(device),
        }
    }

    /// The blocks that are made of the weights of linear layers.
    pub(super) fn of_linear(self) -> Option<BlockType> {
        match self {
            Self::F32 | Self::Bf16 | Self::AsStored => None,
            Self::Int8 => Some(BlockType::Q8_0),
            // Q4_0 is a tenth smaller, but a third farther off.
            Self::Int4 => Some(BlockType::Q4_1),
        }
    }

    /// The blocks that are made of the table of word embeddings. Where the output layer shares it, it matters most.
    pub(super) fn of_words(self) -> Option<BlockType> {
        self.of_linear().map(|_| BlockType::Q8_0)
    }
}

/// The matrices of a model by their number formats.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MatrixFormats {
    /// For each format (`f32`, `bf16`, `Q4_1`) the number of matrices, and the bytes that they take.
    pub formats: BTreeMap<String, (usize, u64)>,
    /// Matrices that are not quantized though they should be, because their rows are not a multiple of a block.
    pub not_quantized: Vec<String>,
    /// Whether quantized matrices are in f32, because the device has no kernels for them.
    pub dequantized: bool,
    /// How many of the bytes are in a [mapped file](crate::AutoModel::from_mapped_gguf).
    pub mapped: u64,
}

impl MatrixFormats {
    pub(super) fn add(&mut self, format: impl fmt::Display, bytes: usize) {
        let (count, sum) = self.formats.entry(format.to_string()).or_default();
        *count += 1;
        *sum = sum.saturating_add(bytes as u64);
    }

    /// Whether any matrix is in blocks.
    pub fn is_quantized(&self) -> bool {
        self.formats.keys().any(|format| format != "f32" && format != "bf16")
    }
}

impl fmt::Display for MatrixFormats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (format, (count, bytes))) in self.formats.iter().enumerate() {
            let noun = if *count == 1 { "matrix" } else { "matrices" };
            let before = if number == 0 { "" } else { ", " };
            write!(f, "{before}{count} {noun} in {format} ({:.1} MB)", *bytes as f64 / 1e6)?;
        }
        if self.mapped > 0 {
            write!(f, ", of which {:.1} MB in the mapped file", self.mapped as f64 / 1e6)?;
        }
        if self.dequantized {
            write!(f, "; this device has no kernels for quantized weights: they are kept in f32")?;
        }
        if let Some(first) = self.not_quantized.first() {
            let count = self.not_quantized.len();
            write!(f, "; {count} not quantized, because their rows are not a multiple of a block: {first}")?;
            if count > 1 {
                write!(f, ", ..")?;
            }
        }
        Ok(())
    }
}
