//! Values: Python's literals.

use std::ops::Range;

use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, multispace0, one_of};
use nom::error::{ErrorKind, ParseError};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::DEPTH_LIMIT;
use crate::error::Problem;
use crate::literal::{Entry, Literal, Node, shortened};
use crate::problem::ProblemKind;

/// Why a value cannot be read. (nom's own errors never reach the outside: each choice is made on a character seen.)
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) problem: Problem,
}

impl ParseError<&str> for Failure {
    fn from_error_kind(_: &str, _: ErrorKind) -> Self {
        Self { problem: Problem::new(0..0, ProblemKind::Empty) }
    }

    fn append(_: &str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

type Read<'a, T> = IResult<&'a str, T, Failure>;

/// Reads values of one text. It knows the text's length, which turns what is left to read into a place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    length: usize,
}

/// What stands at the head of this text, in words.
pub(super) fn found(text: &str) -> String {
    let word: &str = text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
    match (word, text.chars().next()) {
        (_, None) => "the end".into(),
        ("", Some(c)) => format!("`{c}`"),
        (word, _) => format!("`{}`", shortened(word)),
    }
}

fn fail<T>(span: Range<usize>, kind: ProblemKind) -> Result<T, nom::Err<Failure>> {
    Err(nom::Err::Failure(Failure { problem: Problem::new(span, kind) }))
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn space(text: &str) -> Read<'_, &str> {
    multispace0(text)
}

impl Reader {
    pub(super) fn new(text: &str) -> Self {
        Self { length: text.len() }
    }

    /// The place at which `rest` begins.
    pub(super) fn at(&self, rest: &str) -> usize {
        self.length - rest.len()
    }

    fn expected<'a, T>(&self, text: &'a str, expected: &'static str) -> Read<'a, T> {
        let at = self.at(text);
        let width = text.chars().next().map_or(0, char::len_utf8);
        fail(at..at + width, ProblemKind::Expected { expected, found: found(text) })
    }

