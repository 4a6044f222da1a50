//! Named tensors in files: safetensors, PyTorch's `.bin`, and GGUF.
//!
//! [`TensorFile`] is the only reader of tensors in the workspace. [`save_safetensors`], [`write_safetensors`] and
//! [`encode_safetensors`] write to a file, a stream and memory. Opening a file reads only its header, which is checked
//! against the size of the file; tensors are then read one by one, directly into the requested number format. A tensor
//! with NaN or infinite elements is an error that names the tensor, in reading and in writing.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use burn_adapters_tensors::{RawTensor, TensorFile, encode_safetensors};
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("weights.safetensors");
//! let weight = RawTensor { shape: vec![2, 1], values: vec![1.5, -2.0] };
//! std::fs::write(&path, encode_safetensors(&path, &BTreeMap::from([("weight".to_owned(), weight)]), &[])?)?;
//!
//! let file = TensorFile::open(&path, u64::MAX)?;
//! assert_eq!(file.tensors().collect::<Vec<_>>(), [("weight", &[2, 1][..])]);
//! assert_eq!(file.read::<f32>("weight")?, [1.5, -2.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Gguf`] reads the metadata and the tensors of llama.cpp's files, quantized ones dequantized, and [`write_gguf`] writes such
//! files.
//!
//! [`Mismatch`] compares the tensors of a file with those that a module needs. [`parameters`] lists the parameters of any
//! Burn module with their paths; [`visit_parameters`] and [`map_parameters`] pass the path to a visitor or mapper.

mod element;
mod error;
mod file;
mod finite;
mod gguf;
mod index;
mod matching;
mod parameters;
mod pytorch;
mod raw;
mod read;
mod safetensors;
mod write;

pub use self::element::{Element, FloatType};
pub use self::error::TensorFileError;
pub use self::file::TensorFile;
pub use self::finite::{NotFinite, check_finite};
pub use self::gguf::{BlockType, Gguf, GgufTensor, GgufTexts, GgufValue, heads_in_pairs, pairs_in_heads, write_gguf};
pub use self::index::shards;
pub use self::matching::{Mismatch, Reshaped, TensorShape};
pub use self::parameters::{
    ModulePath, Parameter, ParameterMapper, ParameterVisitor, fill, map_parameters, parameters, trained_parameters,
    values, visit_parameters,
};
pub use self::pytorch::Pytorch;
pub use self::raw::{RawTensor, Tensors, transposed};
pub use self::safetensors::Safetensors;
pub use self::write::{encode_safetensors, save_safetensors, write_safetensors};
