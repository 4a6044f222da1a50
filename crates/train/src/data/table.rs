//! Rows of CSV and TSV.

use super::error::{Problem, Problems};

/// A line's number and its cells.
pub(super) type Row = (usize, Vec<String>);

/// The rows of a CSV file; what is wrong goes to `problems`.
pub(super) fn csv_rows(bytes: &[u8], problems: &mut Problems) -> Vec<Row> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut rows = Vec::new();
    let mut width = None;
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return rows,
            Ok(true) => {
                let line = record.position().map_or(0, |position| position.line() as usize);
                push(line, record.iter(), &mut width, &mut rows, problems);
            }
            Err(error) => {
                let line = error.position().map_or(0, |position| position.line() as usize);
                problems.push(line, Problem::BrokenCsv { message: error.to_string() });
                return rows;
            }
        }
    }
}

/// The rows of a TSV file; blank lines are skipped.
pub(super) fn tsv_rows(bytes: &[u8], problems: &mut Problems) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut width = None;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            push(index + 1, line.split(|byte| *byte == b'\t'), &mut width, &mut rows, problems);
        }
    }
    rows
}

fn push<'a>(
    line: usize,
    cells: impl Iterator<Item = &'a [u8]>,
    width: &mut Option<usize>,
    rows: &mut Vec<Row>,
    problems: &mut Problems,
) {
    let Ok(cells) = cells.map(|cell| String::from_utf8(cell.to_vec())).collect::<Result<Vec<_>, _>>() else {
        return problems.push(line, Problem::InvalidUtf8);
    };
    let expected = *width.get_or_insert(cells.len());
    if cells.len() == expected {
        rows.push((line, cells));
    } else {
        problems.push(line, Problem::ColumnCount { expected, found: cells.len() });
    }
}
