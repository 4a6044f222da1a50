//! JSON Lines.

use burn_adapters_files::parse_json;
use serde_json::Value;

use super::error::DataProblem;
use super::lists::Form;
use super::read::{self, Reader};
use super::{Column, Columns, DataError, Example, Label, choices};
use crate::TextForm;

/// Reads the examples of a JSON Lines file.
pub(super) fn read(bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), DataError> {
    let key = |column: &Column| match column {
        Column::Name(name) => name.clone(),
        Column::Number(number) => number.to_string(),
    };
    let text_key = key(&reader.columns.text);
    let pair_key = reader.columns.pair.as_ref().map(key);
    let label_key = reader.columns.label.as_ref().map(key);
    let malformed = |message: String| Err(DataError::Malformed { source_name: reader.source.to_owned(), message });
    if label_key.as_ref() == Some(&text_key) {
        return malformed(format!("text and label are both to be read from the key `{text_key}`"));
    }
    if let Some(pair) = pair_key.as_ref().filter(|pair| **pair == text_key || label_key.as_ref() == Some(*pair)) {
        return malformed(format!("the second text is to be read from the key `{pair}`, as something else is"));
    }
    let keys = Keys { text: &text_key, pair: pair_key.as_deref(), label: label_key.as_deref() };
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"[") {
        return malformed("a JSON array: expected JSON Lines, one object a line and no brackets around them".into());
    }
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match example(line, keys, index + 1, reader) {
            Ok((example, label)) => reader.push(example, label),
            Err(problem) => reader.problems.push(index + 1, problem),
        }
    }
    Ok(())
}

/// The keys that are read.
#[derive(Clone, Copy)]
struct Keys<'a> {
    text: &'a str,
    pair: Option<&'a str>,
    label: Option<&'a str>,
}

fn example(
    json: &[u8],
    keys: Keys<'_>,
    line: usize,
    reader: &mut Reader<'_>,
) -> Result<(Example, Option<(Label, Form)>), DataProblem> {
    let json = std::str::from_utf8(json).map_err(|_| DataProblem::InvalidUtf8)?;
    // The parser gives the position within the line; the line is reported separately.
    let broken = |error: burn_adapters_files::JsonError| {
        let message = error.message.replace(" at line 1 column ", " at column ");
        DataProblem::BrokenJson { message }
    };
    let Value::Object(mut object) = parse_json(json).map_err(broken)? else {
        return Err(DataProblem::BrokenJson {
            message: "expected an object, such as {\"text\": …, \"label\": …}".into(),
        });
    };
    let mut take = |key: &str| object.remove(key).ok_or_else(|| DataProblem::MissingKey { key: key.to_owned() });
    let first = take(keys.text)?;
    let mut example = if reader.columns.task.reads_words() {
        words(&first, line)?
    } else {
        Example::new(text(first, reader.columns)?, line)
    };
    example.pair = keys.pair.map(|key| text(take(key)?, reader.columns)).transpose()?;
    let value = keys.label.map(take).transpose()?;
    if reader.columns.task.form() == TextForm::Choices {
        example.choices = choices::of_object(&object, reader.columns)?;
    }
    let Some(value) = value else { return Ok((example, None)) };
    if let Value::String(cell) = &value {
        reader.note_trim(line, cell);
    }
    Ok((example, label(&value, reader.columns)?))
}

fn text(value: Value, columns: &Columns) -> Result<String, DataProblem> {
    match value {
        Value::String(text) if !columns.empty_texts && text.trim().is_empty() => Err(DataProblem::EmptyText),
        Value::String(text) => Ok(text),
        other => Err(DataProblem::WrongType { what: "text", found: named(&other), expected: "a string" }),
    }
}

/// The words of a list of tokens.
fn words(value: &Value, line: usize) -> Result<Example, DataProblem> {
    let wrong = |found: String| DataProblem::WrongType { what: "text", found, expected: "an array of tokens" };
    let Value::Array(values) = value else { return Err(wrong(named(value))) };
    if values.is_empty() {
        return Err(DataProblem::EmptyText);
    }
    let word = |(index, value): (usize, &Value)| match value.as_str() {
        Some(word) if word.trim().is_empty() => Err(DataProblem::EmptyToken { number: index + 1 }),
        Some(word) => Ok(word.to_owned()),
        None => Err(wrong(format!("an array with {}", named(value)))),
    };
    Ok(Example::of_words(&values.iter().enumerate().map(word).collect::<Result<Vec<_>, _>>()?, line))
}

fn label(value: &Value, columns: &Columns) -> Result<Option<(Label, Form)>, DataProblem> {
    let absent = match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    };
    if columns.optional_label && absent {
        return Ok(None);
    }
    columns.task.read_json(value).map(Some)
}

/// The name of a class, from a JSON value.
pub(crate) fn class_name(value: &Value) -> Result<String, DataProblem> {
    let name = match value {
        Value::String(name) if name.trim().is_empty() => return Err(DataProblem::EmptyLabel),
        Value::Null => return Err(DataProblem::EmptyLabel),
        Value::String(name) => name.trim().to_owned(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        other => {
            return Err(DataProblem::WrongType { what: "label", found: named(other), expected: "a name or a number" });
        }
    };
    read::check_length(&name)?;
    Ok(name)
}

/// A JSON value in words, for messages.
pub(crate) fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("the truth value {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}
