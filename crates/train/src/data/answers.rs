//! Answers to a question. Each is a part of the question's context.
//!
//! Supported forms are SQuAD's, `{"text": ["…"], "answer_start": [0]}`, the same as a list of objects (`[{"text": "…",
//! "answer_start": 0}]`), a list of texts, and a single text. Positions are in characters (Unicode scalar values), as
//! in Python. An answer without a position is searched for in the context.

use std::ops::Range;

use serde_json::Value;

use super::error::{DataProblem, Problems};
use super::json::named;
use super::{Example, Form, Label};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, which is a part of the context.
    pub text: String,
    /// The position of its first character in the context; `None` for its first occurrence.
    pub start: Option<usize>,
}

impl Answer {
    /// The byte range of the answer in the context; `None` if it is not there.
    ///
    /// ```
    /// use burn_adapters_train::Answer;
    ///
    /// let answer = |start| Answer { text: "ä".into(), start };
    /// assert_eq!(answer(None).bytes("für ä"), Some(5..7));
    /// assert_eq!(answer(Some(4)).bytes("für ä"), Some(5..7));
    /// assert_eq!(answer(Some(3)).bytes("für ä"), None);
    /// ```
    pub fn bytes(&self, context: &str) -> Option<Range<usize>> {
        let start = match self.start {
            None => context.find(&self.text)?,
            Some(0) => 0,
            Some(characters) => context.char_indices().nth(characters)?.0,
        };
        context.get(start..)?.starts_with(&self.text).then(|| start..start + self.text.len())
    }
}

/// Reads a table cell: JSON, or the text of the only answer. An empty cell has no answer.
pub(crate) fn of_cell(cell: &str) -> Result<(Label, Form), DataProblem> {
    let trimmed = cell.trim();
    if trimmed.is_empty() {
        return Ok((Label::Answers(Vec::new()), Form::Empty));
    }
    if trimmed.starts_with('{') && trimmed.ends_with('}') || trimmed.starts_with("[{") || trimmed.starts_with("[\"") {
        let value = burn_adapters_files::parse_json(trimmed).map_err(|error| bad(trimmed, error.message))?;
        return of_json(&value);
    }
    Ok((Label::Answers(vec![Answer { text: cell.to_owned(), start: None }]), Form::Names))
}

/// Reads a JSON value.
pub(crate) fn of_json(value: &Value) -> Result<(Label, Form), DataProblem> {
    let answers = match value {
        Value::String(text) if text.trim().is_empty() => Vec::new(),
        Value::String(text) => vec![Answer { text: text.clone(), start: None }],
        Value::Object(object) => match (object.get("text"), object.get("answer_start")) {
            (Some(Value::Array(texts)), None) => {
                texts.iter().map(|text| answer(text, None)).collect::<Result<_, _>>()?
            }
            (Some(Value::Array(texts)), Some(Value::Array(starts))) if texts.len() == starts.len() => {
                let pairs = texts.iter().zip(starts);
                pairs.map(|(text, start)| answer(text, Some(start))).collect::<Result<_, _>>()?
            }
            (Some(Value::Array(texts)), Some(Value::Array(starts))) => {
                let reason = format!("{} texts, but {} values of `answer_start`", texts.len(), starts.len());
                return Err(bad(&value.to_string(), reason));
            }
            (Some(text @ Value::String(_)), start) => vec![answer(text, start)?],
            _ => {
                return Err(bad(
                    &value.to_string(),
                    "it has no `text`, or `text` and `answer_start` are not lists".into(),
                ));
            }
        },
        Value::Array(values) => {
            let read = |value: &Value| match value {
                Value::Object(object) => match object.get("text") {
                    Some(text) => answer(text, object.get("answer_start")),
                    None => Err(bad(&value.to_string(), "it has no `text`".into())),
                },
                text => answer(text, None),
            };
            values.iter().map(read).collect::<Result<_, _>>()?
        }
        other => {
            let expected = "answers: {\"text\": [\"…\"], \"answer_start\": [0]}, a list of texts, or a text";
            return Err(DataProblem::WrongType { what: "label", found: named(other), expected });
        }
    };
    let form = if answers.is_empty() { Form::Empty } else { Form::Names };
    Ok((Label::Answers(answers), form))
}

fn answer(text: &Value, start: Option<&Value>) -> Result<Answer, DataProblem> {
    let Value::String(text) = text else { return Err(bad(&text.to_string(), "the text is not a string".into())) };
    if text.trim().is_empty() {
        return Err(bad(text, "the text is empty: leave the list empty if there is no answer".into()));
    }
    let start = match start {
        None | Some(Value::Null) => None,
        Some(start) => Some(start.as_u64().and_then(|start| usize::try_from(start).ok()).ok_or_else(|| {
            bad(text, format!("`answer_start` is {}: expected the number of a character, from 0", named(start)))
        })?),
    };
    Ok(Answer { text: text.clone(), start })
}

fn bad(found: &str, reason: String) -> DataProblem {
    DataProblem::BadAnswers { found: found.to_owned(), reason }
}

/// Checks that every answer is at its position in the context.
pub(crate) fn settle(examples: &[Example], problems: &mut Problems) {
    for example in examples {
        let Some(Label::Answers(answers)) = &example.label else { continue };
        let context = example.pair.as_deref().unwrap_or_default();
        for answer in answers.iter().filter(|answer| answer.bytes(context).is_none()) {
            let text = answer.text.clone();
            problems.push_with(example.line, || match answer.start {
                None => DataProblem::AnswerNotFound { answer: text },
                Some(start) => {
                    let found = context.chars().skip(start).take(text.chars().count()).collect();
                    DataProblem::AnswerElsewhere { answer: text, start, found }
                }
            });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Vec<(String, Option<usize>)> {
        match of_json(&value).unwrap().0 {
            Label::Answers(answers) => answers.into_iter().map(|answer| (answer.text, answer.start)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_are_read_in_every_form() {
        let expected = [("a".to_owned(), Some(1)), ("b".to_owned(), Some(3))];
        assert_eq!(read(json!({"text": ["a", "b"], "answer_start": [1, 3]})), expected);
        assert_eq!(read(json!([{"text": "a", "answer_start": 1}, {"text": "b", "answer_start": 3}])), expected);
        assert_eq!(read(json!(["a"])), [("a".to_owned(), None)]);
        assert_eq!(read(json!("a")), [("a".to_owned(), None)]);
        for none in [json!({"text": [], "answer_start": []}), json!([]), json!("")] {
            assert!(read(none).is_empty());
        }
        let cell = |cell: &str| of_cell(cell).unwrap().0;
        assert_eq!(
            cell("{\"text\": [\"a\"], \"answer_start\": [1]}"),
            of_json(&json!([{"text": "a", "answer_start": 1}])).unwrap().0
        );
        assert_eq!(cell("[a]"), of_json(&json!("[a]")).unwrap().0);
        assert_eq!(cell(" "), Label::Answers(vec![]));
    }

    #[test]
    fn what_is_not_an_answer_is_an_error() {
        for bad in [
            json!(1),
            json!(null),
            json!({"text": ["a"], "answer_start": [1, 2]}),
            json!({"text": ["a"], "answer_start": [-1]}),
            json!({"text": [""], "answer_start": [0]}),
            json!({"answer_start": [0]}),
            json!([{"answer_start": 0}]),
            json!([1]),
        ] {
            assert!(of_json(&bad).is_err(), "{bad}");
        }
        assert!(of_cell("{'text': ['a']}").is_err());
    }
}
