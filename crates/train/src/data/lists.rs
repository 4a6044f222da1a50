//! Labels of multilabel data: lists of names, and vectors with an entry of 0 or 1 for each class.

use serde_json::Value;

use super::error::{DataProblem, Problems};
use super::{Example, Label};

/// The form of a label. The meaning of names and numbers in lists may be known only after all labels have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// No entry.
    Empty,
    /// Names, or names and numbers.
    Names,
    /// Numbers, not all of them 0 or 1.
    Numbers,
    /// Zeros and ones.
    Flags,
    /// Truth values.
    Truths,
}

impl Form {
    fn described(self) -> &'static str {
        match self {
            Form::Empty => "an empty list",
            Form::Names => "a list of names",
            Form::Numbers => "a list of numbers",
            Form::Flags => "a vector of 0 and 1",
            Form::Truths => "a vector of true and false",
        }
    }
}

/// Reads a table cell.
pub(crate) fn of_cell(cell: &str) -> Result<(Label, Form), DataProblem> {
    let cell = cell.trim();
    let bad = |reason: &str| DataProblem::BadList { found: cell.to_owned(), reason: reason.to_owned() };
    let bracketed = cell.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(inner) = bracketed {
        if let Ok(Value::Array(values)) = burn_adapters_files::parse_json(cell) {
            return of_array(&values);
        }
        // As printed by NumPy and Python: `[0 1 1]`, `[True, False]`.
        return vector(inner).unwrap_or_else(|| Err(bad("it is not a JSON array")));
    }
    if let Some(vector) = cell.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).and_then(vector) {
        return vector;
    }
    if !cell.contains('|')
        && let Some(vector) = vector(cell).filter(|_| cell.contains([',', ';', ' ', '\t']))
    {
        return vector;
    }
    named(separated(cell), cell)
}

/// Reads a JSON value: an array, or names separated by `|`.
pub(crate) fn of_json(value: &Value) -> Result<(Label, Form), DataProblem> {
    match value {
        Value::Array(values) => of_array(values),
        Value::String(text) => of_cell(text),
        other => Err(DataProblem::WrongType {
            what: "label",
            found: super::json::named(other),
            expected: "an array of names, names separated by `|`, or an array with a 0 or 1 for each class",
        }),
    }
}

fn of_array(values: &[Value]) -> Result<(Label, Form), DataProblem> {
    let bad = |reason: &str| {
        let found = Value::Array(values.iter().take(20).cloned().collect()).to_string();
        DataProblem::BadList { found, reason: reason.to_owned() }
    };
    if values.is_empty() {
        return Ok((Label::Classes(Vec::new()), Form::Empty));
    }
    if let Some(truths) = values.iter().map(Value::as_bool).collect::<Option<Vec<_>>>() {
        return Ok((Label::Vector(truths), Form::Truths));
    }
    if values.iter().any(Value::is_boolean) {
        return Err(bad("it holds truth values beside others"));
    }
    if let Some(numbers) = values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>() {
        return match numbers.iter().map(|number| flag(*number)).collect::<Option<Vec<_>>>() {
            Some(flags) => Ok((Label::Vector(flags), Form::Flags)),
            None if numbers.iter().any(|number| number.fract() != 0.0) => Err(bad("it holds fractions")),
            None => Ok((Label::Classes(values.iter().map(Value::to_string).collect()), Form::Numbers)),
        };
    }
    let names = values.iter().map(super::json::class_name).collect::<Result<Vec<_>, _>>()?;
    named(names, &Value::Array(values.iter().take(20).cloned().collect()).to_string())
}

