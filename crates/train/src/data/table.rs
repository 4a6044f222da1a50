//! CSV and TSV.

use super::DataError;
use super::error::DataProblem;

/// Processes a row, given its line and its cells.
pub(super) type EachRow<'a> = dyn FnMut(usize, &[&[u8]]) -> Result<(), DataError> + 'a;

/// Reads the rows of a CSV file. It ends at a row that cannot be parsed, and returns its line and the problem.
pub(super) fn csv_rows(bytes: &[u8], each: &mut EachRow<'_>) -> Result<Option<(usize, DataProblem)>, DataError> {
    if let Some(problem) = bad_quote(bytes) {
        return Ok(Some(problem));
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(None),
            Ok(true) => {
                let line = record.position().map_or(0, |position| first_line(bytes, position));
                each(line, &record.iter().collect::<Vec<_>>())?;
            }
            Err(error) => {
                let line = error.position().map_or(0, |position| position.line() as usize);
                return Ok(Some((line, DataProblem::BrokenCsv { message: error.to_string() })));
            }
        }
    }
}

/// The first line of a row: the parser's position may be before the line breaks that end the previous row.
fn first_line(bytes: &[u8], position: &csv::Position) -> usize {
    let rest = usize::try_from(position.byte()).ok().and_then(|start| bytes.get(start..)).unwrap_or_default();
    let breaks = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n').count();
    position.line() as usize + breaks
}

/// Reads the rows of a TSV file; blank lines are skipped.
pub(super) fn tsv_rows(bytes: &[u8], each: &mut EachRow<'_>) -> Result<(), DataError> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            each(index + 1, &line.split(|byte| *byte == b'\t').collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// The first quoted cell that does not end correctly, and the line on which it begins.
///
/// The parser takes everything up to the next quote as the cell, wherever that is, and text after the closing quote as
/// part of it: a single superfluous quote would silently swallow half a file.
fn bad_quote(bytes: &[u8]) -> Option<(usize, DataProblem)> {
    enum State {
        CellStart,
        Plain,
        /// In a quoted cell that begins on this line.
        Quoted(usize),
        /// After a quote on the second line, which may be the closing one.
        Closed(usize, usize),
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut state = State::CellStart;
    let mut line = 1;
    let mut previous = 0;
    for &byte in bytes {
        state = match (state, byte) {
            (State::Quoted(start), b'"') => State::Closed(start, line),
            (State::Quoted(start), _) => State::Quoted(start),
            (State::Closed(start, _), b'"') if previous == b'"' => State::Quoted(start),
            (_, b',' | b'\n' | b'\r') => State::CellStart,
            (State::CellStart, b'"') => State::Quoted(line),
            (State::CellStart | State::Plain, _) => State::Plain,
            (State::Closed(start, closed), b' ' | b'\t') => State::Closed(start, closed),
            (State::Closed(start, closed), _) => return Some((start, DataProblem::TextAfterQuote { closed })),
        };
        // A carriage return alone ends a line too.
        line += usize::from(byte == b'\n' && previous != b'\r' || byte == b'\r');
        previous = byte;
    }
    match state {
        State::Quoted(start) => Some((start, DataProblem::UnclosedQuote)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_over_carriage_returns_and_blank_lines() {
        let mut lines = Vec::new();
        let rows = csv_rows(b"a,b\r\nc,d\r\n\r\n\"e\r\nf\",g\nh,i\n\nj,k", &mut |line, _| {
            lines.push(line);
            Ok(())
        });
        assert!(rows.is_ok_and(|problem| problem.is_none()));
        assert_eq!(lines, [1, 2, 4, 6, 8]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_named_by_the_line_on_which_it_opens() {
        assert_eq!(bad_quote(b"a,b\r\nc,d\r\n\"e,f\r\ng,h\r\n"), Some((3, DataProblem::UnclosedQuote)));
        assert_eq!(bad_quote(b"a,b\n\"c \"\"d\"\",\ne\",f\n"), None);
        assert_eq!(bad_quote(b"a,b\n5\" pipe,d\n"), None);
        assert_eq!(bad_quote(b"a,b\n\"c\" ,d"), None);
    }

    #[test]
    fn a_quote_that_is_closed_by_that_of_another_cell_is_named_too() {
        let text = b"a,b\n\"never closed,pos\nx,neg\n\"well, closed\",pos\n";
        assert_eq!(bad_quote(text), Some((2, DataProblem::TextAfterQuote { closed: 4 })));
        assert_eq!(bad_quote(b"\"a\"b,c\n"), Some((1, DataProblem::TextAfterQuote { closed: 1 })));
    }
}
