//! How adapters become one.

use std::fmt;

use crate::MergeError;

/// Which sign counts where task vectors disagree about a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MajoritySign {
    /// That of the sum of the values, as in the paper.
    #[default]
    Total,
    /// That of most of the values.
    Frequency,
}

/// How adapters become one. `wᵢ` are the weights and `θᵢ` an adapter's parameters.
///
/// The first three are the reference's, the others are peft's. `normalize` divides the weights by their sum; the
/// reference does so by default, and it must be off for task arithmetic, where weights are signed and need not sum to
/// 1.
///
/// ```
/// use burn_adapters_merging::Strategy;
///
/// assert_eq!(Strategy::default(), Strategy::Linear { normalize: true });
/// assert_eq!(Strategy::Ties { density: 0.2, majority_sign: Default::default() }.to_string(), "ties");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Strategy {
    /// `θ = Σ wᵢ θᵢ`: an average, or task arithmetic (Ilharco et al., 2023). For every method.
    Linear {
        /// Divide the weights by their sum.
        normalize: bool,
    },
    /// `A = Σ |wᵢ| Aᵢ` and `B = Σ wᵢ Bᵢ` (Zhang et al., 2023): two negative factors would cancel each other. For LoRA.
    LoraLinearOnlyNegateB {
        /// Divide the weights by their sum.
        normalize: bool,
    },
    /// The nearest matrix of a rank to `Σ wᵢ (αᵢ / rᵢ) Bᵢ Aᵢ`, by singular value decomposition. For LoRA, whose ranks
    /// may differ.
    LoraDeltaWSvd {
        /// The new rank.
        rank: usize,
        /// Divide the weights by their sum.
        normalize: bool,
    },
    /// TIES (Yadav et al., 2023): of each tensor keep the largest values, elect a sign for each place, and take the
    /// mean of `wᵢ θᵢ` over those that have it.
    Ties {
        /// The fraction of values to keep, above 0 and at most 1.
        density: f64,
        /// How signs are elected.
        majority_sign: MajoritySign,
    },
    /// DARE (Yu et al., 2023): drop values at random, divide the others by the density, then `Σ wᵢ θᵢ`.
    DareLinear {
        /// The probability of keeping a value, above 0 and at most 1.
        density: f64,
        /// What is dropped depends on this alone.
        seed: u64,
    },
    /// DARE's dropping in the place of TIES' trimming.
    DareTies {
        /// The probability of keeping a value, above 0 and at most 1.
        density: f64,
        /// How signs are elected.
        majority_sign: MajoritySign,
        /// What is dropped depends on this alone.
        seed: u64,
    },
}

impl Default for Strategy {
    /// The average.
    fn default() -> Self {
        Self::Linear { normalize: true }
    }
}

impl Strategy {
    /// The names of all, as the reference and peft have them.
    pub const NAMES: [&'static str; 6] =
        ["linear", "lora_linear_only_negate_b", "lora_delta_w_svd", "ties", "dare_linear", "dare_ties"];

    /// Its name, as the reference and peft have it.
    pub fn name(&self) -> &'static str {
        let index = match self {
            Self::Linear { .. } => 0,
            Self::LoraLinearOnlyNegateB { .. } => 1,
            Self::LoraDeltaWSvd { .. } => 2,
            Self::Ties { .. } => 3,
            Self::DareLinear { .. } => 4,
            Self::DareTies { .. } => 5,
        };
        Self::NAMES[index]
    }

    pub(crate) fn check(&self) -> Result<(), MergeError> {
        match *self {
            Self::LoraDeltaWSvd { rank: 0, .. } => Err(MergeError::ZeroRank),
            Self::Ties { density, .. } | Self::DareLinear { density, .. } | Self::DareTies { density, .. }
                if !(density > 0.0 && density <= 1.0) =>
            {
                Err(MergeError::Density { found: density })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn normalizes(&self) -> bool {
        match *self {
            Self::Linear { normalize }
            | Self::LoraLinearOnlyNegateB { normalize }
            | Self::LoraDeltaWSvd { normalize, .. } => normalize,
            _ => false,
        }
    }

    /// Whether it works on task vectors one parameter at a time, but not linearly.
    pub(crate) fn sparsifies(&self) -> bool {
        matches!(self, Self::Ties { .. } | Self::DareLinear { .. } | Self::DareTies { .. })
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
