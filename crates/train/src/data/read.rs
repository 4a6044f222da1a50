//! Parsing of bytes into examples.

use std::borrow::Cow;

use super::error::{DataProblem, Problems, shortened};
use super::lists::Form;
use super::{
    Column, Columns, DataError, Dataset, Example, Format, Header, Label, choices, conll, json, source, squad, table,
};
use crate::TextForm;

/// A label with more characters than this is a text from the wrong column.
const MAX_LABEL: usize = 1000;

pub(super) fn parse(source: &str, bytes: &[u8], format: Format, columns: &Columns) -> Result<Dataset, DataError> {
    source::check_text(source, bytes)?;
    check_columns(source, format, columns)?;
    let columns = &columns.with_default_pair();
    let mut reader = Reader::new(source, columns);
    match format {
        Format::Conll => conll::read(bytes, &mut reader)?,
        Format::JsonLines if squad::is_squad(bytes, columns) => squad::read(bytes, &mut reader)?,
        Format::JsonLines => json::read(bytes, &mut reader)?,
        Format::Csv => {
            let mut each = |line, cells: &[&[u8]]| reader.row(line, cells);
            if let Some((line, problem)) = table::csv_rows(bytes, &mut each)? {
                reader.problems.push(line, problem);
            }
        }
        Format::Tsv => table::tsv_rows(bytes, &mut |line, cells| reader.row(line, cells))?,
        Format::Lines => reader.lines(bytes),
    }
    reader.finish()
}

/// Checks that a format supports the requested columns.
fn check_columns(source: &str, format: Format, columns: &Columns) -> Result<(), DataError> {
    let malformed =
        |message: &str| Err(DataError::Malformed { source_name: source.to_owned(), message: message.to_owned() });
    let words = columns.task.reads_words();
    if words && columns.pair.is_some() {
        return malformed("words with a tag each come without a second text: leave the column of the pair out");
    }
    if columns.task.form() == TextForm::Choices && columns.pair.is_some() {
        return malformed("in multiple choice, the second texts are the choices: leave the column of the pair out");
    }
    match format {
        Format::Csv | Format::Tsv if words => malformed(
            "words with a tag each are read from JSON Lines (a list of tokens and a list of tags), or from CoNLL columns (a \
             token a line)",
        ),
        Format::Lines if columns.label.is_some() || columns.pair.is_some() => malformed(
            "a file of lines has a text a line and nothing else; texts with labels or second texts are read from other formats",
        ),
        Format::Conll if !words => malformed(
            "CoNLL columns hold a tag for each word, which is the task tagging; texts are read from other formats",
        ),
        _ => Ok(()),
    }
}

/// Examples being read.
pub(super) struct Reader<'a> {
    pub(super) source: &'a str,
    pub(super) columns: &'a Columns,
    pub(super) problems: Problems,
    examples: Vec<Example>,
    /// The form of each label.
    forms: Vec<Form>,
    /// The number of labels with spaces around them, and the first line of one.
    trimmed: Option<(usize, usize)>,
    layout: Option<Layout>,
}

/// The cells of a row that are used.
struct Row<'a> {
    text: Cow<'a, str>,
    pair: Option<Cow<'a, str>>,
    choices: Vec<Cow<'a, str>>,
    label: Option<Cow<'a, str>>,
}

impl<'a> Row<'a> {
    fn new(cells: &[&'a [u8]], layout: &Layout) -> Self {
        let cell = |index: usize| String::from_utf8_lossy(cells[index]);
        let choices = layout.choices.iter().copied().map(cell).collect();
        Self { text: cell(layout.text), pair: layout.pair.map(cell), choices, label: layout.label.map(cell) }
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.text).chain(self.pair.as_deref())
    }
}

