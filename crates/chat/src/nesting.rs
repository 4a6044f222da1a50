//! Values that have a part very often.
//!
//! A template can put a list twice into another one, that one twice into a third, and so on: after 60 steps the value takes
//! little memory, but has 2⁶⁰ items, and whatever writes or compares it never ends. The engine pays for what an instruction
//! creates, not for what a value holds. So the lists, dictionaries and tuples that templates write, and the values that they
//! assign, go through a function that walks through the value and pays for each part.

use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, State};

use crate::python::pay;
use crate::tags::code_parts;

/// The function.
const FUNCTION: &str = "_held";

/// Words after which an expression begins.
const BEFORE: [&str; 8] = ["in", "and", "or", "not", "if", "elif", "else", "is"];

/// The source with its lists, dictionaries, tuples and assignments going through the function.
pub(crate) fn held(source: &str) -> String {
    let (mut text, mut end) = (String::with_capacity(2 * source.len()), 0);
    for part in code_parts(source) {
        text.push_str(&source[end..part.start]);
        let inner = &source[part.start..part.end];
        let is_set = part.name.as_ref().is_some_and(|name| &source[name.clone()] == "set");
        text.push_str(&match assigned(inner).filter(|_| is_set) {
            Some(value) => {
                let (before, after) = inner.split_at(value);
                let trimmed = after.trim_end_matches(['-', '+']);
                // A sign at the end controls white space.
                let (after, control) = after.split_at(trimmed.len());
                format!("{before}{FUNCTION}(({})){control}", literals(after))
            }
            None => literals(inner),
        });
        end = part.end;
    }
    text.push_str(&source[end..]);
    text
}

/// A token of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'c> {
    Word(&'c str),
    Literal,
    Sign(char),
}

/// The tokens with their positions, white space left out.
fn tokens(code: &str) -> Vec<(usize, Token<'_>)> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match c {
            '"' | '\'' => {
                let mut escaped = false;
                let closing = rest.char_indices().skip(1).find(|(_, other)| {
                    let is_end = *other == c && !escaped;
                    escaped = *other == '\\' && !escaped;
                    is_end
                });
                tokens.push((at, Token::Literal));
                closing.map_or(rest.len(), |(end, _)| end + 1)
            }
            c if is_word(c) => {
                let length = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
                tokens.push((at, if c.is_numeric() { Token::Literal } else { Token::Word(&rest[..length]) }));
                length
            }
            c if c.is_whitespace() => c.len_utf8(),
            c => {
                tokens.push((at, Token::Sign(c)));
                c.len_utf8()
            }
        };
        at += length;
    }
    tokens
}

/// Where the value of an assignment begins; `None` for a block.
fn assigned(code: &str) -> Option<usize> {
    let (tokens, mut depth) = (tokens(code), 0_usize);
    tokens.iter().find_map(|(at, token)| {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Token::Sign('=') if depth == 0 => return Some(at + 1),
            _ => {}
        }
        None
    })
}

/// The code with the function around its lists, dictionaries and tuples.
fn literals(code: &str) -> String {
    let tokens = tokens(code);
    // The positions of opening brackets that begin a literal, and of those that close them.
    let mut open: Vec<(usize, bool, bool)> = Vec::new();
    let mut insert: Vec<(usize, String)> = Vec::new();
    for (index, (at, token)) in tokens.iter().enumerate() {
        match token {
            Token::Sign(sign @ ('(' | '[' | '{')) => {
                let begins = match index.checked_sub(1).map(|before| tokens[before].1) {
                    None => true,
                    Some(Token::Word(word)) => BEFORE.contains(&word),
                    Some(Token::Literal | Token::Sign(')' | ']' | '}')) => false,
                    Some(Token::Sign(_)) => true,
                };
                open.push((*at, begins, *sign != '('));
            }
            // Parentheses with a comma are a tuple.
            Token::Sign(',') => open.iter_mut().last().into_iter().for_each(|last| last.2 = true),
            Token::Sign(')' | ']' | '}') => {
                if let Some((start, true, true)) = open.pop() {
                    insert.push((start, format!("{FUNCTION}(")));
                    insert.push((at + 1, ")".to_owned()));
                }
            }
            _ => {}
        }
    }
    insert.sort_by_key(|(at, _)| *at);
    let (mut text, mut end) = (String::with_capacity(code.len() + 8 * insert.len()), 0);
    for (at, part) in insert {
        text.push_str(&code[end..at]);
        text.push_str(&part);
        end = at;
    }
    text + &code[end..]
}

/// Adds the function, and others that put values together.
pub(crate) fn add_to(environment: &mut Environment<'static>) {
    environment.add_function(FUNCTION, |state: &mut State, value: Value| hold(state, value));
    environment.add_function("dict", |state: &mut State, value: Option<Value>, more: Kwargs| {
        hold(state, minijinja::functions::dict(value, more)?)
    });
    environment.add_function("namespace", |state: &mut State, values: Option<Value>, more: Kwargs| {
        let values = values.unwrap_or_else(|| Value::from(more));
        walk(state, &values, 0)?;
        Value::from_function(minijinja::functions::namespace).call(state, &[values])
    });
    environment.add_filter("zip", |state: &mut State, first: Value, others: Rest<Value>| -> Result<Value, Error> {
        let mut lists = vec![first.try_iter()?.collect::<Vec<_>>()];
        for other in others.iter() {
            lists.push(other.try_iter()?.collect());
        }
        let shortest = lists.iter().map(Vec::len).min().unwrap_or(0);
        let rows = (0..shortest).map(|row| Value::from(lists.iter().map(|list| list[row].clone()).collect::<Vec<_>>()));
        hold(state, rows.collect())
    });
}

/// Walks through a value, and pays for each part.
fn hold(state: &State, value: Value) -> Result<Value, Error> {
    walk(state, &value, 0)?;
    Ok(value)
}

fn walk(state: &State, value: &Value, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            pay(state, None, depth)?;
            value.try_iter()?.try_for_each(|item| walk(state, &item, depth + 1))
        }
        ValueKind::Map | ValueKind::Plain => {
            pay(state, None, depth)?;
            // A namespace is a map, too; other objects have no parts.
            let Ok(mut keys) = value.try_iter() else { return Ok(()) };
            keys.try_for_each(|key| {
                walk(state, &key, depth + 1)?;
                walk(state, &value.get_item(&key)?, depth + 1)
            })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_dictionaries_and_tuples_are_held_and_what_is_read_of_them_is_not() {
        for (source, expected) in [
            ("{{ [1, [2]] }}", "{{ _held([1, _held([2])]) }}"),
            ("{{ a[0][1:] + f(x)[0] }}", "{{ a[0][1:] + f(x)[0] }}"),
            ("{% if a in ['x', \"y]\"] %}[{% endif %}", "{% if a in _held(['x', \"y]\"]) %}[{% endif %}"),
            ("{{ {'a': (1, 2)}['a'] }}", "{{ _held({'a': _held((1, 2))})['a'] }}"),
            ("{%- set ns.x = a, [b] -%}", "{%- set ns.x =_held(( a, _held([b]) ))-%}"),
            ("{% set x %}[1]{% endset %}", "{% set x %}[1]{% endset %}"),
            ("{% for (a, b) in c.items() %}", "{% for (a, b) in c.items() %}"),
            ("{{ f(a, [b]) }}{# [1] #}{{ '[1]' }}", "{{ f(a, _held([b])) }}{# [1] #}{{ '[1]' }}"),
        ] {
            assert_eq!(held(source), expected, "{source}");
        }
    }
}
