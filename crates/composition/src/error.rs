//! What can be wrong with a composition.

use burn_adapters_diagnostics as diagnostics;

use crate::problem::ProblemKind;

/// Everything that is wrong with a composition: the text, and the places in it; at most 20 problems.
///
/// The text is what was read; for a composition made in Rust, it is the text that it prints as.
///
/// ```
/// use burn_adapters_composition::{Composition, ProblemKind};
///
/// let error = "Stack(a, Fuze(b, c))".parse::<Composition>().unwrap_err();
/// let problem = &error.problems()[0];
/// assert_eq!(problem.message(), "unknown block `Fuze`");
/// assert_eq!(problem.label(), "did you mean `Fuse`?");
/// assert_eq!(&error.text()[problem.span.clone()], "Fuze");
/// assert!(matches!(&problem.kind, ProblemKind::UnknownBlock { name, .. } if name == "Fuze"));
/// ```
pub type CompositionError = diagnostics::TextError<ProblemKind>;

/// One problem in a composition, with the blocks around it as its path.
pub type Problem = diagnostics::Problem<ProblemKind>;
