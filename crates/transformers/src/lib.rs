//! Transformer base models for Burn, with adapter hooks, read from Hugging Face folders.
//!
//! [`AutoModel`] is a model of any supported family: encoders such as BERT, decoders such as Llama, and
//! encoder-decoders such as T5. It is an ordinary Burn module that stores no adapter; its forward pass calls the
//! [`Hooks`](burn_adapters_model::Hooks) that are passed to it. Folders are read strictly: a configuration with an
//! unsupported setting, and weights that are missing, left over or of another shape, are errors that name them.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use burn::tensor::Device;
//! use burn_adapters_model::{Forward, Hooks, TokenBatch};
//! use burn_adapters_transformers::{AutoModel, Tokenizer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (folder, device) = (Path::new("all-MiniLM-L6-v2"), Device::default());
//! let (model, report) = AutoModel::from_dir(folder, &device)?;
//! println!("{report}");
//!
//! let encoded = Tokenizer::from_dir(folder)?.encode(&["A fine film.", "Not for me."], 128)?;
//! let output = model.forward(&TokenBatch::from_rows(&encoded.rows), &Hooks::none())?;
//! assert_eq!(output.hidden.dims()[2], model.config().spec().hidden_size);
//! # Ok(())
//! # }
//! ```

mod auto;
mod blocks;
mod chat_template;
mod error;
mod families;
mod fields;
mod generation_config;
mod gguf;
mod languages;
mod load;
mod long_text;
mod model_config;
mod plan;
mod rope;
mod save;
mod skeleton;
mod tokenizer;
mod weights;

pub use auto::AutoModel;
pub use burn_adapters_model::{Row, TokenBatch};
pub use burn_adapters_tensors::Mismatch;
pub use chat_template::ModelChatTemplate;
pub use error::{LoadError, ModelConfigError, ModelSaveError, TokenizerError};
pub use families::{BertConfig, BertFamily};
pub use generation_config::GenerationConfig;
pub use gguf::{GgufFormat, is_gguf};
pub use model_config::ModelConfig;
pub use tokenizer::{DecodeStream, Encoded, SpecialIds, Tokenizer};
pub use weights::{MatrixFormats, ModelLoadReport, ModelSaveReport, WeightFormat};
