//! Words, spaces and strings.

use std::ops::Range;

use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::multispace0;
use nom::error::Error;

use super::Parser;
use crate::display::in_name;
use crate::problem::ProblemKind;

/// At most the first 40 characters of a text, on one line.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

/// A text, and how much of it is still to be read.
pub(crate) struct Tokens<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, rest: text }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    /// The place at which the rest begins.
    pub(crate) fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    pub(crate) fn next(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn after_space(&self) -> &'a str {
        multispace0::<_, Error<&str>>(self.rest).map_or(self.rest, |(rest, _)| rest)
    }

    pub(crate) fn skip_space(&mut self) {
        self.rest = self.after_space();
    }

    pub(super) fn next_after_space(&self) -> Option<char> {
        self.after_space().chars().next()
    }

    /// Takes this character, if it is the next.
    pub(super) fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The characters up to the first that a bare name cannot have; maybe none.
    pub(super) fn word(&mut self) -> &'a str {
        let (rest, word) = take_while::<_, _, Error<&str>>(in_name)(self.rest).unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }

    /// The word that is an argument's name, if one with its `=` is next. Nothing is taken otherwise.
    pub(super) fn argument(&mut self) -> Option<(&'a str, Range<usize>)> {
        let start = self.at();
        let (rest, word) = take_while1::<_, _, Error<&str>>(in_name)(self.rest).ok()?;
        let after = Tokens { text: self.text, rest };
        let span = start..after.at();
        self.rest = after.after_space().strip_prefix('=')?;
        Some((word, span))
    }

    /// Goes to the next of these characters that stands outside brackets and quotes, or to the end.
    pub(super) fn skip_until(&mut self, stops: &[char]) {
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
                    '[' | '(' => depth += 1,
                    ']' | ')' => depth = depth.saturating_sub(1),
                    _ => {}
                },
            }
        }
        self.rest = "";
    }

    /// What stands next, its place and in words.
    pub(super) fn found(&self) -> (Range<usize>, String) {
        let at = self.at();
        let word = self.rest.split(|c| !in_name(c)).next().unwrap_or("");
        match (word, self.next()) {
            (_, None) => (at..at, "the end".into()),
            ("", Some(c)) if c.is_control() => (at..at + c.len_utf8(), format!("`{}`", c.escape_default())),
            ("", Some(c)) => (at..at + c.len_utf8(), format!("`{c}`")),
            (word, _) => (at..at + word.len(), format!("`{}`", shortened(word))),
        }
    }
}

impl Parser<'_> {
    /// What a quoted string means; the next character is its quote. `None` if it has a problem, which is reported.
    pub(super) fn string(&mut self) -> Option<String> {
        let open = self.tokens.at();
        let quote = self.tokens.next()?;
        self.tokens.take(quote);
        let mut name = String::new();
        let mut sound = true;
        loop {
            let end = self.tokens.rest.find(['\\', quote]).unwrap_or(self.tokens.rest.len());
            name.push_str(&self.tokens.rest[..end]);
            self.tokens.rest = &self.tokens.rest[end..];
            if self.tokens.take(quote) {
                return sound.then_some(name);
            }
            if self.tokens.rest.is_empty() {
                self.unclosed(open, quote);
                return None;
            }
            match self.escape() {
                Some(meant) => name.push(meant),
                None => sound = false,
            }
        }
    }

    /// The character that an escape sequence means; the next character is the backslash.
    fn escape(&mut self) -> Option<char> {
        let start = self.tokens.at();
        self.tokens.take('\\');
        let kind = self.tokens.next()?;
        self.tokens.take(kind);
        let meant = match kind {
            'n' => Some('\n'),
            't' => Some('\t'),
            'r' => Some('\r'),
            '0' => Some('\0'),
            '\\' | '\'' | '"' => Some(kind),
            'x' => self.code_point(2),
            'u' => self.code_point(4),
            'U' => self.code_point(8),
            _ => None,
        };
        if meant.is_none() {
            let end = self.tokens.at();
            let escape = shortened(&self.tokens.text[start..end]);
            self.report(start..end, ProblemKind::BadEscape { escape });
        }
        meant
    }

    fn code_point(&mut self, width: usize) -> Option<char> {
        let digits = self.tokens.rest.get(..width)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.tokens.rest = &self.tokens.rest[width..];
        u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
    }
}
