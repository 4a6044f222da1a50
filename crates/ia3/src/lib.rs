//! (IA)³, infused adapter by inhibiting and amplifying inner activations (Liu et al., 2022,
//! <https://arxiv.org/abs/2205.05638>): the output of a frozen linear layer is scaled by a trained vector,
//! `y = l ⊙ (x W + b)`.
//!
//! As in the reference, the vector acts on the whole output of the linear layer, bias included; in the feed-forward
//! block this is before the activation.
//!
//! The crate can be used on its own: any Burn module can hold an [`Ia3`] beside a linear layer.
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_config::LoraConfig;
//! use burn_adapters_core::Init;
//! use burn_adapters_ia3::Ia3;
//!
//! #[derive(Module, Debug)]
//! struct Adapted {
//!     linear: Linear,
//!     ia3: Ia3,
//! }
//!
//! impl Adapted {
//!     fn forward(&self, x: Tensor<3>) -> Tensor<3> {
//!         let scale = self.ia3.scale(x.clone()).factor;
//!         self.linear.forward(x) * scale
//!     }
//! }
//!
//! let device = Device::default();
//! let adapted = Adapted {
//!     linear: LinearConfig::new(16, 24).init(&device),
//!     ia3: Ia3::new(&LoraConfig::ia3(), [16, 24], &mut Init::from_seed(1), &device)?,
//! };
//! assert_eq!(adapted.forward(Tensor::ones([2, 5, 16], &device)).dims(), [2, 5, 24]);
//! # Ok::<(), burn_adapters_ia3::Ia3Error>(())
//! ```

mod ia3;

pub use ia3::{Ia3, Ia3Error, Ia3Scale, MergedIa3};
