//! Merging of trained adapters into one, from their files alone: averages and task arithmetic, the decomposition of
//! LoRA's updates, TIES and DARE.
//!
//! A merged adapter costs no more to run than a single one. Its quality depends on how well the inputs agree. They must
//! be trained on the same base model and have the same configuration. [`merge_folders`] takes folders as
//! [`AdapterFolder::read`](burn_adapters_checkpoint::AdapterFolder::read) returns them, and
//! [`AdapterFolder::write`](burn_adapters_checkpoint::AdapterFolder::write) writes the result; no model is needed.
//!
//! ```
//! use burn_adapters_checkpoint::{AdapterFolder, SaveOptions, save_adapter};
//! use burn_adapters_core::{ModelSpec, StackSpec};
//! use burn_adapters_merging::{Strategy, merge_folders};
//! use burn_adapters_model::AdapterBank;
//!
//! let device = burn::tensor::Device::default();
//! let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
//! let mut bank = AdapterBank::new(spec, &device);
//! let folder = tempfile::tempdir()?;
//! let mut inputs = Vec::new();
//! for (name, weight) in [("reviews", 0.8), ("tweets", 0.2)] {
//!     bank.add(name, "seq_bn[reduction_factor=2]".parse()?)?;
//!     let dir = folder.path().join(name);
//!     save_adapter(&dir, &bank, name, &SaveOptions::default())?;
//!     inputs.push((AdapterFolder::read(&dir)?, weight));
//! }
//!
//! let merged = merge_folders(&inputs, &Strategy::Linear { normalize: true }, "both")?;
//! merged.write(folder.path().join("both"))?;
//! assert_eq!(AdapterFolder::read(folder.path().join("both"))?.tensors, merged.tensors);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Strategies
//!
//! *Averages and task arithmetic* ([`Strategy::Linear`]; Ilharco et al., 2023, <https://arxiv.org/abs/2212.04089>):
//! `θ = Σ wᵢ θᵢ` over all parameters, for every method. Positive weights that sum to 1 give an average; signed weights
//! that are not normalized add and subtract tasks.
//!
//! *LoRA, negating only B* ([`Strategy::LoraLinearOnlyNegateB`]; Zhang et al., 2023,
//! <https://arxiv.org/abs/2306.14870>): `A = Σ |wᵢ| Aᵢ`, `B = Σ wᵢ Bᵢ`. A weight of −1 on both factors would not
//! change the sign of their product.
//!
//! *LoRA, the product* ([`Strategy::LoraDeltaWSvd`]): neither of these is the sum of the updates
//! `ΔWᵢ = (αᵢ / rᵢ) Bᵢ Aᵢ`, because a product of sums has mixed terms. This strategy computes the matrix of rank `k`
//! nearest to `Σ wᵢ ΔWᵢ` (Eckart and Young): with `Σ wᵢ ΔWᵢ ≈ U Σ Vᵀ` of the `k` largest singular values, `A = Vᵀ` and
//! `B = U Σ`. With `k = Σ rᵢ` nothing is lost.
//!
//! *TIES* ([`Strategy::Ties`]; Yadav et al., 2023, <https://arxiv.org/abs/2306.01708>): in each tensor of each task
//! vector `τᵢ`, keep the `density · n` values of the largest magnitude; for each element, elect the sign of `Σ τᵢ`; take
//! the mean of `wᵢ τᵢ` over the task vectors that have this sign there.
//!
//! *DARE* ([`Strategy::DareLinear`], [`Strategy::DareTies`]; Yu et al., 2023, <https://arxiv.org/abs/2311.03099>): each
//! element of a task vector is kept with probability `density` and divided by it, or else set to 0. Then follows the sum
//! of task arithmetic, or the election and mean of TIES.
//!
//! TIES and DARE act on the change that training made, `τ = θ − θ₀`. An adapter's parameters start at or near 0, so that
//! they are the task vectors themselves. Multiplicative parameters (the vectors of (IA)³, the gains of norms, scalings)
//! start at 1, and their task vector is the difference from 1. Prompts and the embeddings of prefixes start at random
//! values that no folder holds; they are used unchanged. Each of LoRA's two factors gets the weight `√|wᵢ|`, and `A`
//! gets the sign too, so that the product has the weight `wᵢ`, as in PEFT.
//!
//! # Methods and strategies
//!
//! | method | strategies |
//! |---|---|
//! | LoRA | all |
//! | (IA)³ | all but the product |
//! | bottleneck, Compacter, prefix and prompt tuning, NoReFT, DiReFT, MTL-LoRA, unions | averages, TIES, DARE |
//! | DoRA, VeRA, DVoRA | averages |
//! | LoReFT | none: orthogonal projections do not form a vector space |
//!
//! VeRA's frozen matrices, and an untrained rule of a Compacter, must be identical in all inputs.
//!
//! [`merge_heads`] averages heads.

mod adapter;
mod check;
mod combine;
mod error;
mod head;
mod names;
#[cfg(test)]
mod peft;
mod strategy;
mod svd;

pub use adapter::merge_folders;
pub use combine::with_weights;
pub use error::MergeError;
pub use head::merge_heads;
pub use strategy::{MajoritySign, Strategy};
