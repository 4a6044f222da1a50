//! The grammar of compositions.
//!
//! ```text
//! composition = name | block
//! block       = word "(" [ item { "," item } [ "," ] ] ")"
//! item        = composition | argument | list          a list only in Route
//! argument    = word "=" value
//! value       = word | string | list
//! list        = "[" [ entry { "," entry } [ "," ] ] "]"        entry = word | string
//! name        = word | string
//! word        = letters, digits and _ - + / . @
//! string      = quoted by ' or ", with escapes
//! ```
//!
//! Numbers are words; their position distinguishes them from names. The next word and the character after it determine
//! every choice, so parsing takes time linear in the text. After an error, parsing continues at the next `,` or `)`
//! outside brackets and quotes.

mod argument;
mod block;
mod token;

use std::str::FromStr;

use burn_adapters_diagnostics::Cursor;

use crate::check::{findings, located};
use crate::display::{in_name, is_keyword};
use crate::limits::{MOST_BYTES, MOST_PARTS};
use crate::problem::ProblemKind;
use crate::problem::{CompositionError, Problem};
use crate::spans::Spans;
use crate::{Block, Composition};
use argument::Value;

/// Parsing stops after this many problems: nobody reads more, and each costs time.
pub(crate) const MOST_PROBLEMS: usize = 20;

/// The deepest nesting of blocks. (The rules allow three levels; up to this depth, their message is better than the
/// grammar's.)
pub(crate) const DEPTH_LIMIT: usize = 32;

/// A parsed composition and the spans of its parts.
pub(crate) type Located = (Composition, Spans);

/// Parses a whole text; checks the syntax only.
pub(crate) fn read(text: &str) -> Result<Located, CompositionError> {
    let mut parser = Parser::new(text);
    let composition = parser.whole(|parser| parser.composition(0));
    parser.finish(composition)
}

impl FromStr for Composition {
    type Err = CompositionError;

    /// Checks the syntax only: any composition can be written and parsed, valid or not. [`Composition::validate`]
    /// checks the rules, and [`Composition::parse`] does both.
    fn from_str(text: &str) -> Result<Self, CompositionError> {
        read(text).map(|(composition, _)| composition)
    }
}

impl Composition {
    /// Parses a text and checks the rules of [`Composition::validate`]; all positions refer to that text.
    ///
    /// # Errors
    ///
    /// The syntax errors; if there are none, the broken rules. At most 20 problems.
    ///
    /// ```
    /// use burn_adapters_composition::Composition;
    ///
    /// let error = Composition::parse("Split( a,b , splits = [64, 0] )").unwrap_err();
    /// assert_eq!(error.problems()[0].span, 27..28);
    /// assert_eq!(error.problems()[0].label(), "must be 1 or greater");
    /// ```
    pub fn parse(text: &str) -> Result<Self, CompositionError> {
        let (composition, spans) = read(text)?;
        located(&composition, findings(&composition), || (text.to_owned(), spans))?;
        Ok(composition)
    }
}

/// Parses one text and collects its problems.
pub(crate) struct Parser<'a> {
    pub(crate) cursor: Cursor<'a>,
    problems: Vec<Problem>,
    /// The number of adapters and blocks so far.
    parts: usize,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { cursor: Cursor::new(text, in_name), problems: Vec::new(), parts: 0 }
    }

    fn report(&mut self, span: std::ops::Range<usize>, kind: ProblemKind) {
        if !self.full() {
            self.problems.push(Problem::new(span, kind));
        }
    }

    fn full(&self) -> bool {
        self.problems.len() >= MOST_PROBLEMS || self.parts > MOST_PARTS
    }

    /// Reports that something else was expected at the next character.
    fn expected(&mut self, expected: &'static str) {
        let (span, found) = self.cursor.found();
        self.report(span, ProblemKind::Expected { expected, found });
    }

    /// Reports an unclosed bracket, unless an early end of the text has already been reported.
    fn unclosed(&mut self, open: usize, opener: char) {
        if !self.problems.iter().any(|problem| matches!(problem.kind, ProblemKind::Unclosed { .. })) {
            self.report(open..open + 1, ProblemKind::Unclosed { opener });
        }
    }

    /// Applies `read`, which must consume the whole text.
    pub(crate) fn whole<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.cursor.skip_space();
        if self.cursor.is_at_end() {
            self.report(0..self.cursor.at(), ProblemKind::Empty);
            return None;
        }
        let bytes = self.cursor.text().len();
        if bytes > MOST_BYTES {
            self.report(0..0, ProblemKind::TooLong { bytes, limit: MOST_BYTES });
            return None;
        }
        let whole = read(self);
        self.cursor.skip_space();
        if whole.is_some() && !self.cursor.is_at_end() && !self.full() {
            let (span, found) = self.cursor.found();
            let end = span.start + self.cursor.rest().trim_end().len();
            self.report(span.start..end, ProblemKind::TrailingText { found });
        }
        whole
    }

    /// The result, or the problems.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, CompositionError> {
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            _ => {
                // A text that is too long is not repeated in the error.
                let text = self.cursor.text();
                Err(CompositionError::new(&text[..text.floor_char_boundary(MOST_BYTES)], self.problems))
            }
        }
    }

    /// A name or a block; `None` if there is neither, which has been reported.
    pub(crate) fn composition(&mut self, depth: usize) -> Option<Located> {
        self.cursor.skip_space();
        let start = self.cursor.at();
        if self.parts == MOST_PARTS {
            // Parsing ends with the next part, so this is reported only once.
            self.report(start..start, ProblemKind::TooMany { limit: MOST_PARTS });
        }
        self.parts += 1;
        if self.full() {
            return None;
        }
        match self.cursor.peek() {
            Some('\'' | '"') => {
                let name = self.string()?;
                Some(self.adapter(name, start))
            }
            Some(c) if in_name(c) => {
                let word = self.cursor.word();
                let head = start..self.cursor.at();
                if self.cursor.peek_after_space() == Some('(') {
                    self.cursor.skip_space();
                    return self.block(word, head, depth);
                }
                if Block::of_name(word).is_some() && self.cursor.peek_after_space() == Some('[') {
                    // As the reference prints it.
                    self.cursor.skip_space();
                    self.expected("`(`");
                    return None;
                }
                if is_keyword(word) {
                    // Continue as if it were a name, so that there is one problem instead of two.
                    self.report(head, ProblemKind::Keyword { word: word.to_owned() });
                }
                Some(self.adapter(word.to_owned(), start))
            }
            _ => {
                self.expected("an adapter name or a block");
                None
            }
        }
    }

    fn adapter(&self, name: String, start: usize) -> Located {
        let span = start..self.cursor.at();
        (Composition::Adapter(name), Spans { whole: span.clone(), head: span, ..Spans::default() })
    }
}
