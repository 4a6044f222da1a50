//! Masking of tokens as in BERT (Devlin et al., 2019, section 3.1).

use burn_adapters_model::{MaskTokens, Row};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// The fraction of a row's tokens that are predicted in masked language modeling, special tokens excluded.
pub const MASKED_FRACTION: f64 = 0.15;

/// Chooses 15 % of a row's tokens, at least one. Of these, 80 % become the mask token, 10 % a random token, and 10 % are
/// unchanged. Returns the row, the positions of the chosen tokens, and the tokens that were there.
pub(super) fn mask(row: &Row, tokens: &MaskTokens, seed: u64) -> (Row, Vec<usize>, Vec<Option<usize>>) {
    let mut random = StdRng::seed_from_u64(seed);
    let is_plain = |id: &u32| *id != tokens.mask && tokens.special.binary_search(id).is_err();
    let mut positions: Vec<usize> =
        row.ids.iter().enumerate().filter(|(_, id)| is_plain(id)).map(|(position, _)| position).collect();
    let count = ((positions.len() as f64 * MASKED_FRACTION).round() as usize).max(1).min(positions.len());
    positions.shuffle(&mut random);
    positions.truncate(count);
    positions.sort_unstable();
    let hidden = positions.iter().map(|position| Some(row.ids[*position] as usize)).collect();
    let mut row = row.clone();
    for position in &positions {
        match random.random::<f64>() {
            draw if draw < 0.8 => row.ids[*position] = tokens.mask,
            draw if draw < 0.9 => row.ids[*position] = random.random_range(0..tokens.vocabulary.max(1)) as u32,
            _ => {}
        }
    }
    (row, positions, hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> MaskTokens {
        MaskTokens { mask: 4, special: vec![0, 1, 2, 3, 4], vocabulary: 1000 }
    }

    #[test]
    fn fifteen_percent_of_the_plain_tokens_are_chosen_and_most_of_them_masked() {
        let row = Row::new(std::iter::once(2).chain((0..10_000).map(|id| 5 + id % 900)).chain([3]).collect());
        let (masked, positions, hidden) = mask(&row, &tokens(), 7);
        assert_eq!((positions.len(), hidden.len(), masked.ids.len()), (1500, 1500, row.ids.len()));
        let is = |test: &dyn Fn(u32, u32) -> bool| {
            positions.iter().filter(|at| test(masked.ids[**at], row.ids[**at])).count() as f64 / 1500.0
        };
        assert!((is(&|new, _| new == 4) - 0.8).abs() < 0.03);
        assert!((is(&|new, old| new == old) - 0.1).abs() < 0.03);
        for (at, (new, old)) in masked.ids.iter().zip(&row.ids).enumerate() {
            assert!(new == old || positions.binary_search(&at).is_ok(), "{at}");
        }
        assert!(positions.iter().zip(&hidden).all(|(at, id)| *id == Some(row.ids[*at] as usize)));
    }

    #[test]
    fn special_tokens_are_never_hidden_and_a_single_plain_one_always() {
        for seed in 0..50 {
            let (_, positions, hidden) = mask(&Row::new(vec![2, 4, 9, 3]), &tokens(), seed);
            assert_eq!((positions, hidden), (vec![2], vec![Some(9)]));
        }
        assert!(mask(&Row::new(vec![2, 3]), &tokens(), 0).1.is_empty());
    }

    #[test]
    fn masks_depend_on_the_seed_alone() {
        let row = Row::new((5..90).collect());
        assert_eq!(mask(&row, &tokens(), 1), mask(&row, &tokens(), 1));
        assert_ne!(mask(&row, &tokens(), 1).1, mask(&row, &tokens(), 2).1);
    }
}
