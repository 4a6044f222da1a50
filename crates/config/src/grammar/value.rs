//! Values: Python's literals.

use std::ops::Range;

use burn_adapters_diagnostics::{Cursor, shortened};
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case};

use super::{DEPTH_LIMIT, in_word};
use crate::literal::{Entry, Literal, Node};
use crate::problem::Problem;
use crate::problem::ProblemKind;

/// The result, or the problem: a value with a problem is not parsed further.
pub(super) type Read<T> = Result<T, Problem>;

fn fail<T>(span: Range<usize>, kind: ProblemKind) -> Read<T> {
    Err(Problem::new(span, kind))
}

/// The problem that something else was expected at the next character.
pub(super) fn expected(cursor: &Cursor<'_>, expected: &'static str) -> Problem {
    let (span, found) = cursor.found();
    Problem::new(span, ProblemKind::Expected { expected, found })
}

fn is_quote(c: char) -> bool {
    matches!(c, '\'' | '"')
}

/// `key=value`, or `'key': value`.
pub(super) fn entry(cursor: &mut Cursor<'_>, depth: usize) -> Read<Entry> {
    let start = cursor.at();
    let key = match cursor.peek() {
        Some(c) if is_quote(c) => string(cursor)?,
        Some(c) if in_word(c) => cursor.word().to_owned(),
        _ => return Err(expected(cursor, "a key")),
    };
    let key_span = start..cursor.at();
    cursor.skip_space();
    if !cursor.take('=') && !cursor.take(':') {
        return Err(expected(cursor, "`=` after the key"));
    }
    cursor.skip_space();
    Ok(Entry { key, key_span, value: value(cursor, depth)? })
}

/// A value; the next character is its first one.
pub(super) fn value(cursor: &mut Cursor<'_>, depth: usize) -> Read<Node> {
    let start = cursor.at();
    let literal = match cursor.peek() {
        Some(c) if is_quote(c) => strings(cursor)?,
        Some('[' | '(' | '{') if depth >= DEPTH_LIMIT => {
            return fail(start..start + 1, ProblemKind::TooDeep { limit: DEPTH_LIMIT });
        }
        Some('[') => Literal::List(items(cursor, ']', |cursor| value(cursor, depth + 1))?.0),
        Some('(') => tuple(cursor, depth + 1)?,
        Some('{') => Literal::Map(items(cursor, '}', |cursor| entry(cursor, depth + 1))?.0),
        Some(c) if c.is_ascii_digit() || "+-.".contains(c) => number(cursor)?,
        Some(c) if in_word(c) => word(cursor)?,
        _ => return Err(expected(cursor, "a value")),
    };
    Ok(Node { span: start..cursor.at(), literal })
}

fn word(cursor: &mut Cursor<'_>) -> Read<Literal> {
    let before = *cursor;
    match cursor.word() {
        "None" | "null" => Ok(Literal::None),
        "True" | "true" => Ok(Literal::Bool(true)),
        "False" | "false" => Ok(Literal::Bool(false)),
        "r" | "R" | "u" | "U" if cursor.peek().is_some_and(is_quote) => {
            *cursor = before;
            strings(cursor)
        }
        word => fail(before.at()..cursor.at(), ProblemKind::Unquoted { word: shortened(word) }),
    }
}

fn number(cursor: &mut Cursor<'_>) -> Read<Literal> {
    let start = cursor.at();
    let negative = cursor.peek() == Some('-');
    let sign = if cursor.take('-') || cursor.take('+') { &cursor.text()[start..start + 1] } else { "" };
    if !sign.is_empty() {
        cursor.skip_space();
    }
    let mut ahead = *cursor;
    let hexadecimal = ahead.read(tag_no_case("0x")).is_some();
    let mut before = ' ';
    let digits = cursor.take_while(|c| {
        let exponent_sign = "+-".contains(c) && "eE".contains(before) && !hexadecimal;
        before = c;
        in_word(c) || c == '.' || exponent_sign
    });
    match parse_number(negative, digits) {
        Some(literal) => Ok(literal),
        None => fail(start..cursor.at(), ProblemKind::BadNumber { text: shortened(&format!("{sign}{digits}")) }),
    }
}

