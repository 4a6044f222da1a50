//! The cache of a pass.

use std::cell::RefCell;

use burn::tensor::Tensor;

use crate::KvCache;
use crate::cache::Continued;

/// A cache that the layers of a pass extend.
pub(super) struct Cached {
    cache: RefCell<KvCache>,
    pub(super) continued: Continued,
    /// Whether earlier passes filled it.
    pub(super) is_filled: bool,
}

impl Cached {
    pub(super) fn new(cache: KvCache, continued: Continued) -> Self {
        let is_filled = continued.keys.first().is_some_and(|keys| keys.len() > continued.new);
        Self { cache: RefCell::new(cache), continued, is_filled }
    }

    /// All keys and values of a step: those of earlier passes, then the new ones.
    pub(super) fn extend(&self, step: usize, new: [Tensor<4>; 2]) -> [Tensor<4>; 2] {
        self.cache.borrow_mut().extend(step, new)
    }

    /// The keys and values of the encoder's states of a step, computed by the first pass.
    pub(super) fn of_encoder(&self, step: usize, compute: impl FnOnce() -> [Tensor<3>; 2]) -> [Tensor<3>; 2] {
        let held = self.cache.borrow().encoded(step);
        held.unwrap_or_else(|| {
            let new = compute();
            self.cache.borrow_mut().keep_encoded(step, new.clone());
            new
        })
    }

    /// The cache with the tokens of this pass, of these lengths.
    pub(super) fn finished(self, lengths: &[usize]) -> KvCache {
        let mut cache = self.cache.into_inner();
        cache.finished(lengths, &self.continued);
        cache
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_encoders_keys_and_values_are_computed_once_for_each_step() {
        let cached = Cached::new(KvCache::new(), Continued { first: vec![], keys: vec![], new: 1 });
        let mut computed = 0;
        for step in [0, 1, 0, 1, 0] {
            cached.of_encoder(step, || {
                computed += 1;
                [(); 2].map(|()| Tensor::zeros([1, 2, 3], &Device::default()))
            });
        }
        assert_eq!(computed, 2);
    }
}
