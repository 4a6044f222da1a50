//! Invertible adapters: a coupling block after the embeddings, and its exact inverse before the output embeddings
//! (Pfeiffer et al., 2020, MAD-X, <https://arxiv.org/abs/2005.00052>).
//!
//! There are two blocks. In the additive coupling of NICE (Dinh et al., 2014), each half of the features shifts the
//! other: `y₁ = x₁ + F(x₂)`, `y₂ = x₂ + G(y₁)` ([`NiceCoupling`]). In the affine coupling of GLOW (Kingma and Dhariwal,
//! 2018), it scales the other half too ([`GlowCoupling`]).
//!
//! The crate can be used on its own: any Burn module can hold an [`Invertible`].
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Embedding, EmbeddingConfig};
//! use burn::tensor::{Device, Int, Tensor};
//! use burn_adapters_config::BottleneckConfig;
//! use burn_adapters_core::Init;
//! use burn_adapters_invertible::Invertible;
//!
//! #[derive(Module, Debug)]
//! struct Language {
//!     embedding: Embedding,
//!     adapter: Invertible,
//! }
//!
//! impl Language {
//!     fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
//!         self.adapter.forward(self.embedding.forward(tokens))
//!     }
//!
//!     /// Scores over the vocabulary, with the embedding's own weight.
//!     fn unembed(&self, hidden: Tensor<3>) -> Tensor<3> {
//!         let weight = self.embedding.weight.val().transpose();
//!         self.adapter.inverse(hidden).matmul(weight.unsqueeze())
//!     }
//! }
//!
//! let device = Device::default();
//! let language = Language {
//!     embedding: EmbeddingConfig::new(100, 16).init(&device),
//!     adapter: Invertible::new(&BottleneckConfig::seq_bn_inv(), 16, &mut Init::from_seed(1), &device)?,
//! };
//! let scores = language.unembed(language.embed(Tensor::from_ints([[1, 2, 3]], &device)));
//! assert_eq!(scores.dims(), [1, 3, 100]);
//! # Ok::<(), burn_adapters_invertible::InvertibleError>(())
//! ```

mod coupling;
mod invertible;

pub use coupling::{GlowCoupling, NiceCoupling, Subnet};
pub use invertible::{Invertible, InvertibleError};
