//! The cache of a pass: one for all rows, or one for each.

use std::cell::RefCell;

use burn::tensor::Tensor;
use burn_adapters_core::{KeptGates, Output, Reads, StackKind, TokenSpan};

use super::Pass;
use super::mask::{Mask, SharedByLayers};
use crate::cache::Continued;
use crate::{ActiveHooks, BaseError, BaseModel, Hooks, KvCache, TokenBatch};

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

/// The caches of a batch whose rows have their own.
#[derive(Default)]
pub(super) struct Separate<'p> {
    /// Until the layers begin.
    caches: Vec<KvCache>,
    rows: Vec<SeparateRow<'p>>,
}

/// A row with a cache of its own: what its attention needs.
pub(super) struct SeparateRow<'p> {
    pub(super) hooks: ActiveHooks<'p>,
    pub(super) mask: Mask,
    pub(super) shared: SharedByLayers,
    pub(super) cached: Cached,
}

impl<'p> Separate<'p> {
    /// The rows; none if the batch has one cache or no cache.
    pub(super) fn rows(&self) -> &[SeparateRow<'p>] {
        &self.rows
    }

    fn is_empty(&self) -> bool {
        self.caches.is_empty() && self.rows.is_empty()
    }
}

impl<'p> Pass<'p> {
    /// Begins a pass that continues after the tokens of a cache.
    pub(crate) fn begin_cached(
        batch: &TokenBatch,
        hooks: &Hooks<'p>,
        reads: Reads,
        model: &(impl BaseModel + ?Sized),
        cache: &mut KvCache,
    ) -> Result<Self, BaseError> {
        if model.spec().stack(StackKind::Decoder).is_none() {
            return Err(BaseError::NoCache);
        }
        let decoded = batch.decoder().unwrap_or(batch);
        check_lengths(decoded, model, |row| cache.tokens(row))?;
        let mut pass = Self::begin_in_order(batch, hooks.pass(), reads, model)?;
        pass.cache = Some(cache.begin(batch.len())?);
        Ok(pass)
    }

    /// Begins a pass of rows that continue after the tokens of their own caches.
    pub(crate) fn begin_separate(
        batch: &TokenBatch,
        hooks: &Hooks<'p>,
        reads: Reads,
        model: &(impl BaseModel + ?Sized),
        caches: &mut [KvCache],
    ) -> Result<Self, BaseError> {
        let spec = model.spec();
        if spec.stack(StackKind::Decoder).is_none() {
            return Err(BaseError::NoCache);
        }
        let unsupported = |reason| Err(BaseError::SeparateCaches { reason });
        if spec.stack(StackKind::Encoder).is_some() {
            return unsupported("the model has an encoder, whose states are kept for all rows together");
        }
        if caches.len() != batch.len() {
            return Err(BaseError::CacheRows { rows: caches.len(), found: batch.len() });
        }
        if caches.iter().any(|cache| cache.rows() != 1 || cache.tokens(0) == 0) {
            return unsupported("each needs a cache of one row that has read at least a token");
        }
        check_lengths(batch, model, |row| caches[row].tokens(0))?;
        let mut pass = Self::begin_in_order(batch, hooks.pass(), reads, model)?;
        if (0..batch.len()).any(|row| pass.hooks.of_row(row).is_none()) {
            return unsupported("the setup splits sequences or repeats rows");
        }
        pass.separate.caches = caches.iter_mut().map(|cache| cache.begin(1)).collect::<Result<_, _>>()?;
        Ok(pass)
    }

    /// The gates that the first pass of the cache computed.
    pub(crate) fn take_gates(&mut self) -> KeptGates {
        self.cache.as_mut().map(|cache| std::mem::take(&mut cache.gates)).unwrap_or_default()
    }

    /// The gates that the first pass of each row computed.
    pub(crate) fn joined_gates(&self) -> KeptGates {
        KeptGates::joined(self.separate.caches.iter().map(|cache| &cache.gates))
    }

    /// Whether the pass continues after tokens that earlier passes read. The encoder of an encoder-decoder model is not run
    /// again then.
    pub fn continues(&self) -> bool {
        let opened = self.cached.as_ref().is_some_and(|cached| cached.is_filled);
        let is_filled = |cache: &KvCache| (0..cache.rows()).any(|row| cache.tokens(row) > 0);
        opened || !self.separate.is_empty() || self.cache.as_ref().is_some_and(is_filled)
    }

    /// The number of tokens that earlier passes read of a row.
    pub fn tokens_before(&self, row: usize) -> usize {
        match self.separate.caches.get(row) {
            Some(cache) => cache.tokens(0),
            None => self.cache.as_ref().map_or(0, |cache| cache.tokens(row)),
        }
    }

    /// Lets layers use the cache, for new columns of these tokens.
    pub(super) fn open_cache(&mut self, tokens: &[TokenSpan], columns: usize) {
        let rows = self.batch.len();
        for (row, cache) in std::mem::take(&mut self.separate.caches).into_iter().enumerate() {
            let continued = cache.continued(tokens.get(row..=row).unwrap_or_default(), columns);
            self.separate.rows.push(SeparateRow {
                // That there are such hooks was checked in the beginning.
                hooks: self.hooks.of_row(row).unwrap_or_else(|| self.hooks.clone()),
                mask: Mask::continued(&continued, 1, &self.device),
                shared: SharedByLayers::default(),
                cached: Cached::new(cache, continued),
            });
        }
        let Some(cache) = self.cache.take() else { return };
        let continued = cache.continued(&tokens[..rows.min(tokens.len())], columns);
        self.cached = Some(Cached::new(cache, continued));
    }

    /// The output, and the cache with the tokens of the batch.
    pub(crate) fn finish_cached(mut self) -> Result<(Output, KvCache), BaseError> {
        let (cached, lengths) = (self.cached.take(), self.batch.lengths().to_vec());
        let output = self.finish()?;
        let cached = cached.ok_or(BaseError::NothingComputed)?;
        Ok((output, cached.finished(&lengths)))
    }

    /// The output, and the cache of each row with the tokens of the batch.
    pub(crate) fn finish_separate(mut self) -> Result<(Output, Vec<KvCache>), BaseError> {
        let (rows, lengths) = (std::mem::take(&mut self.separate.rows), self.batch.lengths().to_vec());
        let output = self.finish()?;
        if rows.len() != lengths.len() {
            return Err(BaseError::NothingComputed);
        }
        let caches = rows.into_iter().zip(lengths).map(|(row, length)| row.cached.finished(&[length])).collect();
        Ok((output, caches))
    }
}

/// Rejects rows that are too long for the model with the tokens that are read already.
fn check_lengths(
    batch: &TokenBatch,
    model: &(impl BaseModel + ?Sized),
    before: impl Fn(usize) -> usize,
) -> Result<(), BaseError> {
    let max = model.decoder_limits().sequence;
    let lengths = batch.lengths().iter().enumerate().map(|(row, length)| length.saturating_add(before(row)));
    match lengths.max() {
        Some(length) if length > max => Err(BaseError::TooLong { length, max }),
        _ => Ok(()),
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