/// The items up to and including the closing bracket. The flag says whether a comma follows the last item.
fn items<T>(
    cursor: &mut Cursor<'_>,
    close: char,
    mut item: impl FnMut(&mut Cursor<'_>) -> Read<T>,
) -> Read<(Vec<T>, bool)> {
    let open = cursor.at();
    let opener = cursor.advance();
    let unclosed = || fail(open..open + 1, ProblemKind::Unclosed { opener: opener.into_iter().collect() });
    let mut items = Vec::new();
    let mut comma = false;
    loop {
        cursor.skip_space();
        if cursor.take(close) {
            return Ok((items, comma));
        }
        if cursor.is_at_end() {
            return unclosed();
        }
        items.push(item(cursor)?);
        cursor.skip_space();
        comma = cursor.take(',');
        if comma || cursor.peek() == Some(close) {
            continue;
        }
        if cursor.is_at_end() {
            return unclosed();
        }
        return Err(expected(
            cursor,
            match close {
                ']' => "`,` or `]`",
                ')' => "`,` or `)`",
                _ => "`,` or `}`",
            },
        ));
    }
}

/// `(1, 2)` is a list; `(1)` is 1.
fn tuple(cursor: &mut Cursor<'_>, depth: usize) -> Read<Literal> {
    let (mut items, comma) = items(cursor, ')', |cursor| value(cursor, depth))?;
    Ok(match items.pop() {
        Some(only) if items.is_empty() && !comma => only.literal,
        last => {
            items.extend(last);
            Literal::List(items)
        }
    })
}

/// Adjacent strings are joined, as in Python.
fn strings(cursor: &mut Cursor<'_>) -> Read<Literal> {
    let mut whole = string(cursor)?;
    loop {
        let mut next = *cursor;
        next.skip_space();
        let unprefixed = next.rest().strip_prefix(['r', 'R', 'u', 'U']).unwrap_or(next.rest());
        if !unprefixed.starts_with(is_quote) {
            return Ok(Literal::Str(whole));
        }
        *cursor = next;
        whole.push_str(&string(cursor)?);
    }
}

/// A single string; the next character is its quote, or the prefix before it.
fn string(cursor: &mut Cursor<'_>) -> Read<String> {
    let start = cursor.at();
    let prefix = cursor.take_while(|c| !is_quote(c));
    let raw = prefix.starts_with(['r', 'R']);
    let single = if cursor.peek() == Some('\'') { "'" } else { "\"" };
    let triple = single.repeat(3);
    let quote = cursor.read(alt((tag(triple.as_str()), tag(single)))).unwrap_or(single);
    let mut whole = String::new();
    loop {
        whole.push_str(cursor.take_while(|c| c != '\\' && !single.contains(c)));
        if cursor.rest().starts_with(quote) {
            cursor.skip(quote.len());
            return Ok(whole);
        }
        match cursor.peek() {
            None => return fail(start..start + 1, ProblemKind::Unclosed { opener: quote.to_owned() }),
            Some('\\') if raw => {
                whole.extend(cursor.advance());
                whole.extend(cursor.advance());
            }
            Some('\\') => whole.extend(escape(cursor)?),
            // A single quote character inside triple quotes.
            Some(_) => whole.extend(cursor.advance()),
        }
    }
}

/// The characters of an escape sequence: one or two, or none for an escaped line break. The next character is the
/// backslash.
fn escape(cursor: &mut Cursor<'_>) -> Read<Vec<char>> {
    let before = *cursor;
    cursor.advance();
    let Some(kind) = cursor.peek() else {
        return Ok(Vec::new());
    };
    if ('0'..='7').contains(&kind) {
        let digits = cursor.rest().bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
        let code = u32::from_str_radix(&cursor.rest()[..digits], 8).ok().and_then(char::from_u32);
        cursor.skip(digits);
        return Ok(code.into_iter().collect());
    }
    cursor.advance();
    Ok(vec![match kind {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '\\' | '\'' | '"' | '/' => kind,
        '\n' => return Ok(Vec::new()),
        'x' => code_point(cursor, &before, 2)?,
        'u' => code_point(cursor, &before, 4)?,
        'U' => code_point(cursor, &before, 8)?,
        'N' => return bad_escape(&before, 2),
        // Python keeps the backslash of unknown escape sequences.
        _ => return Ok(vec!['\\', kind]),
    }])
}

fn bad_escape<T>(before: &Cursor<'_>, width: usize) -> Read<T> {
    let escape: String = before.rest().chars().take(width).collect();
    fail(before.at()..before.at() + escape.len(), ProblemKind::BadEscape { escape })
}

/// The character of a hexadecimal code, or of two codes if the first is a high surrogate. `before` is the position of
/// the escape sequence.
fn code_point(cursor: &mut Cursor<'_>, before: &Cursor<'_>, width: usize) -> Read<char> {
    let Some(high) = hexadecimal(cursor.rest(), width) else {
        return bad_escape(before, 2 + width);
    };
    cursor.skip(width);
    if let Some(c) = char::from_u32(high) {
        return Ok(c);
    }
    let low = cursor.rest().strip_prefix("\\u").and_then(|digits| hexadecimal(digits, 4));
    let pair = low.and_then(|low| char::decode_utf16([high as u16, low as u16]).next()?.ok());
    match pair {
        Some(c) if (0xd800..0xdc00).contains(&high) => {
            cursor.skip(6);
            Ok(c)
        }
        _ => bad_escape(before, 2 + width),
    }
}

fn hexadecimal(text: &str, width: usize) -> Option<u32> {
    let digits = text.get(..width)?;
    if digits.bytes().all(|b| b.is_ascii_hexdigit()) { u32::from_str_radix(digits, 16).ok() } else { None }
}

fn parse_number(negative: bool, digits: &str) -> Option<Literal> {
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
    // Rust's words for numbers ("inf") are excluded: there is a digit.
    if !digits.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<f64>().ok()?;
    Some(Literal::Float(if negative { -number } else { number }))
}
