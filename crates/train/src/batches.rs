//! Grouping texts into batches.
//!
//! A batch is padded to its longest text, and padding costs as much to compute as text. So texts of similar length are
//! grouped, but not over the whole data set, or every epoch would have the same batches. The data is shuffled and split
//! into windows of [`WINDOW`] batches; each window is sorted by length and split into batches; and the batches are
//! shuffled. [`Order`] has the two other ways.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::TrainConfig;

/// The number of batches that are sorted by length together.
pub(crate) const WINDOW: usize = 50;

/// The order of the texts of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Shuffled, with texts of similar length in one batch.
    Grouped,
    /// Shuffled.
    Shuffled,
    /// That of the data, in every epoch.
    OfData,
}

impl Order {
    /// The order that a configuration asks for.
    pub(crate) fn of(config: &TrainConfig) -> Self {
        match (config.keep_order, config.group_by_length) {
            (true, _) => Self::OfData,
            (false, true) => Self::Grouped,
            (false, false) => Self::Shuffled,
        }
    }
}

/// The batches of one epoch, as indices of texts. They depend only on the lengths, `seed` and `epoch`. One batch may be
/// smaller than the others: the last one, or, if texts are grouped, any.
pub(crate) fn epoch(lengths: &[usize], batch_size: usize, by: Order, seed: u64, epoch: usize) -> Vec<Vec<usize>> {
    let mut rng = StdRng::seed_from_u64(mix(seed, epoch as u64));
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    if by != Order::OfData {
        order.shuffle(&mut rng);
    }
    if by != Order::Grouped {
        return order.chunks(batch_size).map(<[usize]>::to_vec).collect();
    }
    for window in order.chunks_mut(WINDOW.saturating_mul(batch_size)) {
        window.sort_by_key(|index| lengths[*index]);
    }
    let mut batches: Vec<Vec<usize>> = order.chunks(batch_size).map(<[usize]>::to_vec).collect();
    batches.shuffle(&mut rng);
    batches
}

/// The batches of an evaluation, from the longest texts to the shortest, so that insufficient memory shows at once.
pub(crate) fn by_length(lengths: &[usize], batch_size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
    order.chunks(batch_size).map(<[usize]>::to_vec).collect()
}

/// Mixes two seeds into one (SplitMix64's finalizer): neighboring inputs give unrelated seeds.
pub(crate) fn mix(seed: u64, value: u64) -> u64 {
    let mut z = seed.wrapping_add(value.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<usize> {
        (0..1003).map(|index| 3 + (index * 7919) % 61).collect()
    }

    fn padded(batches: &[Vec<usize>], lengths: &[usize]) -> usize {
        let longest = |batch: &Vec<usize>| batch.iter().map(|index| lengths[*index]).max().unwrap_or(0);
        batches.iter().map(|batch| batch.len() * longest(batch)).sum()
    }

    #[test]
    fn every_text_is_in_one_batch() {
        for order in [Order::Grouped, Order::Shuffled, Order::OfData] {
            let batches = epoch(&lengths(), 8, order, 1, 0);
            assert_eq!(batches.len(), 126);
            let mut all = batches.concat();
            all.sort_unstable();
            assert_eq!(all, (0..1003).collect::<Vec<_>>());
        }
    }

    #[test]
    fn batches_depend_on_seed_and_epoch_alone() {
        let batches = |seed, number| epoch(&lengths(), 8, Order::Grouped, seed, number);
        assert_eq!(batches(1, 2), batches(1, 2));
        assert_ne!(batches(1, 2), batches(1, 3));
        assert_ne!(batches(1, 2), batches(2, 2));
    }

    #[test]
    fn grouping_saves_nearly_all_padding() {
        let lengths = lengths();
        let tokens: usize = lengths.iter().sum();
        let grouped = padded(&epoch(&lengths, 8, Order::Grouped, 1, 0), &lengths);
        let random = padded(&epoch(&lengths, 8, Order::Shuffled, 1, 0), &lengths);
        assert!(grouped * 100 < tokens * 105, "{grouped} positions for {tokens} tokens");
        assert!(random * 100 > tokens * 150, "{random} positions for {tokens} tokens");
    }

    #[test]
    fn grouped_batches_do_not_come_in_the_order_of_their_lengths() {
        let lengths = lengths();
        let longest: Vec<usize> =
            epoch(&lengths, 8, Order::Grouped, 1, 0).iter().map(|batch| lengths[batch[0]]).collect();
        assert!(!longest.is_sorted() && !longest.iter().rev().is_sorted());
    }

    #[test]
    fn the_order_of_the_data_is_kept_in_every_epoch() {
        for (seed, number) in [(1, 0), (2, 7)] {
            assert_eq!(epoch(&[5, 1, 9, 2, 4], 2, Order::OfData, seed, number), [vec![0, 1], vec![2, 3], vec![4]]);
        }
        let kept = TrainConfig::new().with_keep_order(true);
        assert_eq!(Order::of(&kept), Order::OfData);
        assert_eq!(Order::of(&kept.with_group_by_length(false)), Order::OfData);
        assert_eq!(Order::of(&TrainConfig::new()), Order::Grouped);
        assert_eq!(Order::of(&TrainConfig::new().with_group_by_length(false)), Order::Shuffled);
    }

    #[test]
    fn evaluation_begins_with_the_longest() {
        assert_eq!(by_length(&[1, 9, 4, 9, 2], 2), [vec![1, 3], vec![2, 4], vec![0]]);
    }
}
