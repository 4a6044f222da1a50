//! Arguments and lists, and their interpretation.

use std::ops::Range;

use super::Parser;
use crate::Sizes;
use crate::display::{in_name, is_keyword};
use crate::problem::ProblemKind;
use burn_adapters_diagnostics::shortened;

/// A word or a string.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) quoted: bool,
    pub(crate) span: Range<usize>,
}

/// The text after `=`, or inside the brackets of a list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    One(Entry),
    List { entries: Vec<Entry>, span: Range<usize> },
}

impl Entry {
    pub(crate) fn is_word(&self, word: &str) -> bool {
        !self.quoted && self.text == word
    }

    fn is_none(&self) -> bool {
        self.is_word("None") || self.is_word("none")
    }

    fn found(&self) -> String {
        let text = shortened(&self.text);
        if self.quoted { format!("the string '{text}'") } else { format!("`{text}`") }
    }

    fn number(&self) -> Option<f64> {
        let digits = self.text.replace('_', "");
        let plain = !self.quoted && digits.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
        let number = if plain { digits.parse::<f64>().ok()? } else { return None };
        number.is_finite().then_some(number)
    }

    fn size(&self) -> Option<usize> {
        let digits = self.text.replace('_', "");
        let plain = !self.quoted && digits.chars().all(|c| c.is_ascii_digit());
        if plain { digits.parse().ok() } else { None }
    }
}

impl Value {
    pub(crate) fn span(&self) -> Range<usize> {
        match self {
            Self::One(entry) => entry.span.clone(),
            Self::List { span, .. } => span.clone(),
        }
    }

    /// The spans of the items, if it is a list.
    pub(crate) fn items(&self) -> Vec<Range<usize>> {
        match self {
            Self::One(_) => Vec::new(),
            Self::List { entries, .. } => entries.iter().map(|entry| entry.span.clone()).collect(),
        }
    }

    fn found(&self) -> String {
        match self {
            Self::One(entry) => entry.found(),
            Self::List { .. } => "a list".into(),
        }
    }
}

const SIZES: &str = "a whole number or a list of them";
const WEIGHTS: &str = "a list of numbers, or None";
const ITEMS_OF_SIZES: &str = "a list of whole numbers";
const ITEMS_OF_WEIGHTS: &str = "a list of finite numbers";

/// Parsing of arguments.
impl Parser<'_> {
    /// A word, a string, or a list; `None` if there is none, which is reported.
    pub(super) fn value(&mut self) -> Option<Value> {
        self.cursor.skip_space();
        if self.cursor.peek() != Some('[') {
            return self.entry("a value").map(Value::One);
        }
        self.list().map(|(entries, span)| Value::List { entries, span })
    }

    fn entry(&mut self, expected: &'static str) -> Option<Entry> {
        let start = self.cursor.at();
        let (text, quoted) = match self.cursor.peek() {
            Some('\'' | '"') => (self.string()?, true),
            Some(c) if in_name(c) => (self.cursor.word().to_owned(), false),
            _ => {
                self.expected(expected);
                return None;
            }
        };
        Some(Entry { text, quoted, span: start..self.cursor.at() })
    }

    /// A list of words and strings; the next character is its bracket. Items with a problem are reported and left out.
    pub(crate) fn list(&mut self) -> Option<(Vec<Entry>, Range<usize>)> {
        let open = self.cursor.at();
        self.cursor.take('[');
        let mut entries = Vec::new();
        loop {
            self.cursor.skip_space();
            if self.cursor.take(']') {
                return Some((entries, open..self.cursor.at()));
            }
            // A `)` closes the enclosing block: the bracket of the list is missing.
            if matches!(self.cursor.peek(), None | Some(')')) || self.full() {
                self.unclosed(open, '[');
                return None;
            }
            match self.entry("a number or a name") {
                Some(entry) => entries.push(entry),
                None => self.cursor.skip_until(&[',', ']', ')']),
            }
            self.cursor.skip_space();
            if !self.cursor.take(',') && !matches!(self.cursor.peek(), None | Some(']' | ')')) {
                self.expected("`,` or `]`");
                self.cursor.skip_until(&[',', ']', ')']);
                self.cursor.take(',');
            }
        }
    }

    fn wrong_type(&mut self, argument: &'static str, expected: &'static str, span: Range<usize>, found: String) {
        self.report(span, ProblemKind::WrongType { argument, expected, found });
    }

    /// The sizes of `parts` parts.
    pub(crate) fn sizes(&mut self, argument: &'static str, value: &Value, parts: usize) -> Vec<usize> {
        match value {
            Value::One(entry) => match entry.size() {
                Some(size) => return Sizes::Each(size).for_parts(parts),
                None => self.wrong_type(argument, SIZES, entry.span.clone(), entry.found()),
            },
            Value::List { entries, .. } => {
                let mut sizes = Vec::with_capacity(entries.len());
                for entry in entries {
                    match entry.size() {
                        Some(size) => sizes.push(size),
                        None => self.wrong_type(argument, ITEMS_OF_SIZES, entry.span.clone(), entry.found()),
                    }
                }
                return sizes;
            }
        }
        Vec::new()
    }

    /// Weights; `None` for the word `None`.
    pub(super) fn weights(&mut self, value: &Value) -> Option<Vec<f64>> {
        let Value::List { entries, .. } = value else {
            if !matches!(value, Value::One(entry) if entry.is_none()) {
                self.wrong_type("weights", WEIGHTS, value.span(), value.found());
            }
            return None;
        };
        let mut weights = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry.number() {
                Some(weight) => weights.push(weight),
                None => self.wrong_type("weights", ITEMS_OF_WEIGHTS, entry.span.clone(), entry.found()),
            }
        }
        Some(weights)
    }

    /// `True` or `False`.
    pub(super) fn truth(&mut self, argument: &'static str, value: &Value) -> bool {
        match value {
            Value::One(entry) if entry.is_word("True") || entry.is_word("true") => return true,
            Value::One(entry) if entry.is_word("False") || entry.is_word("false") => return false,
            _ => self.wrong_type(argument, "True or False", value.span(), value.found()),
        }
        false
    }

    /// A name; `None` for the word `None`.
    pub(super) fn name(&mut self, argument: &'static str, value: Value) -> Option<String> {
        match value {
            Value::One(entry) if entry.is_none() => None,
            Value::One(entry) => {
                self.check_keyword(&entry);
                Some(entry.text)
            }
            Value::List { .. } => {
                self.wrong_type(argument, "a name", value.span(), value.found());
                None
            }
        }
    }

    /// The entries as names.
    pub(crate) fn names(&mut self, entries: Vec<Entry>) -> Vec<String> {
        entries.iter().for_each(|entry| self.check_keyword(entry));
        entries.into_iter().map(|entry| entry.text).collect()
    }

    /// The entries as rows of a route: names, or `none`.
    pub(super) fn rows(&mut self, entries: Vec<Entry>) -> Vec<Option<String>> {
        let row = |entry: Entry| {
            if entry.is_none() {
                return None;
            }
            self.check_keyword(&entry);
            Some(entry.text)
        };
        entries.into_iter().map(row).collect()
    }

    fn check_keyword(&mut self, entry: &Entry) {
        if !entry.quoted && is_keyword(&entry.text) {
            self.report(entry.span.clone(), ProblemKind::Keyword { word: entry.text.clone() });
        }
    }
}