/// The role of the first line of a table.
struct Layout {
    width: usize,
    text: usize,
    pair: Option<usize>,
    /// The column of each choice, or that of a list of them.
    choices: Vec<usize>,
    label: Option<usize>,
    /// The cells of the first line, if it may be a header or an example.
    doubtful: Option<Vec<String>>,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, columns: &'a Columns) -> Self {
        Self {
            source,
            columns,
            problems: Problems::default(),
            examples: Vec::new(),
            forms: Vec::new(),
            trimmed: None,
            layout: None,
        }
    }

    /// A row of a table.
    fn row(&mut self, line: usize, cells: &[&[u8]]) -> Result<(), DataError> {
        let Some(layout) = &self.layout else { return self.first_row(line, cells) };
        let width = layout.width;
        let invalid = cells.iter().any(|cell| std::str::from_utf8(cell).is_err());
        match (invalid, cells.len()) {
            (true, _) => self.problems.push(line, DataProblem::InvalidUtf8),
            (_, found) if found != width => {
                self.problems.push(line, DataProblem::ColumnCount { expected: width, found })
            }
            _ => {
                let row = Row::new(cells, layout);
                self.cells(line, row, false);
            }
        }
        Ok(())
    }

    /// A text a line; blank lines are skipped.
    fn lines(&mut self, bytes: &[u8]) {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        for (line, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
            match std::str::from_utf8(text.strip_suffix(b"\r").unwrap_or(text)) {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => self.push(Example::new(text, line + 1), None),
                Err(_) => self.problems.push(line + 1, DataProblem::InvalidUtf8),
            }
        }
    }

    fn first_row(&mut self, line: usize, cells: &[&[u8]]) -> Result<(), DataError> {
        if cells.iter().any(|cell| std::str::from_utf8(cell).is_err()) {
            self.problems.push(line, DataProblem::InvalidUtf8);
            return Ok(());
        }
        let first: Vec<String> = cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        let header = self.columns.has_header().then_some(first.as_slice());
        let text = index(self.source, &self.columns.text, header, &first)?;
        let find = |column: &Option<Column>| {
            column.as_ref().map(|column| index(self.source, column, header, &first)).transpose()
        };
        let (pair, label) = (find(&self.columns.pair)?, find(&self.columns.label)?);
        let twice = |what: &str, column: &dyn std::fmt::Display| {
            let message = format!("{what} are both to be read from the column {column}");
            Err(DataError::Malformed { source_name: self.source.to_owned(), message })
        };
        if label == Some(text) {
            return twice("text and label", &self.columns.text);
        }
        if pair == Some(text) {
            return twice("the two texts of a pair", &self.columns.text);
        }
        if let (Some(column), true) = (&self.columns.pair, pair.is_some() && pair == label) {
            return twice("second text and label", column);
        }
        let choices = match self.columns.task.form() {
            TextForm::Choices => choice_columns(self.source, self.columns, header, &first)?,
            _ => Vec::new(),
        };
        if let Some(column) = choices.iter().find(|column| [Some(text), pair, label].contains(&Some(**column))) {
            return twice("a choice and something else", &format!("number {column} (counted from 0)"));
        }
        let is_header = header.is_some();
        let doubtful = (!is_header && self.columns.header == Header::Auto)
            .then(|| first.iter().take(21).map(|cell| shortened(cell)).collect());
        let is_doubtful = doubtful.is_some();
        let layout = Layout { width: first.len(), text, pair, choices, label, doubtful };
        let row = Row::new(cells, &layout);
        self.layout = Some(layout);
        if !is_header {
            self.cells(line, row, is_doubtful);
        }
        Ok(())
    }

    fn cells(&mut self, line: usize, row: Row<'_>, doubtful: bool) {
        if !self.columns.empty_texts && row.texts().any(|text| text.trim().is_empty()) {
            return self.problems.push(line, DataProblem::EmptyText);
        }
        let label = match &row.label {
            None => Ok(None),
            Some(cell) => self.label(line, cell),
        };
        let choices = match row.choices.as_slice() {
            [] => Ok(Vec::new()),
            cells => choices::of_cells(&cells.iter().map(|cell| &**cell).collect::<Vec<_>>()),
        };
        match label.and_then(|label| Ok((label, choices?))) {
            Ok((label, choices)) => {
                let pair = row.pair.map(String::from);
                self.push(Example { pair, choices, ..Example::new(row.text, line) }, label);
            }
            Err(DataProblem::NotANumber { found }) if doubtful => {
                self.problems.push(line, DataProblem::NotANumberButAHeader { found });
            }
            Err(problem) => self.problems.push(line, problem),
        }
    }

    fn label(&mut self, line: usize, cell: &str) -> Result<Option<(Label, Form)>, DataProblem> {
        self.note_trim(line, cell);
        if self.columns.optional_label && cell.trim().is_empty() {
            return Ok(None);
        }
        self.columns.task.read_cell(cell).map(Some)
    }

    /// Counts a label with spaces around it.
    pub(super) fn note_trim(&mut self, line: usize, cell: &str) {
        if self.columns.task.trims() && cell.len() != cell.trim().len() && !cell.trim().is_empty() {
            self.trimmed.get_or_insert((0, line)).0 += 1;
        }
    }

    pub(super) fn push(&mut self, mut example: Example, label: Option<(Label, Form)>) {
        let (label, form) = label.map_or((None, Form::Empty), |(label, form)| (Some(label), form));
        example.label = label;
        self.examples.push(example);
        self.forms.push(form);
    }

    fn finish(mut self) -> Result<Dataset, DataError> {
        // An optional label is not one of the task.
        let read_notes = match self.columns.optional_label {
            true => Vec::new(),
            false => self.columns.task.settle(&mut self.examples, &self.forms, &mut self.problems),
        };
        let doubtful = self.layout.and_then(|layout| layout.doubtful);
        // A number among numbers is an example; a header would have been recognized before.
        let is_number = self.columns.label.is_some() && !self.columns.task.task().has_classes();
        if let Some(first) = doubtful.filter(|_| !is_number && !is_example(&self.examples)) {
            return Err(DataError::HeaderOrExample { source_name: self.source.to_owned(), first });
        }
        self.problems.into_result(self.source)?;
        let mut data = Dataset::from_examples(self.source, self.examples)?;
        (data.trimmed, data.read_notes) = (self.trimmed, read_notes);
        Ok(data)
    }
}

