//! The rows of a batch that the sizes of a composition add up to.

use crate::{Composition, HeadSetup, Route};

impl Composition {
    /// The number of rows that a batch must have: those of a route, or of a split batch. `None` for a composition that fits
    /// every batch.
    ///
    /// ```
    /// # use burn_adapters_composition::Composition;
    /// let setup: Composition = "Stack(language, BatchSplit(a, b, batch_sizes=[1, 3]))".parse()?;
    /// assert_eq!(setup.rows(), Some(4));
    /// assert_eq!(setup.with_repeated_rows(2).to_string(), "Stack(language, BatchSplit(a, b, batch_sizes=[2, 6]))");
    /// assert_eq!(Composition::stack(["a", "b"]).rows(), None);
    /// # Ok::<(), burn_adapters_composition::CompositionError>(())
    /// ```
    pub fn rows(&self) -> Option<usize> {
        match self {
            Self::Route(route) => Some(route.rows().len()),
            Self::BatchSplit { batch_sizes, .. } => Some(batch_sizes.iter().sum()),
            block => block.children().iter().find_map(Self::rows),
        }
    }

    /// The composition for a batch in which each row stands `times` times, one after the other.
    pub fn with_repeated_rows(&self, times: usize) -> Self {
        let mut repeated = self.clone();
        repeated.repeat_rows(times);
        repeated
    }

    fn repeat_rows(&mut self, times: usize) {
        match self {
            Self::Route(route) => *route = repeated(route, times),
            Self::BatchSplit { batch_sizes, .. } => batch_sizes.iter_mut().for_each(|size| *size *= times),
            _ => {}
        }
        for child in self.children_mut() {
            child.repeat_rows(times);
        }
    }
}

impl HeadSetup {
    /// The number of rows that a batch must have; `None` if every batch fits.
    pub fn rows(&self) -> Option<usize> {
        match self {
            Self::BatchSplit { batch_sizes, .. } => Some(batch_sizes.iter().sum()),
            Self::Route(route) => Some(route.rows().len()),
            Self::Unnamed | Self::One(_) | Self::Several(_) => None,
        }
    }

    /// The heads for a batch in which each row stands `times` times, one after the other.
    pub fn with_repeated_rows(&self, times: usize) -> Self {
        match self {
            Self::BatchSplit { heads, batch_sizes } => {
                let batch_sizes = batch_sizes.iter().map(|size| size * times).collect();
                Self::BatchSplit { heads: heads.clone(), batch_sizes }
            }
            Self::Route(route) => Self::Route(repeated(route, times)),
            heads => heads.clone(),
        }
    }
}

fn repeated(route: &Route, times: usize) -> Route {
    Route::new(route.rows().iter().flat_map(|row| std::iter::repeat_n(row.clone(), times)))
}
