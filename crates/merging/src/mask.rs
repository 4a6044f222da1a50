//! The random masks of DARE.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use crate::names::Key;

/// Returns the mask of an input's parameter: which of `count` values are kept.
pub(crate) type Masks<'a> = &'a dyn Fn(&Key, usize, usize) -> Vec<bool>;

/// Keeps each value independently with probability `density`. The draw depends only on the seed, the parameter's key and
/// the number of the input, not on names of adapters, the order of tensors, or whether the file is of a class with heads.
pub(crate) fn random(seed: u64, density: f64, key: &Key, input: usize, count: usize) -> Vec<bool> {
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
        let mask = random(0, 0.3, &key, 0, 10_000);
        let kept = mask.iter().filter(|keep| **keep).count();
        // Six standard deviations.
        assert!((2700..3300).contains(&kept), "{kept}");
        assert_eq!(mask, random(0, 0.3, &key, 0, 10_000));
        assert_ne!(mask, random(1, 0.3, &key, 0, 10_000));
        assert_ne!(mask, random(0, 0.3, &key, 1, 10_000));
        assert_ne!(mask, random(0, 0.3, &key.sibling("lora_B"), 0, 10_000));
        assert!(random(0, 1.0, &key, 0, 100).iter().all(|keep| *keep));
    }
}
