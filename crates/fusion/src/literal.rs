//! Values as they stand in a configuration string or a JSON text, with their places.

use std::ops::Range;

use crate::{FusionConfigError, FusionProblem};

const DEPTH_LIMIT: usize = 32;

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) literal: Literal,
}

/// A value; what stands in lists does not matter here.
#[derive(Debug)]
pub(crate) enum Literal {
    None,
    Bool(bool),
    Number(f64),
    Str(String),
    List,
    Map(Vec<Entry>),
}

/// `key=value`, or `'key': value`.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Literal {
    /// The value in words, for an error.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::None => "None".into(),
            Self::Bool(true) => "True".into(),
            Self::Bool(false) => "False".into(),
            Self::Number(number) => format!("the number {number}"),
            Self::Str(text) => format!("the string '{}'", shortened(text)),
            Self::List => "a list".into(),
            Self::Map(_) => "a map".into(),
        }
    }
}

/// At most the first 40 characters of a text, on one line.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    let mut short: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        short.push('…');
    }
    short
}

type Read<T> = Result<T, FusionConfigError>;

/// Reads a text from its beginning. Every choice is made on the next character.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn skip_space(&mut self) {
        self.take(char::is_whitespace);
    }

    /// The characters up to the first that is not wanted.
    pub(crate) fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !wanted(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    pub(crate) fn fail<T>(&self, span: Range<usize>, kind: FusionProblem) -> Read<T> {
        Err(FusionConfigError::new(self.text, span, kind))
    }

    pub(crate) fn expected<T>(&self, expected: &'static str) -> Read<T> {
        let found = self.peek().map_or("the end".into(), |c| format!("`{c}`"));
        let width = self.peek().map_or(0, char::len_utf8);
        self.fail(self.at..self.at + width, FusionProblem::Expected { expected, found })
    }

    /// Nothing but space is left.
    pub(crate) fn end(&mut self) -> Read<()> {
        self.skip_space();
        if self.rest().is_empty() { Ok(()) } else { self.expected("the end of the configuration") }
    }

    /// The items from the opening bracket, at which the reader stands, to the closing one.
    fn items<T>(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let open = self.at;
        let opener = self.peek().unwrap_or(close);
        self.at += opener.len_utf8();
        let mut items = Vec::new();
        loop {
            self.skip_space();
            if self.peek() == Some(close) {
                self.at += 1;
                return Ok(items);
            }
            if self.peek().is_none() {
                return self.fail(open..open + 1, FusionProblem::Unclosed { opener });
            }
            items.push(item(self)?);
            self.skip_space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(c) if c == close => {}
                None => {}
                Some(_) if close == ']' => return self.expected("`,` or `]`"),
                Some(_) => return self.expected("`,` or `}`"),
            }
        }
    }

    /// The entries in brackets, up to the closing one.
    pub(crate) fn entries(&mut self, close: char, depth: usize) -> Read<Vec<Entry>> {
        self.items(close, |reader| reader.entry(depth))
    }

    fn entry(&mut self, depth: usize) -> Read<Entry> {
        let start = self.at;
        let key = match self.peek() {
            Some('\'' | '"') => self.string()?,
            Some(c) if in_word(c) => self.take(in_word).to_owned(),
            _ => return self.expected("a key"),
        };
        let key_span = start..self.at;
        self.skip_space();
        if !matches!(self.peek(), Some('=' | ':')) {
            return self.expected("`=` after the key");
        }
        self.at += 1;
        self.skip_space();
        Ok(Entry { key, key_span, value: self.value(depth)? })
    }

    pub(crate) fn value(&mut self, depth: usize) -> Read<Node> {
        let start = self.at;
        let literal = match self.peek() {
            Some('[' | '{') if depth >= DEPTH_LIMIT => {
                return self.fail(start..start + 1, FusionProblem::TooDeep { limit: DEPTH_LIMIT });
            }
            Some('[') => {
                self.items(']', |reader| reader.value(depth + 1))?;
                Literal::List
            }
            Some('{') => Literal::Map(self.entries('}', depth + 1)?),
            Some('\'' | '"') => Literal::Str(self.string()?),
            Some(c) if in_word(c) || "+-.".contains(c) => self.word()?,
            _ => return self.expected("a value"),
        };
        Ok(Node { span: start..self.at, literal })
    }

    fn word(&mut self) -> Read<Literal> {
        let start = self.at;
        let word = self.take(|c| in_word(c) || "+-.".contains(c));
        let number = || word.parse::<f64>().ok().filter(|number| number.is_finite());
        match word {
            "None" | "null" => Ok(Literal::None),
            "True" | "true" => Ok(Literal::Bool(true)),
            "False" | "false" => Ok(Literal::Bool(false)),
            _ => match number() {
                Some(number) => Ok(Literal::Number(number)),
                None => {
                    let (expected, found) = ("True, False, None or a number", format!("`{}`", shortened(word)));
                    self.fail(start..self.at, FusionProblem::Expected { expected, found })
                }
            },
        }
    }

    fn string(&mut self) -> Read<String> {
        let start = self.at;
        let mut chars = self.rest().char_indices();
        let opener = chars.next().map_or('"', |(_, c)| c);
        let mut whole = String::new();
        while let Some((index, c)) = chars.next() {
            if c == opener {
                self.at += index + 1;
                // JSON's own escapes, where it is JSON.
                return Ok(serde_json::from_str(&self.text[start..self.at]).unwrap_or(whole));
            }
            let meant = if c == '\\' { chars.next().map(|(_, c)| c) } else { Some(c) };
            whole.extend(meant);
        }
        self.fail(start..start + 1, FusionProblem::Unclosed { opener })
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
