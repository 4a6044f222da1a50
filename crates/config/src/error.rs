//! What can be wrong with a configuration.

use burn_adapters_diagnostics as diagnostics;

use crate::problem::ProblemKind;

/// Everything that is wrong with a configuration: the text, and the places in it.
///
/// The text is what was read; for a configuration made in Rust, it is the string that the configuration prints as.
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

/// One problem in a configuration.
pub type Problem = diagnostics::Problem<ProblemKind>;
