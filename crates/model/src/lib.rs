//! Adapters beside a Burn model: named adapters in an [`AdapterBank`], called by the model's forward pass through
//! [`Hooks`].
//!
//! The model stores no adapter. Its `forward` takes `&Hooks` and calls, in the place of the plain operation,
//! [`Hooks::linear`] at each matrix, [`Hooks::sublayer`] at the end of each sublayer, [`Hooks::attention`] before the
//! scores, [`Hooks::embeddings`] after the embeddings and [`Hooks::layer`] at a layer's end. With nothing active each
//! does exactly what the plain model would.
//!
//! ```
//! use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_core::{ModelSpec, Place, Site, StackSpec};
//! use burn_adapters_model::{AdapterBank, Hooks, Setup};
//!
//! // A model of one sublayer.
//! struct Model {
//!     feed_forward: Linear,
//!     norm: LayerNorm,
//! }
//!
//! impl Model {
//!     fn forward(&self, x: Tensor<3>, hooks: &Hooks) -> Tensor<3> {
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
//! assert_eq!(model.forward(Tensor::ones([2, 3, 8], &device), &hooks).dims(), [2, 3, 8]);
//! hooks.check()?; // a hook cannot fail inside a pass: what did not fit is kept until here
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bank;
mod error;
mod fusions;
mod held;
mod hooks;
mod learn;
mod logits;
mod merge;
mod observed;
mod report;
mod setup;
mod supported;

pub use bank::AdapterBank;
pub use burn_adapters_combination::{Adapter, AddReport, BuildError, Matrices, ReportEntry};
pub use burn_adapters_prefix_tuning::Attended;
pub use error::{BankError, MergeFailure};
pub use fusions::FusionLayers;
pub use hooks::{Gathered, Hooks};
pub use logits::HeadLogits;
pub use merge::{Mergeable, MergedModel};
pub use observed::{FusionAttention, GateScores, Observed};
pub use report::{Summary, SummaryRow};
pub use setup::Setup;
