//! What can be wrong with a composition.

use std::fmt;
use std::ops::Range;

use crate::problem::ProblemKind;

/// Everything that is wrong with a composition: the text, and the places in it.
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
#[derive(Debug, Clone, PartialEq)]
pub struct CompositionError {
    text: String,
    problems: Vec<Problem>,
}

/// One problem in a composition.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Where it is, in bytes of [`CompositionError::text`]; on character boundaries, and never outside the text.
    pub span: Range<usize>,
    /// The blocks around it, from the outermost one, and itself. Empty for what cannot be read at all.
    pub path: Vec<String>,
    /// What it is.
    pub kind: ProblemKind,
}

impl Problem {
    pub(crate) fn new(span: Range<usize>, kind: ProblemKind) -> Self {
        Self { span, path: Vec::new(), kind }
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

    /// The path in one line, such as `Stack > Fuse > Parallel`; empty for what cannot be read at all.
    pub fn place(&self) -> String {
        self.path.join(" > ")
    }
}

impl CompositionError {
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

    /// The problems, in the order of the text; at least one, and no more than 20.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

fn on_boundaries(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    start..text.floor_char_boundary(span.end).max(start)
}

impl fmt::Display for CompositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            if problem.path.len() > 1 {
                write!(f, "{}: ", problem.place())?;
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

impl std::error::Error for CompositionError {}
