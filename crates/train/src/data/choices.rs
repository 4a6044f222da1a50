//! The choices of a multiple-choice question.
//!
//! By default, they are a list in the column `choices` (in a table: JSON, or separated by `|`), or a column each: `ending0`,
//! `ending1` and so on, as in SWAG.

use serde_json::{Map, Value};

use super::error::{DataProblem, Problems};
use super::json::named;
use super::{Column, Columns, Example, Label};

/// The default column of a list of choices.
pub(super) const LIST: &str = "choices";

/// The default columns of single choices.
pub(super) fn endings() -> impl Iterator<Item = String> {
    (0..).map(|number| format!("ending{number}"))
}

/// The choices in a JSON object.
pub(super) fn of_object(object: &Map<String, Value>, columns: &Columns) -> Result<Vec<String>, DataProblem> {
    let key = |column: &Column| match column {
        Column::Name(name) => name.clone(),
        Column::Number(number) => number.to_string(),
    };
    let keys: Vec<String> = match columns.choices.as_slice() {
        [] if object.contains_key(LIST) => vec![LIST.to_owned()],
        [] => endings().take_while(|key| object.contains_key(key)).collect(),
        columns => columns.iter().map(key).collect(),
    };
    let get = |key: &String| object.get(key).ok_or_else(|| DataProblem::MissingKey { key: key.clone() });
    let choices = match keys.as_slice() {
        [] => return Err(DataProblem::MissingKey { key: LIST.to_owned() }),
        [one] => match get(one)? {
            Value::Array(values) => values.iter().map(text).collect::<Result<_, _>>()?,
            // As in CommonsenseQA: {"label": ["A", "B"], "text": ["…", "…"]}.
            Value::Object(parts) => match parts.get("text") {
                Some(Value::Array(values)) => values.iter().map(text).collect::<Result<_, _>>()?,
                _ => return Err(bad("the object has no list `text`".into())),
            },
            Value::String(cell) => return of_cells(&[cell]),
            other => return Err(bad(format!("expected a list of texts, found {}", named(other)))),
        },
        keys => keys.iter().map(|key| text(get(key)?)).collect::<Result<_, _>>()?,
    };
    check(choices)
}

/// The choices in the cells of a table: a cell each, or a list in a single one.
pub(super) fn of_cells(cells: &[&str]) -> Result<Vec<String>, DataProblem> {
    let [list] = cells else { return check(cells.iter().map(|cell| (*cell).to_owned()).collect()) };
    if !list.trim_start().starts_with('[') {
        return check(list.split('|').map(|choice| choice.trim().to_owned()).collect());
    }
    let value = burn_adapters_files::parse_json(list.trim()).map_err(|error| bad(error.message))?;
    let Value::Array(values) = value else { return Err(bad("it is not a list".into())) };
    check(values.iter().map(text).collect::<Result<_, _>>()?)
}

fn text(value: &Value) -> Result<String, DataProblem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(bad(format!("expected a text, found {}", named(other)))),
    }
}

fn check(choices: Vec<String>) -> Result<Vec<String>, DataProblem> {
    if let Some(empty) = choices.iter().position(|choice| choice.trim().is_empty()) {
        return Err(bad(format!("number {empty} (counted from 0) is empty")));
    }
    if choices.len() < 2 { Err(bad(format!("expected at least 2, found {}", choices.len()))) } else { Ok(choices) }
}

fn bad(reason: String) -> DataProblem {
    DataProblem::BadChoices { reason }
}

/// Converts each label, the text of a choice or its number, to a number that its choices have.
pub(crate) fn settle(examples: &mut [Example], problems: &mut Problems) {
    for example in examples {
        let choices = &example.choices;
        let found = match &example.label {
            Some(Label::Choice(number)) if *number < choices.len() => continue,
            Some(Label::Choice(number)) => Err(format!("there is no choice {number}")),
            Some(Label::Class(label)) => number_of(label, choices),
            _ => continue,
        };
        match found {
            Ok(number) => example.label = Some(Label::Choice(number)),
            Err(reason) => {
                problems.push_with(example.line, || DataProblem::NotAChoice { reason, count: choices.len() })
            }
        }
    }
}

fn number_of(label: &str, choices: &[String]) -> Result<usize, String> {
    let is_number = |number: &usize| *number < choices.len();
    let number = label.parse::<usize>().ok().filter(is_number);
    let same = |choice: &&String| choice.trim() == label;
    let by_text = choices.iter().position(|choice| same(&choice));
    match (number, by_text) {
        _ if choices.iter().filter(same).count() > 1 && number.is_none() => {
            Err(format!("`{label}` is the text of several choices"))
        }
        (Some(number), Some(other)) if number != other => {
            Err(format!("`{label}` may be choice {number} or the text of choice {other}"))
        }
        (Some(number), _) | (None, Some(number)) => Ok(number),
        (None, None) => Err(format!("`{label}` is not a choice")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: &Value, columns: &Columns) -> Result<Vec<String>, DataProblem> {
        of_object(value.as_object().unwrap(), columns)
    }

    #[test]
    fn choices_are_read_in_every_form() {
        let columns = Columns::unlabeled("text");
        for value in [
            json!({"choices": ["a", "b"]}),
            json!({"choices": {"label": ["A", "B"], "text": ["a", "b"]}}),
            json!({"ending0": "a", "ending1": "b"}),
        ] {
            assert_eq!(of(&value, &columns).unwrap(), ["a", "b"], "{value}");
        }
        let columns = columns.with_choices(["choice1", "choice2"]);
        assert_eq!(of(&json!({"choice1": "a", "choice2": "b"}), &columns).unwrap(), ["a", "b"]);
        assert_eq!(of_cells(&["a | b"]).unwrap(), ["a", "b"]);
        assert_eq!(of_cells(&["[\"a|b\", \"c\"]"]).unwrap(), ["a|b", "c"]);
        assert_eq!(of_cells(&["a", "b"]).unwrap(), ["a", "b"]);
    }

    #[test]
    fn too_few_or_empty_choices_are_an_error() {
        let columns = Columns::unlabeled("text");
        for value in [json!({}), json!({"choices": ["a"]}), json!({"choices": ["a", ""]}), json!({"choices": 1})] {
            assert!(of(&value, &columns).is_err(), "{value}");
        }
        assert!(of_cells(&["[1, {}]"]).is_err() && of_cells(&["a"]).is_err());
    }

    #[test]
    fn a_label_is_the_number_or_the_text_of_a_choice_but_not_both() {
        let choices = ["yes", "no", "0"].map(str::to_owned);
        assert_eq!(number_of("no", &choices), Ok(1));
        assert_eq!(number_of("2", &choices), Ok(2));
        assert!(number_of("0", &choices).is_err() && number_of("3", &choices).is_err());
        assert!(number_of("a", &["a", "a"].map(str::to_owned)).is_err());
    }
}
