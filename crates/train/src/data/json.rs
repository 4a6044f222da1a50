//! Rows of JSON Lines.

use burn_adapters_files::parse_json;
use serde_json::Value;

use super::error::{Problem, Problems};
use super::{Column, Columns, DataError, Example, Label, LabelKind};

/// The examples of a JSON Lines file; what is wrong with single rows goes to `problems`.
pub(super) fn examples(
    source: &str,
    bytes: &[u8],
    columns: &Columns,
    problems: &mut Problems,
) -> Result<Vec<Example>, DataError> {
    let key = |column: &Column| match column {
        Column::Name(name) => name.clone(),
        Column::Number(number) => number.to_string(),
    };
    let text_key = key(&columns.text);
    let label_key = columns.label.as_ref().map(key);
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(DataError::Malformed {
            source_name: source.to_owned(),
            message: "a JSON array: expected JSON Lines, one object a line and no brackets around them".into(),
        });
    }
    let mut examples = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match example(line, &text_key, label_key.as_deref(), columns) {
            Ok((text, label)) => examples.push(Example { text, label, line: index + 1 }),
            Err(problem) => problems.push(index + 1, problem),
        }
    }
    Ok(examples)
}

fn example(
    line: &[u8],
    text_key: &str,
    label_key: Option<&str>,
    columns: &Columns,
) -> Result<(String, Option<Label>), Problem> {
    let line = std::str::from_utf8(line).map_err(|_| Problem::InvalidUtf8)?;
    let value = parse_json(line).map_err(|error| Problem::BrokenJson { message: error.to_string() })?;
    let Value::Object(object) = value else {
        return Err(Problem::BrokenJson { message: format!("{}: expected an object", named(&value)) });
    };
    let get = |key: &str| object.get(key).ok_or_else(|| Problem::MissingKey { key: key.to_owned() });
    let text = match get(text_key)? {
        Value::String(text) if !columns.empty_texts && text.trim().is_empty() => return Err(Problem::EmptyText),
        Value::String(text) => text.clone(),
        other => {
            return Err(Problem::WrongType { what: "text", found: named(other), expected: "a string" });
        }
    };
    let label = label_key.map(|key| label(get(key)?, columns.label_kind)).transpose()?;
    Ok((text, label))
}

fn label(value: &Value, kind: LabelKind) -> Result<Label, Problem> {
    match kind {
        LabelKind::Class => class_name(value).map(Label::Class),
        LabelKind::Classes => match value {
            Value::Array(names) => names.iter().map(class_name).collect::<Result<_, _>>().map(Label::Classes),
            Value::String(names) => Ok(Label::Classes(super::read::separated(names))),
            other => Err(Problem::WrongType {
                what: "label",
                found: named(other),
                expected: "an array of names, or names separated by `|`",
            }),
        },
        LabelKind::Number => match value {
            Value::Number(number) => Ok(Label::Number(number.as_f64().unwrap_or(f64::NAN))),
            Value::String(text) => super::read::number(text),
            Value::Null => Err(Problem::EmptyLabel),
            other => Err(Problem::NotANumber { found: named(other) }),
        },
    }
}

fn class_name(value: &Value) -> Result<String, Problem> {
    match value {
        Value::String(name) if name.trim().is_empty() => Err(Problem::EmptyLabel),
        Value::Null => Err(Problem::EmptyLabel),
        Value::String(name) => Ok(name.trim().to_owned()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        other => Err(Problem::WrongType { what: "label", found: named(other), expected: "a name or a number" }),
    }
}

fn named(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("the truth value {value}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".into(),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}
