//! Parameterized hypercomplex multiplication (PHM): linear layers with one `n`-th of the parameters, or far fewer.
//!
//! A PHM layer (Zhang et al., 2021, <https://arxiv.org/abs/2102.08597>) is `y = x H + b` with
//! `H = Σᵢ Aᵢ ⊗ Wᵢ`, `i = 1 … n`: a *rule* of `n` matrices `[n, n]` and *weights* of `n` matrices
//! `[d_input / n, d_output / n]`. Compacter (Mahabadi et al., 2021, <https://arxiv.org/abs/2106.04647>) shares the rule
//! among all layers and factorizes the weights to rank `r`, `Wᵢ = Lᵢ Rᵢ`, and projects with such layers in bottleneck
//! adapters.
//!
//! These attributes of [`BottleneckConfig`](burn_adapters_config::BottleneckConfig) select the form of the layer:
//! `phm_dim` (`n`), `factorized_phm_w`, `phm_rank`, `shared_w_phm`, `shared_phm_rule`, `factorized_phm_rule`,
//! `phm_bias`. Initialization follows `phm_c_init`, `phm_init_range` and `hypercomplex_nonlinearity`. Without
//! `learn_phm` the rule is frozen.
//!
//! The crate can be used on its own: any Burn module can project with a [`PhmLinear`].
//!
//! ```
//! use burn::module::Module;
//! use burn::tensor::activation::gelu;
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_compacter::{PhmLinear, Position, SharedPhm};
//! use burn_adapters_config::BottleneckConfig;
//! use burn_adapters_core::Init;
//!
//! #[derive(Module, Debug)]
//! struct Block {
//!     shared: Option<SharedPhm>,
//!     down: PhmLinear,
//!     up: PhmLinear,
//! }
//!
//! impl Block {
//!     fn forward(&self, x: Tensor<3>) -> Tensor<3> {
//!         let down = self.down.forward(x.clone(), self.shared.as_ref());
//!         x + self.up.forward(gelu(down), self.shared.as_ref())
//!     }
//! }
//!
//! let (device, mut init) = (Device::default(), Init::from_seed(1));
//! let config = BottleneckConfig::compacter();
//! let block = Block {
//!     shared: SharedPhm::new(&config, [32, 8], &mut init, &device)?,
//!     down: PhmLinear::new(&config, [32, 8], Position::Down, &mut init, &device)?,
//!     up: PhmLinear::new(&config, [8, 32], Position::Up, &mut init, &device)?,
//! };
//! assert_eq!(block.forward(Tensor::ones([2, 5, 32], &device)).dims(), [2, 5, 32]);
//! // The rule, plus the factors and the bias of each layer.
//! assert_eq!(Module::num_params(&block), 64 + (32 + 8 + 8) + (8 + 32 + 32));
//! # Ok::<(), burn_adapters_compacter::CompacterError>(())
//! ```

mod draw;
pub mod kronecker;
mod matrices;
mod phm;
mod shared;

pub use matrices::{Factors, Matrices};
pub use phm::{CompacterError, PhmLinear, Position};
pub use shared::SharedPhm;
