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

    /// The cache with the tokens of this pass, of these lengths.
    pub(super) fn finished(self, lengths: &[usize]) -> KvCache {
        let mut cache = self.cache.into_inner();
        cache.finished(lengths, &self.continued);
        cache
    }
}
