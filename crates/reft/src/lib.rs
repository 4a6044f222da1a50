//! ReFT, representation fine-tuning: low-rank interventions on the hidden states of a few positions (Wu et al., 2024,
//! <https://arxiv.org/abs/2404.03592>).
//!
//! At the end of a layer, the hidden states `h` of the first and last few positions of each sequence become
//!
//! - LoReFT: `h + Rᵀ (W h + b − R h)`, where the rows of `R: [r, hidden]` are kept orthonormal;
//! - NoReFT: the same, with `R` free;
//! - DiReFT: `h + Rᵀ (W h + b)`, with `R` free.
//!
//! The crate can be used on its own: any Burn module can hold a [`Reft`] after a layer.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Bool, Device, Tensor};
//! use burn_adapters_config::ReftConfig;
//! use burn_adapters_core::{Init, Mode};
//! use burn_adapters_reft::{Reft, ReftError};
//!
//! #[derive(Module, Debug)]
//! struct Layer {
//!     linear: Linear,
//!     reft: Reft,
//! }
//!
//! impl Layer {
//!     fn forward(&self, x: Tensor<3>, padding: &Tensor<2, Bool>, mode: Mode) -> Tensor<3> {
//!         let positions = self.reft.positions(padding); // the same for all layers: find them once per pass
//!         self.reft.forward(self.linear.forward(x), &positions, mode)
//!     }
//! }
//!
//! let device = Device::default();
//! let layer = Layer {
//!     linear: LinearConfig::new(16, 16).init(&device),
//!     reft: Reft::new(&ReftConfig::loreft(), 16, &mut Init::from_seed(1), &device)?,
//! };
//! let padding = Tensor::full([2, 5], false, &device);
//! let output = layer.forward(Tensor::ones([2, 5, 16], &device), &padding, Mode::Inference);
//! assert_eq!(output.dims(), [2, 5, 16]);
//! # Ok::<(), ReftError>(())
//! ```

mod orthogonal;
mod positions;
mod reft;
mod unit;

pub use orthogonal::Orthogonal;
pub use positions::{End, Positions};
pub use reft::{Reft, ReftError};
pub use unit::{Projection, ReftUnit};