fn flag(number: f64) -> Option<bool> {
    match number {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}

fn named(names: Vec<String>, text: &str) -> Result<(Label, Form), DataProblem> {
    if names.is_empty() {
        return Ok((Label::Classes(names), Form::Empty));
    }
    names.iter().try_for_each(|name| super::read::check_length(name))?;
    repeated(&names, text)?;
    Ok((Label::Classes(names), Form::Names))
}

/// A name that is given twice is harmless, but repeated zeros and ones are a vector in the wrong form.
fn repeated(names: &[String], text: &str) -> Result<(), DataProblem> {
    let flags = names.iter().all(|name| matches!(name.as_str(), "0" | "1" | "true" | "false"));
    if flags && names.iter().enumerate().any(|(index, name)| names[..index].contains(name)) {
        return Err(DataProblem::BadList { found: text.to_owned(), reason: "a name is given twice".into() });
    }
    Ok(())
}

/// Zeros and ones, or truth values, separated by commas or spaces; `None` if there are other entries.
fn vector(text: &str) -> Option<Result<(Label, Form), DataProblem>> {
    let entries = text.split([',', ';', ' ', '\t', '\n', '\r']).filter(|entry| !entry.is_empty());
    let (mut flags, mut form) = (Vec::new(), None);
    for entry in entries {
        let (flag, found) = match entry {
            "0" | "0." | "0.0" => (false, Form::Flags),
            "1" | "1." | "1.0" => (true, Form::Flags),
            _ if entry.eq_ignore_ascii_case("true") => (true, Form::Truths),
            _ if entry.eq_ignore_ascii_case("false") => (false, Form::Truths),
            _ => return None,
        };
        if *form.get_or_insert(found) != found {
            let reason = "it holds numbers and truth values".to_owned();
            return Some(Err(DataProblem::BadList { found: text.to_owned(), reason }));
        }
        flags.push(flag);
    }
    form.map(|form| Ok((Label::Vector(flags), form)))
}

/// Names separated by `|`.
fn separated(cell: &str) -> Vec<String> {
    cell.split('|').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Whether a text looks like several labels.
pub(super) fn looks_like_a_list(cell: &str) -> bool {
    let cell = cell.trim();
    let bracketed = (cell.starts_with('[') && cell.ends_with(']')) || (cell.starts_with('(') && cell.ends_with(')'));
    if bracketed {
        return vector(&cell[1..cell.len() - 1]).is_some() || burn_adapters_files::parse_json(cell).is_ok();
    }
    separated(cell).len() > 1 && cell.contains('|') || cell.contains([',', ';', ' ']) && vector(cell).is_some()
}

/// Decides the meaning of lists of 0 and 1, which only all rows together show: vectors or, if other numbers occur,
/// lists of label numbers. All rows must have one form, and all vectors one length.
pub(crate) fn settle(examples: &mut [Example], forms: &[Form], problems: &mut Problems) {
    let first = |wanted: &[Form]| forms.iter().position(|form| wanted.contains(form));
    let lines: Vec<usize> = examples.iter().map(|example| example.line).collect();
    let mixed = |problems: &mut Problems, index: usize, first: usize| {
        let (found, expected) = (forms[index].described(), forms[first].described());
        problems.push_with(lines[index], || DataProblem::MixedForms { found, expected, first: lines[first] });
    };
    if let (Some(numbers), None, None) = (first(&[Form::Numbers]), first(&[Form::Names]), first(&[Form::Truths])) {
        for (index, example) in examples.iter_mut().enumerate() {
            if let Some(Label::Vector(flags)) = &example.label {
                let names: Vec<String> = flags.iter().map(|flag| usize::from(*flag).to_string()).collect();
                if names.len() > 2 || names.len() == 2 && names[0] == names[1] {
                    mixed(problems, index, numbers);
                }
                example.label = Some(Label::Classes(names));
            }
        }
        return;
    }
    let Some(first_vector) = first(&[Form::Flags, Form::Truths]) else { return };
    let Some(first_any) = forms.iter().position(|form| *form != Form::Empty) else { return };
    let length = match &examples[first_vector].label {
        Some(Label::Vector(flags)) => flags.len(),
        _ => 0,
    };
    let mut single = length == 1;
    for (index, example) in examples.iter().enumerate() {
        match &example.label {
            Some(Label::Vector(flags)) if forms[index] == forms[first_any] => {
                single &= flags.len() == 1;
                if flags.len() != length {
                    let of = format!("class, as on line {}", lines[first_vector]);
                    problems.push_with(lines[index], || DataProblem::VectorLength {
                        found: flags.len(),
                        expected: length,
                        of,
                    });
                }
            }
            Some(_) => mixed(problems, index, first_any),
            None => {}
        }
    }
    if single && examples.len() > 1 {
        let reason = "one entry may be a vector for one class or the number of a class".to_owned();
        let found = format!("[{}]", usize::from(examples[first_vector].label == Some(Label::Vector(vec![true]))));
        problems.push(lines[first_vector], DataProblem::BadList { found, reason });
    }
}
