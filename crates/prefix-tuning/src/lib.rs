//! Prefix tuning: trained keys and values are prepended to those of each attention block (Li and Liang, 2021,
//! <https://arxiv.org/abs/2101.00190>).
//!
//! With `p` prefix positions, attention of layer `l` is computed over the keys `[Pₖ⁽ˡ⁾; K]` and the values `[Pᵥ⁽ˡ⁾;
//! V]`. The prefixes of all layers form one matrix `P: [p, layers · 2 · heads · head_dim]`. It is trained directly
//! (*flat*) or through an MLP that stabilizes training, `P = tanh(E W₁ + b₁) W₂ + b₂`, with a trained `E: [p, hidden]`.
//! `P` does not depend on the input: [`PrefixTuning::compute`] computes it once per pass, and [`Prefixes::extend`] is
//! called in every attention block. After training, [`PrefixTuning::eject`] keeps `P` and drops the MLP.
//!
//! If a model has several kinds of attention (an encoder's, a decoder's, cross-attention), each kind is a
//! [`PrefixGroup`] with its own [`PrefixTuning`].
//!
//! The crate can be used on its own: any Burn module can hold a [`PrefixTuning`] beside its layers.
//!
//! ```
//! use burn::module::Module;
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_config::PrefixTuningConfig;
//! use burn_adapters_core::{Init, Mode, Place, Site};
//! use burn_adapters_prefix_tuning::{Attended, PrefixError, PrefixGroup, PrefixKind, PrefixTuning};
//!
//! #[derive(Module, Debug)]
//! struct Decoder {
//!     prefix: PrefixTuning, // beside your layers
//! }
//!
//! impl Decoder {
//!     fn keys(&self, keys: Tensor<4>, values: Tensor<4>) -> Result<Tensor<4>, PrefixError> {
//!         let prefixes = self.prefix.compute(Mode::Inference); // once per pass
//!         let attended = Attended { keys, values, mask: None };
//!         let extended = prefixes.extend(Site::decoder(1, Place::Attention), attended, None)?; // in each layer
//!         Ok(extended.attended.keys)
//!     }
//! }
//!
//! let device = Device::default();
//! let group = PrefixGroup {
//!     kind: PrefixKind::SelfAttention,
//!     sites: (0..2).map(|layer| Site::decoder(layer, Place::Attention)).collect(),
//!     hidden_size: 16,
//!     heads: 4,
//!     head_dim: 4,
//! };
//! let config = PrefixTuningConfig::prefix_tuning().with_prefix_length(3);
//! let decoder = Decoder { prefix: PrefixTuning::new(&config, group, &mut Init::from_seed(1), &device)? };
//! let keys = Tensor::<4>::ones([2, 4, 5, 4], &device);
//! assert_eq!(decoder.keys(keys.clone(), keys)?.dims(), [2, 4, 3 + 5, 4]);
//! # Ok::<(), PrefixError>(())
//! ```

mod group;
mod prefixes;
mod tuning;

pub use group::{PrefixGroup, PrefixKind};
pub use prefixes::{Attended, Extended, Prefixes};
pub use tuning::{PrefixError, PrefixMlp, PrefixSource, PrefixTuning};
