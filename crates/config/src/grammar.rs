//! The grammar of configuration strings and of the values in them.
//!
//! ```text
//! config   = member { "|" member }
//! member   = name [ "[" [ entry { "," entry } [ "," ] ] "]" ]
//! entry    = key ( "=" | ":" ) value          key = word | string | integer
//! value    = none | true | false | number | string { string } | list | tuple | map
//! ```
//!
//! The reference passes the text in the brackets to Python's literal parser, so values are Python's literals: both
//! kinds of quotes, triple quotes, escapes, `1_000`, `0x10`, `1e-3`, trailing commas. JSON's `true`, `false` and `null`
//! are accepted too, which makes JSON a subset of `value`.
//!
//! The next character determines every choice, so parsing takes time linear in the text. After an error, parsing
//! continues at the next `,` or `|` outside brackets and quotes.

mod value;

use std::ops::Range;

use burn_adapters_diagnostics::Cursor;

use crate::literal::{Entry, Node};
use crate::problem::Problem;
use crate::problem::ProblemKind;
use value::{entry, expected};

/// Parsing stops after this many problems: nobody reads more, and each costs time.
pub(crate) const MOST_PROBLEMS: usize = 20;

/// The longest text of a configuration, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The most methods of a union. All pairs of them are compared.
pub(crate) const MOST_METHODS: usize = 64;

/// The deepest nesting of brackets.
pub(crate) const DEPTH_LIMIT: usize = 32;

/// One method of a configuration string, as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) span: Range<usize>,
    pub(crate) name: String,
    pub(crate) name_span: Range<usize>,
    pub(crate) entries: Vec<Entry>,
}

/// Parses a configuration string. Entries with syntax errors are missing from the result.
pub(crate) fn members(text: &str) -> (Vec<Member>, Vec<Problem>) {
    let mut parser = Parser { cursor: Cursor::new(text, in_word), problems: Vec::new() };
    let members = parser.members();
    (members, parser.problems)
}

/// Parses a single value, such as a JSON text, that is the whole text.
pub(crate) fn value(text: &str) -> Result<Node, Problem> {
    let mut cursor = Cursor::new(text, in_word);
    cursor.skip_space();
    let node = value::value(&mut cursor, 0)?;
    cursor.skip_space();
    if cursor.is_at_end() {
        return Ok(node);
    }
    let (span, found) = cursor.found();
    Err(Problem::new(span.start..text.len(), ProblemKind::TrailingText { found }))
}

/// Whether a bare word may contain this character.
fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether a method's name may contain this character.
fn in_name(c: char) -> bool {
    !c.is_whitespace() && !"[]|,={}()'\"".contains(c)
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    fn report(&mut self, span: Range<usize>, kind: ProblemKind) {
        self.problems.push(Problem::new(span, kind));
    }

    fn full(&self) -> bool {
        self.problems.len() >= MOST_PROBLEMS
    }

    fn members(&mut self) -> Vec<Member> {
        let mut members = Vec::new();
        self.cursor.skip_space();
        if self.cursor.is_at_end() {
            self.report(0..self.cursor.at(), ProblemKind::Empty);
            return members;
        }
        while !self.full() {
            if members.len() == MOST_METHODS {
                let at = self.cursor.at();
                self.report(at..at, ProblemKind::TooManyMethods { limit: MOST_METHODS });
                break;
            }
            members.extend(self.member());
            self.cursor.skip_space();
            if !matches!(self.cursor.peek(), None | Some('|')) && !self.full() {
                // One report is enough for a method that is already known to be malformed.
                let (span, found) = self.cursor.found();
                let from = self.cursor.rest();
                self.cursor.skip_until(&['|']);
                let end = span.start + from[..from.len() - self.cursor.rest().len()].trim_end().len();
                self.report(span.start..end, ProblemKind::TrailingText { found });
            }
            if !self.cursor.take('|') {
                break;
            }
        }
        members
    }

    fn member(&mut self) -> Option<Member> {
        self.cursor.skip_space();
        let start = self.cursor.at();
        let name = self.cursor.take_while(in_name);
        if name.is_empty() {
            self.problems.push(expected(&self.cursor, "the name of a method"));
            self.cursor.skip_until(&['|']);
            return None;
        }
        let name_span = start..self.cursor.at();
        let mut end = name_span.end;
        self.cursor.skip_space();
        let mut entries = Vec::new();
        if self.cursor.peek() == Some('[') {
            entries = self.entries();
            end = self.cursor.at();
        }
        Some(Member { span: start..end, name: name.to_owned(), name_span, entries })
    }

    /// The contents of the brackets, from the opening bracket to the closing one.
    fn entries(&mut self) -> Vec<Entry> {
        let open = self.cursor.at();
        let before = self.problems.len();
        self.cursor.take('[');
        let mut entries = Vec::new();
        loop {
            self.cursor.skip_space();
            if self.cursor.take(']') {
                return entries;
            }
            if matches!(self.cursor.peek(), None | Some('|')) || self.full() {
                if self.problems.len() == before {
                    self.report(open..open + 1, ProblemKind::Unclosed { opener: "[".into() });
                }
                return entries;
            }
            let start = self.cursor;
            match entry(&mut self.cursor, 0) {
                Ok(entry) => entries.push(entry),
                Err(problem) => {
                    let unclosed = matches!(problem.kind, ProblemKind::Unclosed { .. });
                    self.problems.push(problem);
                    self.cursor = start;
                    self.cursor.skip_until(if unclosed { &[] } else { &[',', ']'] });
                }
            }
            self.cursor.skip_space();
            if !self.cursor.take(',') && !matches!(self.cursor.peek(), None | Some(']' | '|')) {
                self.problems.push(expected(&self.cursor, "`,` or `]`"));
                self.cursor.skip_until(&[',', ']']);
                self.cursor.take(',');
            }
        }
    }
}
