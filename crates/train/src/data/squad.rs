//! SQuAD's own JSON: articles of paragraphs with a context and its questions.

use burn_adapters_files::parse_json;
use serde_json::Value;

use super::error::DataProblem;
use super::read::Reader;
use super::{Columns, DataError, Example, Form, Label, answers};
use crate::tasks::TextForm;

/// Whether a file is SQuAD's JSON rather than JSON Lines.
pub(super) fn is_squad(bytes: &[u8], columns: &Columns) -> bool {
    let is_object = || bytes.trim_ascii_start().starts_with(b"{");
    columns.task.form() == TextForm::Windows && is_object() && data(bytes).is_some()
}

/// The articles. For JSON Lines, only the first object is parsed.
fn data(bytes: &[u8]) -> Option<Vec<Value>> {
    let Ok(Value::Object(mut object)) = parse_json(std::str::from_utf8(bytes).ok()?) else { return None };
    match object.remove("data") {
        Some(Value::Array(articles)) => Some(articles),
        _ => None,
    }
}

/// Reads the questions of a file, which are numbered instead of having line numbers.
pub(super) fn read(bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), DataError> {
    let mut number = 0;
    for paragraph in data(bytes).unwrap_or_default().iter().flat_map(|article| list(article, "paragraphs")) {
        for question in list(paragraph, "qas") {
            number += 1;
            match example(paragraph, question, number, reader.columns) {
                Ok((example, label)) => reader.push(example, label),
                Err(problem) => reader.problems.push(number, problem),
            }
        }
    }
    Ok(())
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn example(
    paragraph: &Value,
    question: &Value,
    number: usize,
    columns: &Columns,
) -> Result<(Example, Option<(Label, Form)>), DataProblem> {
    let text = |value: &Value, key: &str| match value.get(key).and_then(Value::as_str) {
        Some(text) if text.trim().is_empty() => Err(DataProblem::EmptyText),
        Some(text) => Ok(text.to_owned()),
        None => Err(DataProblem::MissingKey { key: key.to_owned() }),
    };
    let mut example = Example::new(text(question, "question")?, number);
    example.pair = Some(text(paragraph, "context")?);
    if columns.label.is_none() {
        return Ok((example, None));
    }
    // What SQuAD 2 gives as plausible answers to an unanswerable question is not right.
    let answers = match question.get("answers") {
        Some(answers) => answers::of_json(answers)?,
        None => return Err(DataProblem::MissingKey { key: "answers".to_owned() }),
    };
    Ok((example, Some(answers)))
}
