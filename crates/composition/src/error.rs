//! Errors of compositions.

use burn_adapters_diagnostics as diagnostics;

use crate::problem::ProblemKind;

/// All problems of a composition (at most 20), with the text and their positions in it.
///
/// The text is the one that was parsed. For a composition built in Rust, it is the text that it prints as.
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

/// A problem in a composition; its path names the blocks around it.
pub type Problem = diagnostics::Problem<ProblemKind>;
