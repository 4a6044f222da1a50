//! Serves one base model with many adapters, of whatever methods, over HTTP.
//!
//! The routes are OpenAI's (`/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`), where `model` names
//! an adapter, and routes for heads (`/v1/classify`, `/v1/tag`, `/v1/answer`). `/docs` describes them.
//!
//! One thread runs the model: see `engine`. Requests of different adapters run in one batch, which they join and leave
//! between two steps ([`GrowingText`](burn_adapters_generate::GrowingText)). The handlers of requests run on other threads:
//! they read, tokenize, wait and write. `registry` knows the adapters, and which of them are in memory.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use burn::tensor::Device;
//! use burn_adapters_serve::{ServeOptions, ServedModel, Server};
//! use burn_adapters_transformers::{AutoModel, Tokenizer};
//!
//! let dir = Path::new("SmolLM2-135M");
//! let (model, _) = AutoModel::from_dir(dir, &Device::default())?;
//! let served = ServedModel::new("smollm2", model, Tokenizer::from_dir(dir)?);
//! let adapters = vec![("poems".to_owned(), "poems".into())];
//! let server = Server::bind(served, adapters, ServeOptions::default())?;
//! println!("listening on {}", server.address());
//! server.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod engine;
mod error;
mod http;
mod metrics;
mod options;
mod registry;
mod server;

pub use error::ServeError;
pub use options::ServeOptions;
pub use server::{ServedModel, Server, Stopper};
