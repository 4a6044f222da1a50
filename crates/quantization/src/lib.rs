//! Blocks of quantized numbers, as GGUF files hold them.
//!
//! A quantized tensor is a sequence of blocks of 32 or 256 elements. A block holds small integers and, in half precision,
//! the factor that they are multiplied by, in some types also an offset, or a factor for each part of the block. [`BlockType`]
//! names the types and their sizes, [`BlockType::dequantize`] turns blocks into f32, and [`BlockType::quantize`] makes
//! blocks of Q8_0, Q4_0 and Q4_1. Both give the same bits as Python's package `gguf`.
//!
//! ```
//! use burn_adapters_quantization::BlockType;
//!
//! let values: Vec<f32> = (0..32).map(|value| value as f32 - 16.0).collect();
//! let block = BlockType::Q8_0.quantize(&values)?;
//! assert_eq!(block.len(), 34);
//! let mut found = vec![0.0; 32];
//! BlockType::Q8_0.dequantize(&block, &mut found);
//! assert!(values.iter().zip(&found).all(|(value, found)| (value - found).abs() < 0.07));
//! # Ok::<(), burn_adapters_quantization::QuantizeError>(())
//! ```

mod block_type;
mod decode;
mod encode;

pub use self::block_type::BlockType;
pub use self::decode::{q4_0, q4_1, q4_k, q4_k_parts, q8_0};
pub use self::encode::QuantizeError;
