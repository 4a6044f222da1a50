//! Elements that are NaN or infinite.
//!
//! One NaN in a weight makes every output NaN, and the predicted label is then arbitrary. So weights are scanned when
//! they are read and when they are written.

use std::fmt;

use crate::{Element, FloatType};

/// Elements of a tensor that are NaN, infinite, or too large for the requested number format.
#[derive(Debug, Clone, PartialEq)]
pub struct NotFinite {
    /// The number of such elements.
    pub count: usize,
    /// The number of elements of the tensor.
    pub elements: usize,
    /// The position of the first of them.
    pub first: Vec<usize>,
    /// The first of them. It is finite if only its conversion is not.
    pub value: f64,
    /// The requested number format.
    pub format: FloatType,
}

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, elements, first, value, format } = self;
        let overflow =
            if value.is_finite() { format!(", which {} cannot hold", format.shown()) } else { String::new() };
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

/// Checks that no element is NaN or infinite.
///
/// # Errors
/// If one is; the error gives its position in a tensor of this shape.
pub fn check_finite<E: Element>(values: &[E], shape: &[usize]) -> Result<(), NotFinite> {
    if all_finite(values) {
        return Ok(());
    }
    Err(found(values.iter().map(|value| value.elem()), shape, E::TYPE))
}

/// Without a branch for each element, so that it becomes vector instructions.
pub(crate) fn all_finite<E: Element>(values: &[E]) -> bool {
    values.chunks(4096).all(|chunk| chunk.iter().fold(0, |any, value| any | u32::from(value.is_special())) == 0)
}

/// The elements that are not finite after conversion to a number format; there must be at least one.
pub(crate) fn found(values: impl IntoIterator<Item = f64>, shape: &[usize], format: FloatType) -> NotFinite {
    let (mut count, mut elements, mut first) = (0, 0, (0, f64::NAN));
    for (index, value) in values.into_iter().enumerate() {
        elements += 1;
        if !format.holds(value) {
            if count == 0 {
                first = (index, value);
            }
            count += 1;
        }
    }
    NotFinite { count, elements, first: position(first.0, shape), value: first.1, format }
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
    fn elements_that_are_not_finite_are_found_and_counted() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 4095, 4096, 9999] {
                let mut values = vec![f32::MAX; 10_000];
                values[at] = bad;
                let error = check_finite(&values, &[100, 100]).unwrap_err();
                assert_eq!((error.count, error.elements, error.first), (1, 10_000, vec![at / 100, at % 100]));
            }
        }
        assert!(check_finite(&[f32::MIN, f32::MIN_POSITIVE, 1e-45, -0.0], &[4]).is_ok());
        assert!(check_finite::<f32>(&[], &[0]).is_ok());
    }
}
