//! Argument names and strings.

use std::ops::Range;

use burn_adapters_diagnostics::shortened;

use super::Parser;
use crate::problem::ProblemKind;

impl<'a> Parser<'a> {
    /// The name of an argument, if a name and its `=` come next. Otherwise nothing is consumed.
    pub(super) fn argument(&mut self) -> Option<(&'a str, Range<usize>)> {
        let mut ahead = self.cursor;
        let start = ahead.at();
        let word = ahead.word();
        let span = start..ahead.at();
        ahead.skip_space();
        if word.is_empty() || !ahead.take('=') {
            return None;
        }
        self.cursor = ahead;
        Some((word, span))
    }

    /// The value of a quoted string; the next character is its quote. `None` if it has a problem, which is reported.
    pub(super) fn string(&mut self) -> Option<String> {
        let open = self.cursor.at();
        let quote = self.cursor.advance()?;
        let mut name = String::new();
        let mut sound = true;
        loop {
            name.push_str(self.cursor.take_while(|c| c != '\\' && c != quote));
            if self.cursor.take(quote) {
                return sound.then_some(name);
            }
            if self.cursor.is_at_end() {
                self.unclosed(open, quote);
                return None;
            }
            match self.escape() {
                Some(meant) => name.push(meant),
                None => sound = false,
            }
        }
    }

    /// The character of an escape sequence; the next character is the backslash.
    fn escape(&mut self) -> Option<char> {
        let start = self.cursor.at();
        self.cursor.take('\\');
        let kind = self.cursor.advance()?;
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
            let end = self.cursor.at();
            let escape = shortened(&self.cursor.text()[start..end]);
            self.report(start..end, ProblemKind::BadEscape { escape });
        }
        meant
    }

    fn code_point(&mut self, width: usize) -> Option<char> {
        let digits = self.cursor.rest().get(..width)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        self.cursor.skip(width);
        u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)
    }
}
