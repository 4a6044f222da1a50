//! Adapters beside a Burn model: named adapters in an [`AdapterBank`], called by the model's forward pass through
//! [`Hooks`].
//!
//! The model stores no adapter. There are two ways to run one:
//!
//! - A [`BaseModel`] computes a [`Pass`] and is run by [`Forward`]; the pass handles padding, routing and misfits.
//!   Banks, training, evaluation and files work with any base model. See its example.
//! - Any other forward pass calls the hooks itself, inside [`Hooks::run`]: [`ActiveHooks::linear`] at each matrix,
//!   [`ActiveHooks::sublayer`] at the end of each sublayer, [`ActiveHooks::attention`] before the scores,
//!   [`ActiveHooks::embeddings`] after the embeddings and [`ActiveHooks::layer`] at a layer's end, each instead of the
//!   plain operation. Without active adapters, each computes the same as the plain model.
//!
//! ```
//! use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_core::{ModelSpec, Place, Site, StackSpec};
//! use burn_adapters_model::{ActiveHooks, AdapterBank, Setup};
//!
//! // A model of one sublayer.
//! struct Model {
//!     feed_forward: Linear,
//!     norm: LayerNorm,
//! }
//!
//! impl Model {
//!     fn forward(&self, x: Tensor<3>, hooks: &ActiveHooks) -> Tensor<3> {
//!         let hidden = hooks.linear(Site::encoder(0, Place::FeedForwardUp), &self.feed_forward, x.clone());
//!         hooks.sublayer(Site::encoder(0, Place::FeedForward), hidden, x, Some(&self.norm))
//!     }
//! }
//!
//! let device = Device::default();
//! let model = Model {
//!     feed_forward: LinearConfig::new(8, 8).init(&device),
//!     norm: LayerNormConfig::new(8).init(&device),
//! };
//! let spec = ModelSpec::new("mine", 8).with_stack(StackSpec::encoder(1, 8, 2, 8));
//!
//! let mut bank = AdapterBank::new(spec, &device.clone().autodiff());
//! let report = bank.add("reviews", "seq_bn[reduction_factor=2]".parse()?)?;
//! assert_eq!(report.parameters(), 8 * 4 + 4 + 4 * 8 + 8);
//!
//! let hooks = bank.hooks(&Setup::adapter("reviews"))?;
//! let output = hooks.run(|hooks| model.forward(Tensor::ones([2, 3, 8], &device), hooks))?;
//! assert_eq!(output.dims(), [2, 3, 8]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bank;
mod base;
mod base_error;
mod batch;
mod cache;
mod error;
mod fusions;
mod held;
mod hooks;
mod learn;
mod logits;
mod merge;
mod pass;
mod recorded;
mod report;
mod setup;
mod supported;

pub use bank::AdapterBank;
pub use base::{BaseModel, Forward, Limits};
pub use base_error::BaseError;
pub use batch::{DecoderStart, MaskTokens, Piece, Row, Text, TokenBatch, Tokenize, Tokenized};
pub use burn_adapters_combination::{Adapter, AddReport, BuildError, Matrices, ReportEntry};
pub use burn_adapters_core::{Output, Reads, TokenSpan};
pub use burn_adapters_ops::{Rotary, RotaryScaling, ScoreChanges};
pub use burn_adapters_prefix_tuning::Attended;
pub use cache::KvCache;
pub use error::{BankError, MergeFailure};
pub use fusions::FusionLayers;
pub use hooks::{ActiveHooks, AroundProjection, Hooks};
pub use logits::{HeadLogits, HeadOutput, TokenStates, Wanted};
pub use merge::{Mergeable, MergedModel};
pub use pass::{Attention, LayerPass, Pass, ScoreBias, ScoreShape};
pub use recorded::RecordedPass;
pub use report::{Summary, SummaryRow};
pub use setup::{FusionAttention, GateScores, Observed, Setup};
