//! Adapters that combine methods: Mix-and-Match (He et al., 2021, <https://arxiv.org/abs/2110.04366>), UniPELT (Mao et
//! al., 2022, <https://arxiv.org/abs/2110.07577>), and any union of methods that do not compete for a site.
//!
//! An [`Adapter`] holds the modules of all its methods, by site; a single method is a union of one. Building one needs
//! only a model's sites and sizes: nothing is drawn or read before it is used, so [`AddReport`] counts parameters at no
//! cost.
//!
//! ```
//! use burn_adapters_combination::Adapter;
//! use burn_adapters_config::AdapterConfig;
//! use burn_adapters_core::{Init, ModelSpec, StackSpec};
//!
//! let bert_base = ModelSpec::new("bert", 768).with_stack(StackSpec::encoder(12, 768, 12, 3072));
//! let device = burn::tensor::Device::default();
//! let (adapter, report) =
//!     Adapter::build("reviews", AdapterConfig::unipelt(), &bert_base, &mut Init::from_seed(1), &device)?;
//! assert_eq!(report.parameters(), 11_083_376); // prefixes, bottlenecks, LoRA, and a gate for each
//! assert_eq!(adapter.parameters(), report.parameters());
//! # Ok::<(), burn_adapters_combination::BuildError>(())
//! ```

mod adapter;
mod build;
mod error;
mod report;

pub use adapter::{Adapter, Matrices};
pub use error::BuildError;
pub use report::{AddReport, ReportEntry};
