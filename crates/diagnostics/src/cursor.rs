//! A left-to-right reader of small texts, on nom's parsers.

use std::ops::Range;

use nom::Parser;
use nom::bytes::complete::take_while;
use nom::character::complete::{char, multispace0};
use nom::error::Error;

use crate::shortened;

/// A text, the position in it, and the characters that bare words may contain.
///
/// It never goes back or looks further ahead than necessary, so a grammar that decides on the next character (or the
/// next word) takes time linear in the text.
///
/// ```
/// use burn_adapters_diagnostics::Cursor;
///
/// let mut cursor = Cursor::new("rank = 8", char::is_alphanumeric);
/// assert_eq!(cursor.word(), "rank");
/// cursor.skip_space();
/// assert!(cursor.take('='));
/// cursor.skip_space();
/// assert_eq!(cursor.found(), (7..8, "`8`".to_owned()));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    text: &'a str,
    rest: &'a str,
    in_word: fn(char) -> bool,
}

impl<'a> Cursor<'a> {
    /// A cursor at the start of a text.
    pub fn new(text: &'a str, in_word: fn(char) -> bool) -> Self {
        Self { text, rest: text, in_word }
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The rest of the text.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// The position, in bytes of the text.
    pub fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// Whether the whole text has been read.
    pub fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next character.
    pub fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// The next character that is not a space.
    pub fn peek_after_space(&self) -> Option<char> {
        let mut ahead = *self;
        ahead.skip_space();
        ahead.peek()
    }

    /// Runs one of nom's parsers here. Where it fails, nothing is read.
    ///
    /// ```
    /// use burn_adapters_diagnostics::Cursor;
    /// use nom::bytes::complete::tag;
    ///
    /// let mut cursor = Cursor::new("0x1f", char::is_alphanumeric);
    /// assert_eq!(cursor.read(tag("0X")), None);
    /// assert_eq!(cursor.read(tag("0x")), Some("0x"));
    /// assert_eq!(cursor.rest(), "1f");
    /// ```
    pub fn read<P: Parser<&'a str, Error = Error<&'a str>>>(&mut self, mut parser: P) -> Option<P::Output> {
        let (rest, output) = parser.parse(self.rest).ok()?;
        self.rest = rest;
        Some(output)
    }

    /// Skips spaces, tabs and line breaks.
    pub fn skip_space(&mut self) {
        self.read(multispace0);
    }

    /// Skips this many bytes, up to the next character boundary.
    pub fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[self.rest.ceil_char_boundary(bytes)..];
    }

    /// Reads the next character.
    pub fn advance(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.skip(next.len_utf8());
        Some(next)
    }

    /// Reads this character, if it is the next one.
    pub fn take(&mut self, wanted: char) -> bool {
        self.read(char(wanted)).is_some()
    }

    /// Reads the characters before the first unwanted one; possibly none.
    pub fn take_while(&mut self, mut wanted: impl FnMut(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Reads a bare word; possibly an empty one.
    pub fn word(&mut self) -> &'a str {
        let in_word = self.in_word;
        self.read(take_while(in_word)).unwrap_or_default()
    }

    /// Skips to the next of these characters outside brackets and quotes, or to the end. Parsing continues there after
    /// an error.
    pub fn skip_until(&mut self, stops: &[char]) {
        let mut depth = 0usize;
        let mut quote = None;
        let mut escaped = false;
        for (index, c) in self.rest.char_indices() {
            match quote {
                Some(_) if escaped => escaped = false,
                Some(_) if c == '\\' => escaped = true,
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if depth == 0 && stops.contains(&c) => {
                    self.rest = &self.rest[index..];
                    return;
                }
                None => match c {
                    '\'' | '"' => quote = Some(c),
                    '[' | '(' | '{' => depth += 1,
                    ']' | ')' | '}' => depth = depth.saturating_sub(1),
                    _ => {}
                },
            }
        }
        self.rest = "";
    }

    /// The next token, as a span and in words: a word, another single character, or the end.
    pub fn found(&self) -> (Range<usize>, String) {
        let at = self.at();
        let mut ahead = *self;
        match (ahead.word(), self.peek()) {
            (_, None) => (at..at, "the end".into()),
            ("", Some(c)) if c.is_control() => (at..at + c.len_utf8(), format!("`{}`", c.escape_default())),
            ("", Some(c)) => (at..at + c.len_utf8(), format!("`{c}`")),
            (word, _) => (at..at + word.len(), format!("`{}`", shortened(word))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(text: &str) -> Cursor<'_> {
        Cursor::new(text, |c| c.is_alphanumeric() || c == '_')
    }

    #[test]
    fn a_stop_counts_outside_brackets_and_quotes_only() {
        for (text, rest) in
            [("a, b", ", b"), ("f(a, b), c", ", c"), ("'a,\\',b', c", ", c"), ("[a, b", ""), ("a], b", ", b")]
        {
            let mut cursor = cursor(text);
            cursor.skip_until(&[',']);
            assert_eq!(cursor.rest(), rest, "{text}");
        }
    }

    #[test]
    fn what_stands_next_is_told_with_its_place() {
        assert_eq!(cursor("").found(), (0..0, "the end".into()));
        assert_eq!(cursor("ö_2 b").found(), (0..4, "`ö_2`".into()));
        assert_eq!(cursor("…").found(), (0..3, "`…`".into()));
        assert_eq!(cursor("\u{1b}[").found(), (0..1, "`\\u{1b}`".into()));
    }

    #[test]
    fn skipping_ends_on_a_character() {
        let mut cursor = cursor("öa");
        cursor.skip(1);
        assert_eq!((cursor.at(), cursor.rest()), (2, "a"));
        cursor.skip(9);
        assert!(cursor.is_at_end() && cursor.advance().is_none());
    }
}
