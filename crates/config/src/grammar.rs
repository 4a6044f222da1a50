//! The grammar of configuration strings, and of the values in them.
//!
//! ```text
//! config   = member { "|" member }
//! member   = name [ "[" [ entry { "," entry } [ "," ] ] "]" ]
//! entry    = key ( "=" | ":" ) value          key = word | string | integer
//! value    = none | true | false | number | string { string } | list | tuple | map
//! ```
//!
//! The reference hands what stands in the brackets to Python's literal parser, so values are Python's literals:
//! both quotes, triple quotes, escapes, `1_000`, `0x10`, `1e-3`, trailing commas. JSON's `true`, `false` and `null` are
//! taken too, which makes JSON a subset of `value`.
//!
//! Every choice is made on the next character, so reading takes time linear in the text. After an error, reading goes
//! on at the next `,` or `|` outside brackets and quotes.

mod value;

use std::ops::Range;

use nom::bytes::complete::take_while;
use nom::character::complete::multispace0;

use crate::error::Problem;
use crate::literal::{Entry, Node};
use crate::problem::ProblemKind;
use value::{Failure, Reader, found};

/// Reading stops after this many problems: nobody reads more, and each costs time.
pub(crate) const MOST_PROBLEMS: usize = 20;

/// The longest text of a configuration, in bytes.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The most methods of a union: pairs of them are compared.
pub(crate) const MOST_METHODS: usize = 64;

/// Brackets may be nested this deep.
pub(crate) const DEPTH_LIMIT: usize = 32;

/// One method of a configuration string, as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub(crate) span: Range<usize>,
    pub(crate) name: String,
    pub(crate) name_span: Range<usize>,
    pub(crate) entries: Vec<Entry>,
}

/// Reads a configuration string. Members with a syntax error come without the entries that could not be read.
pub(crate) fn members(text: &str) -> (Vec<Member>, Vec<Problem>) {
    let mut parser = Parser { reader: Reader::new(text), rest: text, problems: Vec::new() };
    let members = parser.members();
    (members, parser.problems)
}

/// Reads one value, such as a JSON text, that fills the whole text.
pub(crate) fn value(text: &str) -> Result<Node, Problem> {
    let reader = Reader::new(text);
    let problem = |failure: nom::Err<Failure>| match failure {
        nom::Err::Error(failure) | nom::Err::Failure(failure) => failure.problem,
        nom::Err::Incomplete(_) => Problem::new(text.len()..text.len(), ProblemKind::Empty),
    };
    let (rest, node) = reader.value(skip_space(text), 0).map_err(problem)?;
    let rest = skip_space(rest);
    if rest.is_empty() {
        return Ok(node);
    }
    let at = reader.at(rest);
    Err(Problem::new(at..text.len(), ProblemKind::TrailingText { found: found(rest) }))
}

fn skip_space(text: &str) -> &str {
    let skipped: nom::IResult<&str, &str> = multispace0(text);
    skipped.map_or(text, |(rest, _)| rest)
}

/// A character that can stand in a method's name.
fn in_name(c: char) -> bool {
    !c.is_whitespace() && !"[]|,={}()'\"".contains(c)
}

struct Parser<'a> {
    reader: Reader,
    rest: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Parser<'a> {
    fn at(&self) -> usize {
        self.reader.at(self.rest)
    }

    fn skip_space(&mut self) {
        self.rest = skip_space(self.rest);
    }

    fn report(&mut self, span: Range<usize>, kind: ProblemKind) {
        self.problems.push(Problem::new(span, kind));
    }

    fn full(&self) -> bool {
        self.problems.len() >= MOST_PROBLEMS
    }

    fn members(&mut self) -> Vec<Member> {
        let mut members = Vec::new();
        self.skip_space();
        if self.rest.is_empty() {
            let end = self.at();
            self.report(0..end, ProblemKind::Empty);
            return members;
        }
        while !self.full() {
            if members.len() == MOST_METHODS {
                let at = self.at();
                self.report(at..at, ProblemKind::TooManyMethods { limit: MOST_METHODS });
                break;
            }
            members.extend(self.member());
            self.skip_space();
            if !self.rest.is_empty() && !self.rest.starts_with('|') && !self.full() {
                let (start, from) = (self.at(), self.rest);
                self.rest = skip_until(self.rest, &['|']);
                let end = start + from[..from.len() - self.rest.len()].trim_end().len();
                // One report is enough for a member that is already known to be broken there.
                self.report(start..end, ProblemKind::TrailingText { found: found(from) });
            }
            match self.rest.strip_prefix('|') {
                Some(rest) => self.rest = rest,
                None => break,
            }
        }
        members
    }

    fn member(&mut self) -> Option<Member> {
        self.skip_space();
        let start = self.at();
        let taken: nom::IResult<&str, &str> = take_while(in_name)(self.rest);
        let (rest, name) = taken.unwrap_or((self.rest, ""));
        if name.is_empty() {
            let end = start + self.rest.chars().next().map_or(0, char::len_utf8);
            let kind = ProblemKind::Expected { expected: "the name of a method", found: found(self.rest) };
            self.report(start..end, kind);
            self.rest = skip_until(self.rest, &['|']);
            return None;
        }
        self.rest = rest;
        let name_span = start..self.at();
        let mut end = name_span.end;
        self.skip_space();
        let mut entries = Vec::new();
        if self.rest.starts_with('[') {
            entries = self.entries();
            end = self.at();
        }
        Some(Member { span: start..end, name: name.to_owned(), name_span, entries })
    }

    /// What stands in the brackets, from the opening one to the closing one.
    fn entries(&mut self) -> Vec<Entry> {
        let open = self.at();
        let before = self.problems.len();
        self.rest = &self.rest[1..];
        let mut entries = Vec::new();
        loop {
            self.skip_space();
            if let Some(rest) = self.rest.strip_prefix(']') {
                self.rest = rest;
                return entries;
            }
            if self.rest.is_empty() || self.rest.starts_with('|') || self.full() {
                if self.problems.len() == before {
                    self.report(open..open + 1, ProblemKind::Unclosed { opener: "[".into() });
                }
                return entries;
            }
            let start = self.rest;
            match self.reader.entry(start, 0) {
                Ok((rest, entry)) => {
                    self.rest = rest;
                    entries.push(entry);
                }
                Err(nom::Err::Error(failure) | nom::Err::Failure(failure)) => {
                    let unclosed = matches!(failure.problem.kind, ProblemKind::Unclosed { .. });
                    self.problems.push(failure.problem);
                    self.rest = if unclosed { "" } else { skip_until(start, &[',', ']']) };
                }
                Err(nom::Err::Incomplete(_)) => self.rest = "",
            }
            self.skip_space();
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else if !self.rest.is_empty() && !self.rest.starts_with([']', '|']) {
                let at = self.at();
                let width = self.rest.chars().next().map_or(0, char::len_utf8);
                let kind = ProblemKind::Expected { expected: "`,` or `]`", found: found(self.rest) };
                self.report(at..at + width, kind);
                self.rest = skip_until(self.rest, &[',', ']']);
                self.rest = self.rest.strip_prefix(',').unwrap_or(self.rest);
            }
        }
    }
}

/// The rest from the next of these characters that stands outside brackets and quotes, or nothing.
fn skip_until<'a>(text: &'a str, stops: &[char]) -> &'a str {
    let mut depth = 0usize;
    let mut quote = None;
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if depth == 0 && stops.contains(&c) => return &text[index..],
            None => match c {
                '\'' | '"' => quote = Some(c),
                '[' | '(' | '{' => depth += 1,
                ']' | ')' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
    }
    ""
}
