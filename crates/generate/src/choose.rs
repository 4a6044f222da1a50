//! The choice of a token from logits.

use std::cmp::Ordering;

use rand::rngs::StdRng;
use rand::{Rng, RngExt};

use crate::Sampling;

/// Makes tokens that a row has less probable.
pub(crate) fn penalize(logits: &mut [f32], row: &[u32], penalty: f64) {
    if penalty == 1.0 {
        return;
    }
    let mut seen: Vec<u32> = row.to_vec();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        if let Some(logit) = logits.get_mut(id as usize) {
            let penalized = if *logit < 0.0 { f64::from(*logit) * penalty } else { f64::from(*logit) / penalty };
            *logit = penalized as f32;
        }
    }
}

/// The first of the tokens with the largest logit.
pub(crate) fn greatest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (id, *logit);
        }
    }
    best.0 as u32
}

/// The natural logarithms of the probabilities of all tokens, from their logits.
pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = logits.iter().map(|logit| f64::from(*logit) - f64::from(largest));
    let sum = shifted.clone().map(f64::exp).sum::<f64>().ln();
    shifted.map(|logit| logit - sum).collect()
}

/// Keeps the first items of an order, which has no equal items, and sorts them; the others are never sorted.
pub(crate) fn keep_first<T>(items: &mut Vec<T>, count: usize, order: impl Fn(&T, &T) -> Ordering) {
    if count < items.len() {
        items.select_nth_unstable_by(count, &order);
        items.truncate(count);
    }
    items.sort_unstable_by(order);
}

/// A random token.
pub(crate) fn sample(logits: &[f32], sampling: &Sampling, random: &mut StdRng) -> u32 {
    let kept = candidates(logits, sampling);
    let total: f64 = kept.iter().map(|(_, probability)| probability).sum();
    let mut left = uniform(random) * total;
    for (id, probability) in &kept {
        left -= probability;
        if left < 0.0 {
            return *id;
        }
    }
    // Rounding may leave a little after the last one.
    kept.last().map_or(0, |(id, _)| *id)
}

/// In `[0, 1)`.
fn uniform(random: &mut impl Rng) -> f64 {
    random.random::<f64>()
}

/// The tokens that may be chosen, the most probable first, with their probabilities. At least one.
fn candidates(logits: &[f32], sampling: &Sampling) -> Vec<(u32, f64)> {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weight = |logit: &f32| ((f64::from(*logit) - largest) / sampling.temperature).exp();
    let mut kept: Vec<(u32, f64)> = logits.iter().map(weight).enumerate().map(|(id, w)| (id as u32, w)).collect();
    let most = if sampling.top_k > 0 { sampling.top_k } else { kept.len() };
    keep_first(&mut kept, most, |left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    if sampling.top_p < 1.0 {
        let total: f64 = kept.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let reached = kept.iter().position(|(_, weight)| {
            sum += weight / total;
            sum >= sampling.top_p
        });
        kept.truncate(reached.map_or(kept.len(), |last| last + 1));
    }
    // The weight of the most probable token is 1.
    let least = sampling.min_p;
    kept.retain(|(_, weight)| *weight >= least);
    kept
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn ids(logits: &[f32], sampling: Sampling) -> Vec<u32> {
        candidates(logits, &sampling).into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn limits_keep_the_most_probable_tokens() {
        // Probabilities 0.5, 0.25, 0.125, 0.125.
        let logits = [1.0, 4.0, 2.0, 1.0].map(|weight: f32| weight.ln());
        let all = Sampling::default();
        assert_eq!(ids(&logits, all), [1, 2, 0, 3]);
        assert_eq!(ids(&logits, Sampling { top_k: 3, ..all }), [1, 2, 0]);
        assert_eq!(ids(&logits, Sampling { top_p: 0.7, ..all }), [1, 2]);
        assert_eq!(ids(&logits, Sampling { top_p: 0.01, ..all }), [1], "at least one is left");
        assert_eq!(ids(&logits, Sampling { min_p: 0.45, ..all }), [1, 2]);
        // At half the temperature, the ratio of the first two is four instead of two.
        assert_eq!(ids(&logits, Sampling { min_p: 0.3, temperature: 0.5, ..all }), [1]);
    }

    #[test]
    fn samples_have_the_probabilities_of_the_logits() {
        let logits = [1.0, 4.0, 2.0, 1.0].map(|weight: f32| weight.ln());
        let mut random = StdRng::seed_from_u64(5);
        let mut counts = [0.0_f64; 4];
        for _ in 0..20_000 {
            counts[sample(&logits, &Sampling::default(), &mut random) as usize] += 1.0 / 20_000.0;
        }
        let expected = [0.125, 0.5, 0.25, 0.125];
        assert!(counts.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 0.02), "{counts:?}");
    }

    #[test]
    fn repeated_tokens_become_less_probable() {
        let mut logits = [2.0, -2.0, 2.0];
        penalize(&mut logits, &[0, 1, 1, 99], 2.0);
        assert_eq!(logits, [1.0, -4.0, 2.0]);
        assert_eq!(greatest(&logits), 2);
    }

    #[test]
    fn log_probabilities_add_up_to_one() {
        let sum: f64 = log_softmax(&[1000.0, 999.0, -1000.0]).into_iter().map(f64::exp).sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }
}
