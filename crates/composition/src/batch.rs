//! Validation of a composition against the size of a batch.

use crate::check::{Search, located, printed};
use crate::problem::CompositionError;
use crate::problem::ProblemKind;
use crate::spans::Part;
use crate::{Composition, Route};

impl Composition {
    /// Checks that the composition is valid ([`Composition::validate`]) *and* fits a batch of `batch` rows, before any
    /// `Parallel` repeats them, and sequences of `sequence` tokens (`None` if unknown). The sizes of each `BatchSplit`
    /// and `Split` must sum to the size of its input, and each `Route` must have one entry per row.
    ///
    /// The input of a block inside a `Split` or a `BatchSplit` is a part; after a `Parallel` in the same `Stack` it is
    /// the batch, repeated once per branch. A `Route` after it still counts the rows of the original batch.
    ///
    /// # Errors
    ///
    /// As [`Composition::validate`].
    ///
    /// ```
    /// use burn_adapters_composition::Composition;
    ///
    /// let setup: Composition = "BatchSplit(a, b, batch_sizes=[1, 3])".parse()?;
    /// setup.validate_for_batch(4, Some(128))?;
    /// let error = setup.validate_for_batch(5, None).unwrap_err();
    /// assert_eq!(error.to_string(), "`batch_sizes` sums to 4, but the number of rows is 5");
    /// # Ok::<(), burn_adapters_composition::CompositionError>(())
    /// ```
    pub fn validate_for_batch(&self, batch: usize, sequence: Option<usize>) -> Result<(), CompositionError> {
        self.validate()?;
        let mut search = Search::default();
        fit(self, Input { given: batch, rows: batch, tokens: sequence }, &mut search);
        located(self, search.findings, || printed(self))
    }
}

/// The input of a block.
#[derive(Debug, Clone, Copy)]
struct Input {
    /// The number of rows without repetitions.
    given: usize,
    rows: usize,
    tokens: Option<usize>,
}

fn fit(composition: &Composition, input: Input, search: &mut Search) {
    let mut below = |index: usize, child: &Composition, input: Input| {
        search.indices.push(index);
        fit(child, input, search);
        search.indices.pop();
    };
    match composition {
        Composition::Adapter(_) => {}
        Composition::Route(route) => rows(route, input, search),
        Composition::Stack(children) => {
            let mut now = input;
            for (index, child) in children.iter().enumerate() {
                let repeated = now.rows != input.rows;
                match child {
                    // The second `Parallel` continues the branches of the first.
                    Composition::Parallel(_) if repeated => below(index, child, input),
                    Composition::Parallel(branches) => {
                        below(index, child, input);
                        now.rows = input.rows.saturating_mul(branches.len());
                    }
                    _ => below(index, child, now),
                }
            }
        }
        Composition::Split { children, splits } => {
            for (index, (child, tokens)) in children.iter().zip(splits).enumerate() {
                below(index, child, Input { tokens: Some(*tokens), ..input });
            }
            if let Some(tokens) = input.tokens {
                sum("splits", splits, "the number of tokens is", tokens, search);
            }
        }
        Composition::BatchSplit { children, batch_sizes } => {
            for (index, (child, rows)) in children.iter().zip(batch_sizes).enumerate() {
                below(index, child, Input { given: *rows, rows: *rows, ..input });
            }
            sum("batch_sizes", batch_sizes, "the number of rows is", input.rows, search);
        }
        Composition::Fuse { children, .. }
        | Composition::Average { children, .. }
        | Composition::Parallel(children) => {
            for (index, child) in children.iter().enumerate() {
                below(index, child, input);
            }
        }
    }
}

fn sum(argument: &'static str, sizes: &[usize], whole: &'static str, actual: usize, search: &mut Search) {
    let sum: u128 = sizes.iter().map(|size| *size as u128).sum();
    if sum != actual as u128 {
        search.report(Part::Argument, ProblemKind::Sum { argument, sum, whole, actual });
    }
}

fn rows(route: &Route, input: Input, search: &mut Search) {
    let rows = route.rows().len();
    if route.is_open() {
        search.report(Part::Head, ProblemKind::RowsNotGiven);
    } else if rows != input.given {
        search.report(Part::Argument, ProblemKind::Rows { rows, batch: input.given });
    }
}
