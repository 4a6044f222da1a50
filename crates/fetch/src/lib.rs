//! What the quickstart and the examples fetch, checked and kept in the user's cache: a small pre-trained model
//! ([`model`]) and rated sentences of four kinds ([`sentences`]).
//!
//! Every file is known by its size and SHA-256 sum, and so is the archive that it comes in, which is checked before anything
//! is unpacked. Nothing of what is fetched is run, and no server chooses a path. It is fetched into a folder beside its place and moved there when it is whole,
//! so that another process never sees half a file; what the cache holds is checked again before it is used. Nothing
//! is written elsewhere, and nothing of what is fetched is part of this project.
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
pub use error::FetchError;
pub use model::{MODEL_NAME, model};
pub use progress::Progress;
pub use sentences::{Kind, sentences};