/// Whether the first row is clearly an example and not a header: its label is a number to be predicted or a vector, or
/// occurs again.
fn is_example(examples: &[Example]) -> bool {
    let Some((first, rest)) = examples.split_first() else { return false };
    match &first.label {
        Some(
            Label::Number(_)
            | Label::Vector(_)
            | Label::Tags(_)
            | Label::Answers(_)
            | Label::Choice(_)
            | Label::Text(_),
        ) => true,
        Some(label @ Label::Class(_)) => rest.iter().any(|example| example.label.as_ref() == Some(label)),
        Some(Label::Classes(names)) => {
            let comes_again = |other: &Label| matches!(other, Label::Classes(others) if others.contains(&names[0]));
            !names.is_empty() && rest.iter().filter_map(|example| example.label.as_ref()).any(comes_again)
        }
        None => false,
    }
}

/// The positions of the columns of the choices, or of that of a list of them.
fn choice_columns(
    source: &str,
    columns: &Columns,
    header: Option<&[String]>,
    first: &[String],
) -> Result<Vec<usize>, DataError> {
    if !columns.choices.is_empty() {
        return columns.choices.iter().map(|column| index(source, column, header, first)).collect();
    }
    let has = |name: &String| header.is_some_and(|header| header.iter().any(|cell| cell.trim() == name));
    let endings: Vec<String> = choices::endings().take_while(has).collect();
    let names = if endings.is_empty() { vec![choices::LIST.to_owned()] } else { endings };
    names.into_iter().map(|name| index(source, &Column::Name(name), header, first)).collect()
}

/// The position of a column. Names take precedence over numbers.
fn index(source: &str, column: &Column, header: Option<&[String]>, first: &[String]) -> Result<usize, DataError> {
    let name = match column {
        Column::Name(name) => name.clone(),
        Column::Number(number) => number.to_string(),
    };
    let cells = header.into_iter().flatten().enumerate();
    let named: Vec<usize> = cells.filter(|(_, cell)| cell.trim() == name).map(|(index, _)| index).collect();
    let numbered = match column {
        Column::Number(number) => (*number < first.len()).then_some(*number),
        Column::Name(_) => None,
    };
    match named.as_slice() {
        [] => {}
        [one] => return Ok(*one),
        _ => {
            let source_name = source.to_owned();
            return Err(DataError::DuplicateColumn { source_name, column: name, positions: named });
        }
    }
    numbered.ok_or_else(|| DataError::MissingColumn {
        source_name: source.to_owned(),
        column: column.to_string(),
        found: match header {
            Some(header) => header.iter().map(|cell| shortened(cell)).collect(),
            None => (0..first.len()).map(|number| number.to_string()).collect(),
        },
        hint: match (column, first) {
            (Column::Name(_), [one]) if one.contains(';') => {
                " (the columns seem to be separated by `;`: save the file with commas, or with tabs as .tsv)"
            }
            (Column::Name(_), [one]) if one.contains('\t') => {
                " (the columns seem to be separated by tabs: name the file .tsv, or give the format)"
            }
            (Column::Name(_), _) => " (if the file has no header, give the columns by number, counted from 0)",
            (Column::Number(_), _) => "",
        },
    })
}

/// Checks that a label is not as long as a text.
pub(crate) fn check_length(label: &str) -> Result<(), DataProblem> {
    if label.len() <= MAX_LABEL {
        return Ok(());
    }
    match label.chars().count() {
        characters if characters > MAX_LABEL => Err(DataProblem::LongLabel { characters, limit: MAX_LABEL }),
        _ => Ok(()),
    }
}

/// A finite number.
pub(crate) fn number(cell: &str) -> Result<Label, DataProblem> {
    let cell = cell.trim();
    match cell.parse::<f64>() {
        _ if cell.is_empty() => Err(DataProblem::EmptyLabel),
        Ok(number) if number.is_finite() => Ok(Label::Number(number)),
        _ => Err(DataProblem::NotANumber { found: cell.to_owned() }),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
