//! From bytes to examples.

use std::path::Path;

use super::error::{Problem, Problems};
use super::{Column, Columns, DataError, Dataset, Example, Format, Label, LabelKind, json, table};

pub(super) fn read(path: &Path, columns: &Columns) -> Result<Dataset, DataError> {
    let format = columns.format.map_or_else(|| Format::of_path(path), Ok)?;
    let bytes = burn_adapters_files::read(path, burn_adapters_files::MAX_DATA)?;
    parse(&path.display().to_string(), &bytes, format, columns)
}

pub(super) fn parse(source: &str, bytes: &[u8], format: Format, columns: &Columns) -> Result<Dataset, DataError> {
    let mut problems = Problems::default();
    let examples = match format {
        Format::JsonLines => json::examples(source, bytes, columns, &mut problems)?,
        Format::Csv => table_examples(source, table::csv_rows(bytes, &mut problems), columns, &mut problems)?,
        Format::Tsv => table_examples(source, table::tsv_rows(bytes, &mut problems), columns, &mut problems)?,
    };
    problems.into_result(source)?;
    Dataset::from_examples(source, examples)
}

fn table_examples(
    source: &str,
    rows: Vec<table::Row>,
    columns: &Columns,
    problems: &mut Problems,
) -> Result<Vec<Example>, DataError> {
    let mut rows = rows.into_iter().peekable();
    let Some((_, first)) = rows.peek() else { return Ok(Vec::new()) };
    let first = first.clone();
    let header = columns.has_header().then_some(first.as_slice());
    if header.is_some() {
        rows.next();
    }
    let text = index(source, &columns.text, header, &first)?;
    let label = columns.label.as_ref().map(|column| index(source, column, header, &first)).transpose()?;
    let mut examples = Vec::new();
    for (line, mut cells) in rows {
        let parsed = label.map(|label| parse_label(&cells[label], columns.label_kind)).transpose();
        match parsed {
            _ if !columns.empty_texts && cells[text].trim().is_empty() => problems.push(line, Problem::EmptyText),
            Err(problem) => problems.push(line, problem),
            Ok(label) => examples.push(Example { text: std::mem::take(&mut cells[text]), label, line }),
        }
    }
    Ok(examples)
}

/// The place of a column. Names go before numbers.
fn index(source: &str, column: &Column, header: Option<&[String]>, first: &[String]) -> Result<usize, DataError> {
    let name = match column {
        Column::Name(name) => name.clone(),
        Column::Number(number) => number.to_string(),
    };
    let named = header.and_then(|header| header.iter().position(|cell| cell.trim() == name));
    let numbered = match column {
        Column::Number(number) => (*number < first.len()).then_some(*number),
        Column::Name(_) => None,
    };
    named.or(numbered).ok_or_else(|| DataError::MissingColumn {
        source_name: source.to_owned(),
        column: column.to_string(),
        found: match header {
            Some(header) => header.iter().map(|cell| shortened(cell)).collect(),
            None => (0..first.len()).map(|number| number.to_string()).collect(),
        },
        hint: match column {
            Column::Name(_) => " (if the file has no header, give the columns by number, counted from 0)",
            Column::Number(_) => "",
        },
    })
}

/// A header's cell, cut where the file has no header and the cell is a text.
fn shortened(cell: &str) -> String {
    match cell.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &cell[..end]),
        None => cell.to_owned(),
    }
}

fn parse_label(cell: &str, kind: LabelKind) -> Result<Label, Problem> {
    match kind {
        LabelKind::Class if cell.trim().is_empty() => Err(Problem::EmptyLabel),
        LabelKind::Class => Ok(Label::Class(cell.trim().to_owned())),
        LabelKind::Classes => Ok(Label::Classes(match serde_json::from_str::<Vec<String>>(cell) {
            Ok(names) => names,
            Err(_) => separated(cell),
        })),
        LabelKind::Number => number(cell),
    }
}

/// Names separated by `|`.
pub(super) fn separated(cell: &str) -> Vec<String> {
    cell.split('|').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// A finite number.
pub(super) fn number(cell: &str) -> Result<Label, Problem> {
    let cell = cell.trim();
    match cell.parse::<f64>() {
        _ if cell.is_empty() => Err(Problem::EmptyLabel),
        Ok(number) if number.is_finite() => Ok(Label::Number(number)),
        _ => Err(Problem::NotANumber { found: cell.to_owned() }),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
