//! AdapterFusion: attention that learns for each position which of several adapters to use (Pfeiffer et al., 2021,
//! <https://arxiv.org/abs/2005.00247>).
//!
//! With the hidden states `x`, the adapters' outputs `u_1 … u_n` and the residual `r`, all `[batch, sequence, hidden]`:
//!
//! ```text
//! a = softmax_i((Q x + b_Q) · (K u_i + b_K) / T)          over the adapters
//! h = V (Σ a_i u_i) + r                                   or V (Σ a_i (u_i + r)), with `residual_before`
//! ```
//!
//! The adapters are trained beforehand and frozen: only `Q`, `K` and `V` are trained. `V` starts near the identity, and
//! [`Fusion::regularization_loss`] keeps it there. [`FusionConfig`] selects which of the three exist; a
//! missing one is the identity. With `residual_before` the keys include the residual too, as in the reference.
//!
//! The crate can be used alone: your own Burn module can hold a [`Fusion`] after any layers of the same output shape.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_core::{Init, Mode};
//! use burn_adapters_fusion::{Fusion, FusionConfig, ConfigError, FusionOutput};
//!
//! #[derive(Module, Debug)]
//! struct Experts {
//!     experts: Vec<Linear>,
//!     fusion: Fusion,
//! }
//!
//! impl Experts {
//!     fn forward(&self, x: Tensor<3>, mode: Mode) -> FusionOutput {
//!         let outputs: Vec<_> = self.experts.iter().map(|expert| expert.forward(x.clone())).collect();
//!         self.fusion.forward(x.clone(), &outputs, x, mode)
//!     }
//! }
//!
//! let device = Device::default();
//! let experts = Experts {
//!     experts: (0..4).map(|_| LinearConfig::new(16, 16).init(&device)).collect(),
//!     fusion: Fusion::new(&FusionConfig::dynamic(), 16, 0.1, &mut Init::from_seed(1), &device)?,
//! };
//! let output = experts.forward(Tensor::ones([2, 5, 16], &device), Mode::Inference);
//! assert_eq!(output.hidden.dims(), [2, 5, 16]);
//! assert_eq!(output.attention.dims(), [2, 5, 4]);
//! # Ok::<(), ConfigError>(())
//! ```

mod fusion;

pub use burn_adapters_config::{ConfigError, FusionConfig};
pub use fusion::{CONFIG_FILE, Fusion, FusionOutput, LAYER, PYTORCH_FILE, SAFETENSORS_FILE, parameter_name};
