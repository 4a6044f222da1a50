//! Fetches the model and data of the quickstart and the examples into the user's cache, with verification: a small
//! pre-trained model ([`model`]) and rated sentences of four kinds ([`sentences`]), a chat model ([`chat_model`]), and questions
//! with their answers ([`questions`]).
//!
//! Every file is identified by its size and SHA-256 checksum. So is the archive that contains it, which is checked
//! before anything is unpacked. Fetched files are never executed, and no server chooses a path. Files are fetched into
//! a temporary folder and moved into place when they are complete, so other processes never see partial files; cached
//! files are checked again before use. Nothing is written elsewhere, and no fetched file is part of this project.
//!
//! ```no_run
//! use burn_adapters_fetch::{Cache, Kind, model, sentences};
//!
//! let cache = Cache::from_env()?;
//! let folder = model(&cache, &mut ())?;
//! let [tweets] = sentences(&cache, [Kind::Tweets], &mut ())?;
//! println!("{} and {}", folder.display(), tweets.display());
//! # Ok::<(), burn_adapters_fetch::FetchError>(())
//! ```

mod cache;
mod chat;
mod checksum;
mod error;
mod find;
#[cfg(feature = "hub")]
mod hub;
mod model;
mod pip;
mod progress;
mod sentences;

pub use cache::Cache;
pub use chat::{CHAT_MODEL_NAME, chat_model, questions};
pub use error::FetchError;
pub use model::{MODEL_NAME, model};
pub use progress::Progress;
pub use sentences::{Kind, sentences};
