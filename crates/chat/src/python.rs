//! Values as Python prints them: templates were written for Python, where `{{ none }}` is `None` and a list has single
//! quotes.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// Nested deeper than this, a value is not data.
pub(crate) const MAX_DEPTH: usize = 200;

/// Python's `str`.
///
/// # Errors
/// If the work is too much, or the value is nested too deeply.
pub(crate) fn text(state: &State, value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    match (value.kind(), value.as_str()) {
        (_, Some(own)) => text.push_str(own),
        (ValueKind::Undefined, _) => {}
        _ => repr(state, value, 0, &mut text)?,
    }
    Ok(text)
}

/// Pays for a part of a value that is written: a value may have the same part very often.
pub(crate) fn pay(state: &State, text: Option<&str>, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(ErrorKind::InvalidOperation, "the value is nested too deeply to be written"));
    }
    state.consume_fuel(1 + text.map_or(0, str::len) as u64 / 64)
}

/// Python's `repr`.
fn repr(state: &State, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    pay(state, value.as_str(), depth)?;
    if let Some(text) = value.as_str() {
        out.push_str(&quoted(text));
        return Ok(());
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number => out.push_str(&number(value)),
        ValueKind::Seq => {
            out.push('[');
            for (index, item) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                repr(state, &item, depth + 1, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                repr(state, &key, depth + 1, out)?;
                out.push_str(": ");
                repr(state, &value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        ValueKind::Undefined => out.push_str("Undefined"),
        kind => {
            let message = format!("a value of type {kind} cannot be written");
            return Err(Error::new(ErrorKind::InvalidOperation, message));
        }
    }
    Ok(())
}

/// A number; floats have the shortest digits that give them, and an exponent below 10⁻⁴ and from 10¹⁶.
pub(crate) fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(number) => float(number),
        Err(_) => value.to_string(),
    }
}

/// Python's `repr` of a float.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.into();
    }
    let magnitude = number.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        return format!("{number:?}");
    }
    // Rust writes 1e-7 and 1e16, Python 1e-07 and 1e+16.
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A string literal: single quotes, unless the text has some and no double ones.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut literal = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c == quote => literal.extend(['\\', c]),
            c if c.is_control() => literal.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => literal.push(c),
        }
    }
    literal.push(quote);
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (number, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (123456789012345.6, "123456789012345.6"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.5e-300, "1.5e-300"),
            (-0.0, "-0.0"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float(number), expected);
        }
    }
}
