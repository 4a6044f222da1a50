//! Merge strategies.

use std::fmt;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use crate::MergeError;
use crate::names::Key;

/// How the sign of an element is elected where task vectors disagree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MajoritySign {
    /// The sign of the sum of the values, as in the paper.
    #[default]
    Total,
    /// The sign of the majority of the values.
    Frequency,
}

/// A merge strategy. `wᵢ` are the weights and `θᵢ` the parameters of an adapter.
///
/// The first three come from the reference, the others from PEFT. `normalize` divides the weights by their sum. The
/// reference does so by default; turn it off for task arithmetic, where weights are signed and need not sum to 1.
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
    /// The matrix of the given rank nearest to `Σ wᵢ (αᵢ / rᵢ) Bᵢ Aᵢ`, by singular value decomposition. For LoRA; the
    /// ranks of the inputs may differ.
    LoraDeltaWSvd {
        /// The new rank.
        rank: usize,
        /// Divide the weights by their sum.
        normalize: bool,
    },
    /// TIES (Yadav et al., 2023): keep the largest values of each tensor, elect a sign for each element, and take the
    /// mean of `wᵢ θᵢ` over the inputs that have this sign.
    Ties {
        /// The fraction of values to keep, above 0 and at most 1.
        density: f64,
        /// How signs are elected.
        majority_sign: MajoritySign,
    },
    /// DARE (Yu et al., 2023): drop values at random, divide the others by the density, then sum `wᵢ θᵢ`.
    DareLinear {
        /// The probability of keeping a value, above 0 and at most 1.
        density: f64,
        /// Random seed: it alone decides which values are dropped.
        seed: u64,
    },
    /// TIES with DARE's random dropping instead of trimming.
    DareTies {
        /// The probability of keeping a value, above 0 and at most 1.
        density: f64,
        /// How signs are elected.
        majority_sign: MajoritySign,
        /// Random seed: it alone decides which values are dropped.
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
    /// The names of all strategies, as in the reference and PEFT.
    pub const NAMES: [&'static str; 6] =
        ["linear", "lora_linear_only_negate_b", "lora_delta_w_svd", "ties", "dare_linear", "dare_ties"];

    /// The strategy's name, as in the reference and PEFT.
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

// The random masks of DARE.

/// Returns the mask of an input's parameter: which of `count` values are kept.
pub(crate) type Masks<'a> = &'a dyn Fn(&Key, usize, usize) -> Vec<bool>;

/// Keeps each value independently with probability `density`. The draw depends only on the seed, the parameter's key and
/// the number of the input, not on names of adapters, the order of tensors, or whether the file is of a class with heads.
pub(crate) fn random_mask(seed: u64, density: f64, key: &Key, input: usize, count: usize) -> Vec<bool> {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update((input as u64).to_le_bytes());
    hash.update(key.to_string().as_bytes());
    let mut rng = StdRng::from_seed(hash.finalize().into());
    (0..count).map(|_| density >= 1.0 || rng.random::<f64>() < density).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_keep_their_share_and_differ_where_they_should() {
        let key = Key { module: "m.".into(), container: "loras", local: "lora_A".into() };
        let mask = random_mask(0, 0.3, &key, 0, 10_000);
        let kept = mask.iter().filter(|keep| **keep).count();
        // Six standard deviations.
        assert!((2700..3300).contains(&kept), "{kept}");
        assert_eq!(mask, random_mask(0, 0.3, &key, 0, 10_000));
        assert_ne!(mask, random_mask(1, 0.3, &key, 0, 10_000));
        assert_ne!(mask, random_mask(0, 0.3, &key, 1, 10_000));
        assert_ne!(mask, random_mask(0, 0.3, &key.sibling("lora_B"), 0, 10_000));
        assert!(random_mask(0, 1.0, &key, 0, 100).iter().all(|keep| *keep));
    }
}
