//! Sums in an order that does not depend on who computes which part.
//!
//! The parts of a step are numbered. Neighbors are added in pairs, pairs in pairs of pairs, and so on. So processes that
//! have any ranges of parts can add theirs first, and the sum of all has the same bits as that of one process.

use crate::Gradients;

/// What can be added up.
pub(crate) trait Summand {
    /// This and another one.
    fn plus(self, other: Self) -> Self;
}

impl Summand for Vec<f32> {
    fn plus(mut self, other: Self) -> Self {
        self.iter_mut().zip(other).for_each(|(one, other)| *one += other);
        self
    }
}

impl Summand for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

impl Summand for Gradients {
    fn plus(mut self, other: Self) -> Self {
        self.accumulate(other);
        self
    }
}

impl<A: Summand, B: Summand> Summand for (A, B) {
    fn plus(self, other: Self) -> Self {
        (self.0.plus(other.0), self.1.plus(other.1))
    }
}

/// The sum of the parts `start .. start + 2^level`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Partial<T> {
    pub(crate) start: usize,
    pub(crate) level: u32,
    pub(crate) value: T,
}

impl<T> Partial<T> {
    /// One part.
    pub(crate) fn one(start: usize, value: T) -> Self {
        Self { start, level: 0, value }
    }

    /// Whether `next` completes a pair that begins with this one.
    fn pairs_with(&self, next: &Self) -> bool {
        let count = 1 << self.level;
        self.level == next.level && self.start.is_multiple_of(2 * count) && self.start + count == next.start
    }
}

/// Adds parts in the order of their numbers.
#[derive(Debug)]
pub(crate) struct PairwiseSum<T>(Vec<Partial<T>>);

impl<T: Summand> PairwiseSum<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds the parts that follow those added so far.
    pub(crate) fn push(&mut self, mut next: Partial<T>) {
        while let Some(last) = self.0.pop_if(|last| last.pairs_with(&next)) {
            next = Partial { start: last.start, level: last.level + 1, value: last.value.plus(next.value) };
        }
        self.0.push(next);
    }

    /// The sums that are complete.
    pub(crate) fn partials(self) -> Vec<Partial<T>> {
        self.0
    }

    /// The sum of all parts; `None` if there are none.
    pub(crate) fn total(mut self) -> Option<T> {
        let mut total = self.0.pop()?.value;
        while let Some(before) = self.0.pop() {
            total = before.value.plus(total);
        }
        Some(total)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sums of single precision, whose rounding depends on their order.
    impl Summand for f32 {
        fn plus(self, other: Self) -> Self {
            self + other
        }
    }

    fn sum(values: &[f32]) -> f32 {
        let mut sum = PairwiseSum::new();
        values.iter().enumerate().for_each(|(start, value)| sum.push(Partial::one(start, *value)));
        sum.total().unwrap()
    }

    #[test]
    fn pairs_are_added_first() {
        let values = [1e8, 1.0, -1e8, 3.0, 0.5];
        assert_eq!(sum(&values), ((values[0] + values[1]) + (values[2] + values[3])) + values[4]);
        assert_eq!(PairwiseSum::<f32>::new().total(), None);
    }

    proptest! {
        /// Whoever adds which parts: the bits are those of one process.
        #[test]
        fn the_sum_does_not_depend_on_the_shares(
            values in prop::collection::vec(-1e6_f32..1e6, 1..40),
            mut cuts in prop::collection::vec(0_usize..40, 0..6),
        ) {
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(values.len()));
            cuts.extend([0, values.len()]);
            cuts.sort_unstable();
            let mut all = PairwiseSum::new();
            for share in cuts.windows(2) {
                let mut own = PairwiseSum::new();
                (share[0]..share[1]).for_each(|part| own.push(Partial::one(part, values[part])));
                own.partials().into_iter().for_each(|partial| all.push(partial));
            }
            prop_assert_eq!(all.total().unwrap().to_bits(), sum(&values).to_bits());
        }
    }
}
