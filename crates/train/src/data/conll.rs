//! CoNLL columns: one token per line, in columns separated by tabs or white space, and a blank line between sentences.

use super::error::DataProblem;
use super::lists::Form;
use super::read::{Reader, check_length};
use super::{Column, DataError, Example, Label};
use crate::tasks::ConllLine;

/// The first column of a line that starts a document.
const DOCUMENT: &str = "-DOCSTART-";

/// Reads the sentences of a file. By default, the first column is the token and the last one its tag.
pub(super) fn read(bytes: &[u8], reader: &mut Reader<'_>) -> Result<(), DataError> {
    let [text_name, label_name] = reader.columns.task.columns();
    let token = number(reader, &reader.columns.text, text_name)?;
    let label = reader.columns.label.as_ref();
    // By default, the last column is the tag.
    let tag = label.map(|column| number(reader, column, label_name)).transpose()?;
    let mut sentence = Sentence::default();
    let mut width = None;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let Ok(text) = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)) else {
            reader.problems.push(index + 1, DataProblem::InvalidUtf8);
            continue;
        };
        let begins = ["# newdoc", "# newpar"].contains(&text);
        let is_comment = sentence.words.is_empty() && text.starts_with('#') && (begins || text.contains(" = "));
        if is_comment {
            continue;
        }
        let cells: Vec<&str> = if text.contains('\t') {
            text.split('\t').map(str::trim).collect()
        } else {
            text.split_whitespace().collect()
        };
        if cells.iter().all(|cell| cell.is_empty()) || cells.first() == Some(&DOCUMENT) {
            sentence.finish(reader);
            continue;
        }
        let expected = *width.get_or_insert(cells.len());
        if cells.len() != expected {
            reader.problems.push(index + 1, DataProblem::ConllColumns { expected, found: cells.len() });
            continue;
        }
        if token.is_none() && tag.is_none_or(|tag| tag.is_none()) {
            match reader.columns.task.conll_line(&cells) {
                ConllLine::Usual => {}
                ConllLine::Skipped => continue,
                ConllLine::Word { word, label } => {
                    sentence.line = if sentence.words.is_empty() { index + 1 } else { sentence.line };
                    let label = reader.columns.label.is_some().then_some(label);
                    sentence.push(word, label.as_deref(), index + 1, reader);
                    continue;
                }
            }
        }
        let token = token.unwrap_or(0);
        let tag = tag.map(|tag| tag.unwrap_or(expected - 1));
        if token >= expected || tag.is_some_and(|tag| tag >= expected || tag == token) {
            let found = (0..expected).map(|number| number.to_string()).collect();
            let column = tag.filter(|_| token < expected).unwrap_or(token);
            let hint = if tag == Some(token) { ", of which one is the token and another the tag" } else { "" };
            let (source_name, column) = (reader.source.to_owned(), Column::Number(column).to_string());
            return Err(DataError::MissingColumn { source_name, column, found, hint });
        }
        sentence.line = if sentence.words.is_empty() { index + 1 } else { sentence.line };
        sentence.push(cells[token], tag.map(|tag| cells[tag]), index + 1, reader);
    }
    sentence.finish(reader);
    Ok(())
}

/// The number of a column; `None` for its default name, which stands for its default position.
fn number(reader: &Reader<'_>, column: &Column, usual: &str) -> Result<Option<usize>, DataError> {
    match column {
        Column::Number(number) => Ok(Some(*number)),
        Column::Name(name) if name == usual => Ok(None),
        Column::Name(name) => {
            let message =
                format!("CoNLL columns have no names: give the number of the column `{name}`, counted from 0");
            Err(DataError::Malformed { source_name: reader.source.to_owned(), message })
        }
    }
}

/// A sentence being read.
#[derive(Default)]
struct Sentence {
    words: Vec<String>,
    tags: Vec<String>,
    line: usize,
}

impl Sentence {
    fn push(&mut self, word: &str, tag: Option<&str>, line: usize, reader: &mut Reader<'_>) {
        let problem = match tag {
            _ if word.is_empty() => Err(DataProblem::EmptyToken { number: self.words.len() + 1 }),
            Some("") => Err(DataProblem::EmptyLabel),
            Some(tag) => check_length(tag),
            None => Ok(()),
        };
        if let Err(problem) = problem {
            return reader.problems.push(line, problem);
        }
        self.words.push(word.to_owned());
        self.tags.extend(tag.map(str::to_owned));
    }

    fn finish(&mut self, reader: &mut Reader<'_>) {
        let Self { words, tags, line } = std::mem::take(self);
        if words.is_empty() {
            return;
        }
        let label = reader.columns.label.is_some().then_some((Label::Tags(tags), Form::Names));
        reader.push(Example::of_words(&words, line), label);
    }
}

#[cfg(test)]
#[path = "conll_tests.rs"]
mod tests;
