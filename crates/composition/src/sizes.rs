//! Sizes of parts: one for each, or one for all.

/// The lengths of the parts of a [`Split`](crate::Composition::Split) or a
/// [`BatchSplit`](crate::Composition::BatchSplit).
///
/// ```
/// use burn_adapters_composition::{Composition, Sizes};
///
/// assert_eq!(Composition::split(["a", "b"], 64), Composition::split(["a", "b"], [64, 64]));
/// assert_eq!(Sizes::from(3).for_parts(2), [3, 3]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sizes {
    /// All parts have this size.
    Each(usize),
    /// Each part has its own.
    List(Vec<usize>),
}

impl Sizes {
    /// The sizes of `parts` parts. A list is returned unchanged:
    /// [`Composition::validate`](crate::Composition::validate) checks its length.
    pub fn for_parts(self, parts: usize) -> Vec<usize> {
        match self {
            Self::Each(size) => vec![size; parts],
            Self::List(sizes) => sizes,
        }
    }
}

impl From<usize> for Sizes {
    fn from(size: usize) -> Self {
        Self::Each(size)
    }
}

impl From<Vec<usize>> for Sizes {
    fn from(sizes: Vec<usize>) -> Self {
        Self::List(sizes)
    }
}

impl From<&[usize]> for Sizes {
    fn from(sizes: &[usize]) -> Self {
        Self::List(sizes.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Sizes {
    fn from(sizes: [usize; N]) -> Self {
        Self::List(sizes.to_vec())
    }
}
