//! Bottleneck adapters: a down-projection, a non-linearity, an up-projection, and a residual.
//!
//! Houlsby et al., 2019 (<https://arxiv.org/abs/1902.00751>); Pfeiffer et al., 2020 (<https://arxiv.org/abs/2005.00247>);
//! He et al., 2021 (<https://arxiv.org/abs/2110.04366>, parallel and scaled); Steitz and Roth, 2024
//! (<https://arxiv.org/abs/2406.06820>, AdapterPlus).
//!
//! The crate can be used on its own: any Burn module can hold a [`Bottleneck`] and call it.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_bottleneck::Bottleneck;
//! use burn_adapters_config::BottleneckConfig;
//! use burn_adapters_core::{Init, Mode};
//!
//! #[derive(Module, Debug)]
//! struct Block {
//!     feed_forward: Linear,
//!     norm: LayerNorm,
//!     adapter: Bottleneck,
//! }
//!
//! impl Block {
//!     fn forward(&self, x: Tensor<3>, mode: Mode) -> Tensor<3> {
//!         let hidden = self.feed_forward.forward(x.clone());
//!         self.adapter.apply(hidden, x, Some(&self.norm), None, mode)
//!     }
//! }
//!
//! let device = Device::default();
//! let config = BottleneckConfig::seq_bn().with_reduction_factor(4.0);
//! let block = Block {
//!     feed_forward: LinearConfig::new(16, 16).init(&device),
//!     norm: LayerNormConfig::new(16).init(&device),
//!     adapter: Bottleneck::new(&config, 16, 0, &mut Init::from_seed(1), &device)?,
//! };
//! let output = block.forward(Tensor::ones([2, 5, 16], &device), Mode::Inference);
//! assert_eq!(output.dims(), [2, 5, 16]);
//! # Ok::<(), burn_adapters_bottleneck::BottleneckError>(())
//! ```
//!
//! With `phm_layer` (Compacter) the projections are PHM layers. [`shared_phm`] builds the parameters that all layers
//! share once, and each call gets them as an argument.

mod bottleneck;
mod projection;
mod width;

pub use bottleneck::{Bottleneck, BottleneckError, BottleneckOutput, Entry, Form};
pub use projection::{Projection, shared_phm};
pub use width::bottleneck_width;
