//! What can be wrong with a configuration.

use std::fmt;
use std::ops::Range;

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
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigError {
    text: String,
    problems: Vec<Problem>,
}

/// One problem in a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Where it is, in bytes of [`ConfigError::text`]; on character boundaries, and never outside the text.
    pub span: Range<usize>,
    /// What it is.
    pub kind: ProblemKind,
}

impl Problem {
    pub(crate) fn new(span: Range<usize>, kind: ProblemKind) -> Self {
        Self { span, kind }
    }

    /// What is wrong, in one line: the head of the error.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }

    /// What to write under the caret: what was expected, or what was probably meant.
    pub fn label(&self) -> String {
        self.kind.label()
    }

    /// What to do about it, where the label does not say it all.
    pub fn help(&self) -> Option<String> {
        self.kind.help()
    }
}

impl ConfigError {
    /// An error about this text. Problems are put in the text's order, and told once.
    pub(crate) fn new(text: impl Into<String>, problems: Vec<Problem>) -> Self {
        let text = text.into();
        let mut once: Vec<Problem> = Vec::with_capacity(problems.len());
        for mut problem in problems {
            problem.span = on_boundaries(&text, problem.span);
            if !once.contains(&problem) {
                once.push(problem);
            }
        }
        once.sort_by_key(|problem| (problem.span.start, problem.span.end));
        Self { text, problems: once }
    }

    /// The text that the spans point into.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The problems, in the order of the text; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

fn on_boundaries(text: &str, span: Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    start..floor(span.end).max(start)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            f.write_str(&problem.message())?;
            let label = problem.label();
            if problem.kind.label_says_more() && !label.is_empty() {
                write!(f, " ({label})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
