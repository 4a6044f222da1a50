//! LoRA, low-rank adaptation (Hu et al., 2021, <https://arxiv.org/abs/2106.09685>): a frozen matrix `W` acts as `W +
//! (alpha / r) · A B`, where `A` has `r` columns and `B` has `r` rows.
//!
//! The update is computed on the activations, `(x A) B`. The dense product `A B` is formed only when an adapter is
//! merged into the weight.
//!
//! The crate can be used on its own: any Burn module can hold a [`Lora`] beside a linear layer.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_config::LoraConfig;
//! use burn_adapters_core::{Init, Mode};
//! use burn_adapters_lora::Lora;
//!
//! #[derive(Module, Debug)]
//! struct Adapted {
//!     linear: Linear,
//!     lora: Lora,
//! }
//!
//! impl Adapted {
//!     fn forward(&self, x: Tensor<3>, mode: Mode) -> Tensor<3> {
//!         self.linear.forward(x.clone()) + self.lora.forward(x, mode).update
//!     }
//! }
//!
//! let device = Device::default();
//! let adapted = Adapted {
//!     linear: LinearConfig::new(16, 24).init(&device),
//!     lora: Lora::new(&LoraConfig::new(4), [16, 24], &mut Init::from_seed(1), &device)?,
//! };
//! assert_eq!(adapted.forward(Tensor::ones([2, 5, 16], &device), Mode::Inference).dims(), [2, 5, 24]);
//! # Ok::<(), burn_adapters_lora::LoraError>(())
//! ```

mod bias;
mod dora;
mod lora;
mod merge;
mod mtl;
mod vera;

pub use bias::Bias;
pub use dora::Magnitude;
pub use lora::{Lora, LoraError, LoraOutput};
pub use merge::Merged;
pub use mtl::{MtlLoraModule, TaskSpecific};
pub use vera::{Diagonal, Vera, VeraShared};
