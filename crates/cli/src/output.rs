//! Standard output: results only. If its reader closes it, this is not a failure.
//!
//! All output passes through here or, on standard error, through `draw`, so that text from files never reaches the
//! terminal unescaped.

use std::fmt;
use std::io::{IsTerminal, Write};

use burn_adapters_files::{printable, printable_json, printable_line};
use serde::Serialize;

use crate::draw;
use crate::error::{CliError, CliResult};

/// Writes one or several lines of a result.
pub(crate) fn line(text: impl fmt::Display) -> CliResult {
    write(&printable(&text.to_string()))
}

/// A name, path or other value within a line: it cannot begin a line of its own.
pub(crate) fn shown(value: impl fmt::Display) -> String {
    printable_line(&value.to_string()).into_owned()
}

/// Writes a part of a text that grows, at once.
pub(crate) fn piece(text: &str) -> CliResult {
    let mut stdout = std::io::stdout().lock();
    let written = write!(stdout, "{}", printable(text)).and_then(|()| stdout.flush());
    written.map_err(|error| CliError::output(&error))
}

/// A part of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'t> {
    pub(crate) text: &'t str,
    pub(crate) marked: bool,
}

/// Writes a text with some parts marked: in color on a terminal, otherwise in brackets.
pub(crate) fn parts(parts: &[Part<'_>]) -> CliResult {
    let [open, close] = match std::io::stdout().is_terminal() && draw::colors_wanted() {
        true => ["\u{1b}[1;32m", "\u{1b}[0m"],
        false => ["⟦", "⟧"],
    };
    let shown = |part: &Part<'_>| match part.marked {
        true => format!("{open}{}{close}", printable(part.text)),
        false => printable(part.text).into_owned(),
    };
    write(&parts.iter().map(shown).collect::<String>())
}

fn write(text: &str) -> CliResult {
    writeln!(std::io::stdout().lock(), "{text}").map_err(|error| CliError::output(&error))
}

/// Writes a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> CliResult {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::failure(format!("cannot write JSON: {error}")))?;
    write(&printable_json(&text))
}

/// Writes a value as one line of JSON.
pub(crate) fn json_line(value: &impl Serialize) -> CliResult {
    let text =
        serde_json::to_string(value).map_err(|error| CliError::failure(format!("cannot write JSON: {error}")))?;
    write(&printable_json(&text))
}

/// How a column of a table is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A plain table: columns as wide as their widest cell, two spaces between them.
#[derive(Debug)]
pub(crate) struct Table {
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
    /// The minimum width of each column.
    widths: Vec<usize>,
}

impl Table {
    /// A table with a header.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        Self {
            align: columns.iter().map(|(_, align)| *align).collect(),
            rows: vec![columns.iter().map(|(name, _)| shown(name)).collect()],
            widths: vec![0; columns.len()],
        }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Makes a column wide enough for a cell that may come later.
    pub(crate) fn make_room(&mut self, column: usize, cell: &str) {
        const MOST: usize = 40;
        let width = shown(cell).chars().count().min(MOST);
        if let Some(least) = self.widths.get_mut(column) {
            *least = width.max(*least);
        }
    }

    /// Takes out the rows so far; columns of later rows are at least as wide.
    pub(crate) fn take(&mut self) -> String {
        self.widths = self.widths();
        let text = self.to_string();
        self.rows.clear();
        text
    }

    fn widths(&self) -> Vec<usize> {
        let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
        let widest = |column| self.rows.iter().map(|row| cell(row, column)).max().unwrap_or(0);
        self.widths.iter().enumerate().map(|(column, least)| widest(column).max(*least)).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&self.align)
                .zip(&widths)
                .map(|((cell, align), width)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                })
                .collect();
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A number with thousands separators: `1,234,567`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes for display: `1.2 MB` (millions of bytes).
pub(crate) fn bytes(number: u64) -> String {
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{:.1} kB", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{:.1} GB", number as f64 / 1e9),
    }
}

/// A time in seconds for display: `8.4 s`, `3 min 12 s`.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_aligns_its_columns() {
        let mut table = Table::new(&[("name", Align::Left), ("n", Align::Right)]);
        table.row(vec!["a".into(), "10".into()]);
        assert_eq!(table.to_string(), "name   n\na     10");
    }

    #[test]
    fn a_table_in_parts_keeps_its_columns() {
        let mut table = Table::new(&[("label", Align::Left), ("text", Align::Left)]);
        table.make_room(0, "negative");
        table.row(vec!["good".into(), "a".into()]);
        assert_eq!(table.take(), "label     text\ngood      a");
        table.row(vec!["negative".into(), "b".into()]);
        assert_eq!(table.take(), "negative  b");
    }

    #[test]
    fn a_cell_stays_in_its_line_and_column() {
        let mut table = Table::new(&[("a\nb", Align::Left), ("n", Align::Right)]);
        table.row(vec!["\u{1b}[1A\u{202e}".into(), "1\t".into()]);
        assert_eq!(table.to_string(), "a\\nb                 n\n\\u{1b}[1A\\u{202e}  1\\t");
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(thousands(7), "7");
        assert_eq!(thousands(149_184), "149,184");
        assert_eq!(thousands(22_713_216), "22,713,216");
    }
}
