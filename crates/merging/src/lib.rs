//! Several trained adapters made into one, of their files alone: averages and task arithmetic, the decomposition of
//! LoRA's updates, TIES and DARE.
//!
//! A merged adapter costs no more to run than one. What it can do depends on how well the inputs agree; they must be
//! trained on the same base model and configured alike. [`merge_folders`] takes folders as
//! [`AdapterFolder::read`](burn_adapters_checkpoint::AdapterFolder::read) gives them, and the result is written with
//! [`AdapterFolder::write`](burn_adapters_checkpoint::AdapterFolder::write); no model is needed.
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
//! `θ = Σ wᵢ θᵢ` over all parameters, for every method. With positive weights of the sum 1 an average; with weights of
//! either sign, not normalised, tasks are added and taken away.
//!
//! *LoRA, negating only B* ([`Strategy::LoraLinearOnlyNegateB`]; Zhang et al., 2023,
//! <https://arxiv.org/abs/2306.14870>): `A = Σ |wᵢ| Aᵢ`, `B = Σ wᵢ Bᵢ`. With the weight −1 on both factors their
//! product would not change its sign.
//!
//! *LoRA, the product* ([`Strategy::LoraDeltaWSvd`]): neither of these is the sum of the updates
//! `ΔWᵢ = (αᵢ / rᵢ) Bᵢ Aᵢ`, for a product of sums has mixed terms. Here `Σ wᵢ ΔWᵢ` itself is taken, and its nearest
//! matrix of a rank `k` (Eckart and Young): with `Σ wᵢ ΔWᵢ ≈ U Σ Vᵀ`, `A = Vᵀ` and `B = U Σ`, of the `k` largest
//! singular values. With `k = Σ rᵢ` nothing is lost.
//!
//! *TIES* ([`Strategy::Ties`]; Yadav et al., 2023, <https://arxiv.org/abs/2306.01708>): of each task vector `τᵢ` keep
//! the `density · n` values of the largest magnitude in each tensor; elect for each place the sign of `Σ τᵢ`; take the
//! mean of `wᵢ τᵢ` over those that have this sign there.
//!
//! *DARE* ([`Strategy::DareLinear`], [`Strategy::DareTies`]; Yu et al., 2023, <https://arxiv.org/abs/2311.03099>): each
//! value of a task vector stays with the probability `density`, divided by it, and else becomes 0; then the sum of task
//! arithmetic, or election and mean of TIES.
//!
//! TIES and DARE are for what training has changed, `τ = θ − θ₀`. For adapters the parameters themselves are the task
//! vectors: they start at 0 or near it. What multiplies (the vectors of (IA)³, the gains of norms, scalings) starts at
//! 1, and its task vector is the difference to 1. Prompts, and the embeddings of prefixes, start elsewhere, at values
//! that no folder holds; they are taken as they are. Of LoRA's two factors each has the weight `√|wᵢ|`, and `A` the
//! sign too, so that the product has the weight `wᵢ`, as in peft.
//!
//! # What cannot be merged
//!
//! | method | strategies |
//! |---|---|
//! | LoRA | all |
//! | (IA)³ | all but the product |
//! | bottleneck, Compacter, prefix and prompt tuning, NoReFT, DiReFT, MTL-LoRA, unions | averages, TIES, DARE |
//! | DoRA, VeRA, DVoRA | averages |
//! | LoReFT | none: its orthogonal projections are no vector space |
//!
//! VeRA's frozen matrices, and the rule of a Compacter that is not trained, must be the same in all.
//!
//! Heads are averaged by [`merge_heads`].

mod adapter;
mod check;
mod combine;
mod error;
mod head;
mod mask;
mod names;
#[cfg(test)]
mod peft;
mod strategy;
mod svd;
mod weights;

pub use adapter::merge_folders;
pub use error::MergeError;
pub use head::merge_heads;
pub use strategy::{MajoritySign, Strategy};
pub use weights::with_weights;
