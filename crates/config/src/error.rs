//! Errors of configurations.

use burn_adapters_diagnostics as diagnostics;

use crate::problem::ProblemKind;

/// All problems of a configuration, with the text and their positions in it.
///
/// The text is the one that was read. For a configuration built in Rust, it is the string that it prints as.
///
/// ```
/// use burn_adapters_config::{AdapterConfig, ProblemKind};
///
/// let error = "seq_bn[reduction_facto=8]".parse::<AdapterConfig>().unwrap_err();
/// let problem = &error.problems()[0];
/// assert_eq!(problem.message(), "unknown key `reduction_facto` for `seq_bn`");
/// assert_eq!(problem.label(), "did you mean `reduction_factor`?");
/// assert_eq!(&error.text()[problem.span.clone()], "reduction_facto");
/// assert!(matches!(&problem.kind, ProblemKind::UnknownKey { key, .. } if key == "reduction_facto"));
/// ```
pub type ConfigError = diagnostics::TextError<ProblemKind>;

/// A problem in a configuration.
pub type Problem = diagnostics::Problem<ProblemKind>;
