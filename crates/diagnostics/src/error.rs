//! All problems of a text.

use std::error::Error;
use std::fmt;
use std::ops::Range;

/// A kind of problem that explains itself. Its `Display` is the message: the problem in one line.
pub trait Explain: fmt::Display {
    /// The label for the carets: what was expected or probably meant. Empty if there is nothing to add.
    fn label(&self) -> String;

    /// Whether the label adds to the message. It then follows the message where nothing is drawn.
    fn label_says_more(&self) -> bool {
        true
    }

    /// The remedy, if the label is not enough.
    fn help(&self) -> Option<String> {
        None
    }
}

/// A problem in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem<K> {
    /// The span in bytes of [`TextError::text`]; it is on character boundaries, and never outside the text.
    pub span: Range<usize>,
    /// The enclosing blocks, outermost first, and the block itself. Empty without nesting, or if nothing could be
    /// parsed.
    pub path: Vec<String>,
    /// The kind of the problem.
    pub kind: K,
}

impl<K> Problem<K> {
    /// A problem without a path.
    pub fn new(span: Range<usize>, kind: K) -> Self {
        Self { span, path: Vec::new(), kind }
    }

    /// The path in one line, such as `Stack > Fuse > Parallel`.
    pub fn place(&self) -> String {
        self.path.join(" > ")
    }
}

impl<K: Explain> Problem<K> {
    /// The problem in one line.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }

    /// The label for the carets: what was expected or probably meant.
    pub fn label(&self) -> String {
        self.kind.label()
    }

    /// The remedy, if the label is not enough.
    pub fn help(&self) -> Option<String> {
        self.kind.help()
    }
}

/// A text that cannot be used, with all its problems.
///
/// The text is the one that was read; for a value built in Rust, it is the text that the value prints as.
#[derive(Debug, Clone, PartialEq)]
pub struct TextError<K> {
    text: String,
    problems: Vec<Problem<K>>,
}

impl<K: PartialEq> TextError<K> {
    /// An error about this text. Problems are sorted by position and deduplicated; spans are moved to character
    /// boundaries.
    pub fn new(text: impl Into<String>, problems: Vec<Problem<K>>) -> Self {
        let text = text.into();
        let mut once: Vec<Problem<K>> = Vec::with_capacity(problems.len());
        for mut problem in problems {
            let start = text.floor_char_boundary(problem.span.start);
            problem.span = start..text.floor_char_boundary(problem.span.end).max(start);
            if !once.contains(&problem) {
                once.push(problem);
            }
        }
        once.sort_by_key(|problem| (problem.span.start, problem.span.end));
        Self { text, problems: once }
    }
}

impl<K> TextError<K> {
    /// The text that the spans point into.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The problems, in the order of the text; at least one.
    pub fn problems(&self) -> &[Problem<K>] {
        &self.problems
    }
}

impl<K: Explain> fmt::Display for TextError<K> {
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

impl<K: Explain + fmt::Debug> Error for TextError<K> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Kind(&'static str);

    impl fmt::Display for Kind {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Explain for Kind {
        fn label(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn problems_are_sorted_and_told_once() {
        let problem = |start, kind| Problem::new(start..start + 1, Kind(kind));
        let error = TextError::new("abc", vec![problem(2, "late"), problem(0, "early"), problem(2, "late")]);
        assert_eq!(error.to_string(), "early; late");
    }

    #[test]
    fn spans_are_moved_into_the_text_and_onto_characters() {
        let reversed = Range { start: 3, end: 1 };
        let spans = [1..2, 5..9, reversed];
        let problems = spans.into_iter().map(|span| Problem::new(span, Kind("x"))).collect();
        let error = TextError::new("öb", problems);
        let spans: Vec<_> = error.problems().iter().map(|problem| problem.span.clone()).collect();
        assert_eq!(spans, [0..2, 3..3]);
    }
}
