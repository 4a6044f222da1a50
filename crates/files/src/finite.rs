//! Numbers that are not finite.
//!
//! One NaN in a weight makes every output NaN, and a label is then chosen at random; so weights are scanned where they
//! are read and where they are written.

use std::fmt;

/// Numbers of a tensor that are NaN, infinite, or beyond what f32 holds.
#[derive(Debug, Clone, PartialEq)]
pub struct NotFinite {
    /// How many there are.
    pub count: usize,
    /// How many numbers the tensor has.
    pub elements: usize,
    /// Where the first of them is.
    pub first: Vec<usize>,
    /// The first of them. It is finite if only its conversion to f32 is not.
    pub value: f64,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, elements, first, value } = self;
        let overflow = if value.is_finite() { ", which f32 cannot hold" } else { "" };
        match *count {
            1 if *elements == 1 => write!(f, "its only value is {value}{overflow}"),
            1 => write!(f, "1 of its {elements} values is not finite: {value} at {first:?}{overflow}"),
            count => {
                write!(f, "{count} of its {elements} values are not finite, the first {value} at {first:?}{overflow}")
            }
        }
    }
}

impl std::error::Error for NotFinite {}

/// Checks that no number is NaN or infinite.
///
/// # Errors
/// If one is; its place is told in a tensor of this shape.
pub fn check_finite(values: &[f32], shape: &[usize]) -> Result<(), NotFinite> {
    if all_finite(values) {
        return Ok(());
    }
    Err(found(values.iter().copied().map(f64::from), shape))
}

/// Without a branch for each number, so that it becomes vector instructions.
pub(crate) fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    let special = |value: &f32| u32::from(value.to_bits() & EXPONENT == EXPONENT);
    values.chunks(4096).all(|chunk| chunk.iter().fold(0, |any, value| any | special(value)) == 0)
}

/// What is not finite among these, of which at least one is not; a number that f32 cannot hold counts.
pub(crate) fn found(values: impl Iterator<Item = f64>, shape: &[usize]) -> NotFinite {
    let (mut count, mut elements, mut first) = (0, 0, (0, f64::NAN));
    for (index, value) in values.enumerate() {
        elements += 1;
        if !(value as f32).is_finite() {
            if count == 0 {
                first = (index, value);
            }
            count += 1;
        }
    }
    NotFinite { count, elements, first: position(first.0, shape), value: first.1 }
}

fn position(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut position: Vec<usize> = shape
        .iter()
        .rev()
        .map(|extent| {
            let extent = (*extent).max(1);
            let here = index % extent;
            index /= extent;
            here
        })
        .collect();
    position.reverse();
    position
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_found_and_counted() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 4095, 4096, 9999] {
                let mut values = vec![f32::MAX; 10_000];
                values[at] = bad;
                let error = check_finite(&values, &[100, 100]).unwrap_err();
                assert_eq!((error.count, error.elements, error.first), (1, 10_000, vec![at / 100, at % 100]));
            }
        }
        assert!(check_finite(&[f32::MIN, f32::MIN_POSITIVE, 1e-45, -0.0], &[4]).is_ok());
        assert!(check_finite(&[], &[0]).is_ok());
    }
}
