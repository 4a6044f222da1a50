//! Transformer base models for Burn, with adapter hooks, read from Hugging Face folders.
//!
//! [`Bert`] is BERT and what shares its code: RoBERTa, XLM-RoBERTa and ELECTRA. It is an ordinary Burn module that
//! stores no adapter; its forward pass calls the [`Hooks`](burn_adapters_model::Hooks) that it is handed. What the
//! folder says is checked: a configuration that asks for something this crate does not compute, and weights that are
//! missing, left over or of another shape, are errors that name them.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use burn::tensor::Device;
//! use burn_adapters_model::Hooks;
//! use burn_adapters_transformers::{Batch, Bert, Tokenizer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (folder, device) = (Path::new("all-MiniLM-L6-v2"), Device::default());
//! let (bert, report) = Bert::from_dir(folder, &device)?;
//! println!("{report}");
//!
//! let tokenizer = Tokenizer::from_dir(folder)?;
//! let encoded = tokenizer.encode(&["A fine film.", "Not for me."], 128)?;
//! let batch = Batch::from_rows(&encoded.rows, tokenizer.pad_id(), &device);
//! let output = bert.forward(batch, &Hooks::none())?;
//! assert_eq!(output.hidden.dims()[2], bert.config().hidden_size);
//! # Ok(())
//! # }
//! ```

mod bert;
mod config;
mod error;
mod fields;
mod long_text;
mod model_config;
mod tokenizer;
mod weights;

pub use bert::{Batch, Bert, BertInput, BertOutput};
pub use burn_adapters_tensors::Mismatch;
pub use config::{BertConfig, BertFamily};
pub use error::{ForwardError, LoadError, ModelConfigError, SaveError, TokenizerError};
pub use model_config::ModelConfig;
pub use tokenizer::{Encoded, Row, Tokenizer};
pub use weights::{LoadReport, SaveReport, WeightFormat};
