//! Rows of JSON Lines.

use burn_adapters_files::parse_json;
use serde_json::Value;

use super::error::Problem;
use super::lists::Form;
use super::read::{self, Reader};
use super::{Column, Columns, DataError, Label};

/// Reads the examples of a JSON Lines file.
pub(super) fn read(bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), DataError> {
    let key = |column: &Column| match column {
        Column::Name(name) => name.clone(),
        Column::Number(number) => number.to_string(),
    };
    let text_key = key(&reader.columns.text);
    let label_key = reader.columns.label.as_ref().map(key);
    let malformed = |message: String| Err(DataError::Malformed { source_name: reader.source.to_owned(), message });
    if label_key.as_ref() == Some(&text_key) {
        return malformed(format!("text and label are both to be read from the key `{text_key}`"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"[") {
        return malformed("a JSON array: expected JSON Lines, one object a line and no brackets around them".into());
    }
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match example(line, &text_key, label_key.as_deref(), index + 1, reader) {
            Ok((text, label)) => reader.push(index + 1, text, label),
            Err(problem) => reader.problems.push(index + 1, problem),
        }
    }
    Ok(())
}

fn example(
    json: &[u8],
    text_key: &str,
    label_key: Option<&str>,
    line: usize,
    reader: &mut Reader<'_>,
) -> Result<(String, Option<(Label, Form)>), Problem> {
    let json = std::str::from_utf8(json).map_err(|_| Problem::InvalidUtf8)?;
    // The place within the line is the parser's; the line is told beside it.
    let broken = |error: burn_adapters_files::JsonError| {
        let message = error.message.replace(" at line 1 column ", " at column ");
        Problem::BrokenJson { message }
    };
    let Value::Object(mut object) = parse_json(json).map_err(broken)? else {
        return Err(Problem::BrokenJson {
            message: "expected an object, such as {\"text\": …, \"label\": …}".into()
        });
    };
    let mut take = |key: &str| object.remove(key).ok_or_else(|| Problem::MissingKey { key: key.to_owned() });
    let text = match take(text_key)? {
        Value::String(text) if !reader.columns.empty_texts && text.trim().is_empty() => {
            return Err(Problem::EmptyText);
        }
        Value::String(text) => text,
        other => {
            return Err(Problem::WrongType { what: "text", found: named(&other), expected: "a string" });
        }
    };
    let Some(key) = label_key else { return Ok((text, None)) };
    let value = take(key)?;
    if let Value::String(cell) = &value {
        reader.note_trim(line, cell);
    }
    Ok((text, label(&value, reader.columns)?))
}

fn label(value: &Value, columns: &Columns) -> Result<Option<(Label, Form)>, Problem> {
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

/// The name of a class in a JSON value.
pub(crate) fn class_name(value: &Value) -> Result<String, Problem> {
    let name = match value {
        Value::String(name) if name.trim().is_empty() => return Err(Problem::EmptyLabel),
        Value::Null => return Err(Problem::EmptyLabel),
        Value::String(name) => name.trim().to_owned(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        other => {
            return Err(Problem::WrongType { what: "label", found: named(other), expected: "a name or a number" });
        }
    };
    read::check_length(&name)?;
    Ok(name)
}

/// A JSON value, for messages.
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
