//! Random decisions by position: the decision on any element can be repeated, on any thread, without those before it.

/// Whether element `index` of the tensor is kept. Decisions repeat after 2³² elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    keys: [u32; 2],
    dropped: u32,
    /// The factor on kept elements.
    pub(crate) scale: f32,
}

impl Keep {
    /// Each element is dropped with `probability`, between 0 and 1.
    pub(crate) fn new(probability: f64, seed: u64) -> Self {
        // Neighboring seeds must not give neighboring keys.
        let mut key = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        key = (key ^ (key >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        key = (key ^ (key >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        key ^= key >> 31;
        Self {
            keys: [key as u32, (key >> 32) as u32],
            dropped: (probability * 4_294_967_296.0) as u32,
            scale: (1.0 / (1.0 - probability)) as f32,
        }
    }

    /// Whether the element is kept.
    #[inline(always)]
    pub(crate) fn at(self, index: u32) -> bool {
        let mut hash = index.wrapping_add(self.keys[0]);
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x7FEB_352D) ^ self.keys[1];
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x846C_A68B);
        hash ^ (hash >> 16) >= self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(a: impl Fn(u32) -> bool, b: impl Fn(u32) -> bool) -> f64 {
        let elements = 1_000_000;
        (0..elements).filter(|&index| a(index) == b(index)).count() as f64 / f64::from(elements)
    }

    #[test]
    fn the_share_of_dropped_elements_is_the_probability() {
        for probability in [0.001, 0.1, 0.5, 0.9] {
            for seed in [0, 1, u64::MAX] {
                let keep = Keep::new(probability, seed);
                let dropped = 1.0 - agreement(|index| keep.at(index), |_| true);
                assert!((dropped - probability).abs() < 0.002, "{dropped} for {probability}");
            }
        }
    }

    #[test]
    fn neighbors_and_neighboring_seeds_decide_independently() {
        for seed in 0..20 {
            let (keep, next) = (Keep::new(0.5, seed), Keep::new(0.5, seed + 1));
            assert!((agreement(|index| keep.at(index), |index| next.at(index)) - 0.5).abs() < 0.003);
            for lag in [1, 2, 16, 384, 4096] {
                let agrees = agreement(|index| keep.at(index), |index| keep.at(index + lag));
                assert!((agrees - 0.5).abs() < 0.003, "{agrees} at lag {lag}");
            }
        }
    }
}