    /// `key=value`, or `'key': value`.
    pub(super) fn entry<'a>(&self, text: &'a str, depth: usize) -> Read<'a, Entry> {
        let start = self.at(text);
        let (rest, key) = match text.chars().next() {
            Some('\'' | '"') => self.string(text)?,
            Some(c) if in_word(c) => {
                let (rest, word) = take_while1(in_word)(text)?;
                (rest, word.to_owned())
            }
            _ => return self.expected(text, "a key"),
        };
        let key_span = start..self.at(rest);
        let (rest, _) = space(rest)?;
        if !rest.starts_with(['=', ':']) {
            return self.expected(rest, "`=` after the key");
        }
        let (rest, _) = preceded(one_of("=:"), space).parse(rest)?;
        let (rest, value) = self.value(rest, depth)?;
        Ok((rest, Entry { key, key_span, value }))
    }

    pub(super) fn value<'a>(&self, text: &'a str, depth: usize) -> Read<'a, Node> {
        let start = self.at(text);
        let (rest, literal) = match text.chars().next() {
            Some('\'' | '"') => self.strings(text)?,
            Some(c @ ('[' | '(' | '{')) => {
                if depth >= DEPTH_LIMIT {
                    return fail(start..start + 1, ProblemKind::TooDeep { limit: DEPTH_LIMIT });
                }
                match c {
                    '{' => self.map(text, depth + 1)?,
                    '[' => self.list(text, depth + 1)?,
                    _ => self.tuple(text, depth + 1)?,
                }
            }
            Some(c) if c.is_ascii_digit() || "+-.".contains(c) => self.number(text)?,
            Some(c) if in_word(c) => self.word(text)?,
            _ => return self.expected(text, "a value"),
        };
        Ok((rest, Node { span: start..self.at(rest), literal }))
    }

    fn word<'a>(&self, text: &'a str) -> Read<'a, Literal> {
        let start = self.at(text);
        let (rest, word) = take_while1(in_word)(text)?;
        let literal = match word {
            "None" | "null" => Literal::None,
            "True" | "true" => Literal::Bool(true),
            "False" | "false" => Literal::Bool(false),
            "r" | "R" | "u" | "U" if rest.starts_with(['\'', '"']) => return self.strings(text),
            _ => return fail(start..self.at(rest), ProblemKind::Unquoted { word: shortened(word) }),
        };
        Ok((rest, literal))
    }

    fn number<'a>(&self, text: &'a str) -> Read<'a, Literal> {
        let start = self.at(text);
        let (rest, sign) = match text.strip_prefix(['+', '-']) {
            Some(rest) => (space(rest)?.0, &text[..1]),
            None => (text, ""),
        };
        let hexadecimal = rest.starts_with("0x") || rest.starts_with("0X");
        let before = std::cell::Cell::new(' ');
        let (rest, digits) = take_while(|c: char| {
            let exponent_sign = "+-".contains(c) && "eE".contains(before.replace(c)) && !hexadecimal;
            before.set(c);
            in_word(c) || c == '.' || exponent_sign
        })(rest)?;
        match number(sign == "-", digits) {
            Some(literal) => Ok((rest, literal)),
            None => fail(start..self.at(rest), ProblemKind::BadNumber { text: shortened(&format!("{sign}{digits}")) }),
        }
    }

    /// The items up to the closing bracket, which is read too. The flag says whether a comma ended the last item.
    fn items<'a, T>(
        &self,
        text: &'a str,
        close: char,
        mut item: impl FnMut(&'a str) -> Read<'a, T>,
    ) -> Read<'a, (Vec<T>, bool)> {
        let open = self.at(text);
        let unclosed = || fail(open..open + 1, ProblemKind::Unclosed { opener: text[..1].into() });
        let expected = match close {
            ']' => "`,` or `]`",
            ')' => "`,` or `)`",
            _ => "`,` or `}`",
        };
        let mut items = Vec::new();
        let mut comma = false;
        let mut rest = &text[1..];
        loop {
            rest = space(rest)?.0;
            if let Some(rest) = rest.strip_prefix(close) {
                return Ok((rest, (items, comma)));
            }
            if rest.is_empty() {
                return unclosed();
            }
            let (after, read) = item(rest)?;
            items.push(read);
            rest = space(after)?.0;
            comma = rest.starts_with(',');
            if comma {
                rest = &rest[1..];
            } else if rest.is_empty() {
                return unclosed();
            } else if !rest.starts_with(close) {
                return self.expected(rest, expected);
            }
        }
    }

    fn list<'a>(&self, text: &'a str, depth: usize) -> Read<'a, Literal> {
        let (rest, (items, _)) = self.items(text, ']', |item| self.value(item, depth))?;
        Ok((rest, Literal::List(items)))
    }

    /// `(1, 2)` is a list; `(1)` is 1.
    fn tuple<'a>(&self, text: &'a str, depth: usize) -> Read<'a, Literal> {
        let (rest, (mut items, comma)) = self.items(text, ')', |item| self.value(item, depth))?;
        let literal = match items.pop() {
            Some(only) if items.is_empty() && !comma => only.literal,
            last => {
                items.extend(last);
                Literal::List(items)
            }
        };
        Ok((rest, literal))
    }

    fn map<'a>(&self, text: &'a str, depth: usize) -> Read<'a, Literal> {
        let (rest, (entries, _)) = self.items(text, '}', |entry| self.entry(entry, depth))?;
        Ok((rest, Literal::Map(entries)))
    }

    /// Strings that stand side by side are one, as in Python.
    fn strings<'a>(&self, text: &'a str) -> Read<'a, Literal> {
        let (mut rest, mut whole) = self.string(text)?;
        loop {
            let (next, _) = space(rest)?;
            let prefixed = next.starts_with(['r', 'R', 'u', 'U']) && next[1..].starts_with(['\'', '"']);
            if !prefixed && !next.starts_with(['\'', '"']) {
                return Ok((rest, Literal::Str(whole)));
            }
            let (after, more) = self.string(next)?;
            whole.push_str(&more);
            rest = after;
        }
    }

    fn string<'a>(&self, text: &'a str) -> Read<'a, String> {
        let start = self.at(text);
        let raw = text.starts_with(['r', 'R']);
        let text = text.trim_start_matches(['r', 'R', 'u', 'U']);
        let single: &str = if text.starts_with('\'') { "'" } else { "\"" };
        let triple = single.repeat(3);
        let opened: Read<'a, &str> = tag(triple.as_str())(text);
        let (mut rest, quote) = match opened {
            Ok((rest, quote)) => (rest, quote),
            Err(_) => tag(single)(text)?,
        };
        let mut whole = String::new();
        loop {
            let (after, plain) = take_while(|c: char| c != '\\' && !single.contains(c))(rest)?;
            whole.push_str(plain);
            rest = after;
            if let Some(rest) = rest.strip_prefix(quote) {
                return Ok((rest, whole));
            }
            if rest.starts_with(single) {
                // One quote inside triple quotes.
                whole.push_str(single);
                rest = &rest[1..];
            } else if rest.starts_with('\\') && !raw {
                let (after, meant) = self.escape(rest)?;
                whole.extend(meant);
                rest = after;
            } else if rest.starts_with('\\') {
                let width = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                whole.push_str(&rest[..width]);
                rest = &rest[width..];
            } else {
                return fail(start..start + 1, ProblemKind::Unclosed { opener: quote.to_owned() });
            }
        }
    }

    /// The one or two characters that an escape sequence means; none for an escaped line break.
    fn escape<'a>(&self, text: &'a str) -> Read<'a, Vec<char>> {
        let (rest, _) = char('\\')(text)?;
        let Some(kind) = rest.chars().next() else {
            return Ok((rest, Vec::new()));
        };
        let after = &rest[kind.len_utf8()..];
        let one = |c: char| Ok((after, vec![c]));
        match kind {
            'n' => one('\n'),
            't' => one('\t'),
            'r' => one('\r'),
            'a' => one('\u{7}'),
            'b' => one('\u{8}'),
            'f' => one('\u{c}'),
            'v' => one('\u{b}'),
            '\\' | '\'' | '"' | '/' => one(kind),
            '\n' => Ok((after, Vec::new())),
            '0'..='7' => {
                let digits = rest.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
                let code = u32::from_str_radix(&rest[..digits], 8).ok().and_then(char::from_u32);
                Ok((&rest[digits..], code.into_iter().collect()))
            }
            'x' => self.code_point(text, after, 2),
            'u' => self.code_point(text, after, 4),
            'U' => self.code_point(text, after, 8),
            'N' => self.bad_escape(text, 2),
            // Python keeps the backslash of what is no escape.
            _ => Ok((after, vec!['\\', kind])),
        }
    }

    fn bad_escape<'a, T>(&self, text: &'a str, width: usize) -> Read<'a, T> {
        let escape: String = text.chars().take(width).collect();
        let at = self.at(text);
        fail(at..at + escape.len(), ProblemKind::BadEscape { escape })
    }

    /// The character of a hexadecimal code; two codes where the first is half of a surrogate pair.
    fn code_point<'a>(&self, text: &'a str, digits: &'a str, width: usize) -> Read<'a, Vec<char>> {
        let Some(high) = hexadecimal(digits, width) else {
            return self.bad_escape(text, 2 + width);
        };
        let rest = &digits[width..];
        if let Some(c) = char::from_u32(high) {
            return Ok((rest, vec![c]));
        }
        let low = rest.strip_prefix("\\u").and_then(|digits| hexadecimal(digits, 4));
        let pair = low.and_then(|low| char::decode_utf16([high as u16, low as u16]).next()?.ok());
        match pair {
            Some(c) if (0xd800..0xdc00).contains(&high) => Ok((&rest[6..], vec![c])),
            _ => self.bad_escape(text, 2 + width),
        }
    }
}

fn hexadecimal(text: &str, width: usize) -> Option<u32> {
    let digits = text.get(..width)?;
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}

fn number(negative: bool, digits: &str) -> Option<Literal> {
    let underscores_between_digits = digits.split('_').all(|group| !group.is_empty());
    if !underscores_between_digits {
        return None;
    }
    let digits = digits.replace('_', "");
    let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    let integer = match radix {
        Some(radix) => Some(i128::from_str_radix(&digits[2..], radix).ok()?),
        None if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse::<i128>().ok(),
        None => None,
    };
    if let Some(integer) = integer {
        return Some(Literal::Int(if negative { -integer } else { integer }));
    }
    // Not the words that Rust reads as numbers ("inf"): there is a digit.
    if !digits.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<f64>().ok()?;
    Some(Literal::Float(if negative { -number } else { number }))
}
