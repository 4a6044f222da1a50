//! The texts of `predict`, read as they are needed: the first are predicted before the last is read.
//!
//! The input is cut into records (lines, or rows of CSV with line breaks in quotes), and blocks of records are parsed as
//! files of their own, each behind the first record of the input, which may be the header.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use burn_adapters_train::{Columns, DataError, Dataset, Example, Format};
use flate2::read::MultiGzDecoder;

use super::data::data_error;
use crate::error::{CliError, CliResult};

/// The longest record in bytes.
const MAX_RECORD: usize = 16 << 20;

/// The most bytes that are parsed together.
const MAX_BLOCK: usize = 64 << 20;

/// The pause of a stream after which the texts that have arrived are predicted.
const PAUSE: Duration = Duration::from_millis(50);

/// How the records are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// One text per line; an empty line is an empty text, so that the output has as many lines as the input.
    Lines,
    /// Tables.
    Table(Format, Columns),
}

/// A line, or a row of CSV.
#[derive(Debug)]
struct Record {
    bytes: Vec<u8>,
    line: usize,
}

/// Where records come from.
enum Records {
    /// A file: records are available at once.
    File(Splitter<BufReader<Box<dyn Read>>>),
    /// A stream: records arrive over time.
    Stream(Receiver<CliResult<Record>>),
}

/// The first record, which is put before every block.
struct Head {
    bytes: Vec<u8>,
    lines: usize,
    /// Whether it is an example, not a header.
    is_example: bool,
}

/// Texts in the order of the input.
pub(super) struct Feed {
    name: String,
    reading: Reading,
    records: Records,
    head: Option<Head>,
    /// A record that was read, but belongs to the next block.
    next: Option<Record>,
    any: bool,
    ended: bool,
}

impl Feed {
    /// The texts of a file, decompressed while it is read if it is a gzip file.
    pub(super) fn file(name: &str, reading: &Reading, mut file: File) -> std::io::Result<Self> {
        let mut start = Vec::with_capacity(2);
        Read::by_ref(&mut file).take(2).read_to_end(&mut start)?;
        file.rewind()?;
        let file: Box<dyn Read> =
            if start == b"\x1F\x8B" { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(file) };
        let splitter = Splitter::new(BufReader::new(file), reading.is_csv(), name);
        Ok(Self::new(name, reading, Records::File(splitter)))
    }

    /// The texts of a stream. A thread reads it, so that a pause can be noticed.
    pub(super) fn stream(name: &str, reading: &Reading, stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = sync_channel(256);
        let splitter = Splitter::new(BufReader::new(stream), reading.is_csv(), name);
        std::thread::spawn(move || {
            for record in splitter {
                // Nobody listens any more when the program ends.
                if sender.send(record).is_err() {
                    return;
                }
            }
        });
        Self::new(name, reading, Records::Stream(receiver))
    }

    fn new(name: &str, reading: &Reading, records: Records) -> Self {
        Self {
            name: name.to_owned(),
            reading: reading.clone(),
            records,
            head: None,
            next: None,
            any: false,
            ended: false,
        }
    }

    /// The next texts, about `count` of them; none at the end.
    pub(super) fn next_block(&mut self, count: usize) -> Result<Option<Vec<Example>>, FeedError> {
        loop {
            let block = self.records(count)?;
            let Some(first) = block.first() else {
                if self.any {
                    return Ok(None);
                }
                return Err(FeedError::Data(DataError::Empty { source_name: self.name.clone() }));
            };
            let examples = match self.reading.clone() {
                Reading::Lines => block.into_iter().map(|record| self.line(record)).collect::<Result<_, _>>()?,
                Reading::Table(format, columns) => {
                    let line = first.line;
                    // Bad rows are rows, too.
                    let parsed = self.parse(block, line, format, &columns);
                    self.any |= matches!(parsed, Err(DataError::BadRows { .. }));
                    parsed.map_err(FeedError::Data)?
                }
            };
            if !examples.is_empty() {
                self.any = true;
                return Ok(Some(examples));
            }
        }
    }

    /// Whether the input is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn records(&mut self, count: usize) -> CliResult<Vec<Record>> {
        let mut block: Vec<Record> = Vec::new();
        let mut bytes = 0;
        // A table begins with a header, most often.
        let begins_table =
            self.head.is_none() && matches!(self.reading, Reading::Table(format, _) if format != Format::JsonLines);
        let count = count + usize::from(begins_table);
        while block.len() < count {
            let record = match self.next.take() {
                Some(record) => Some(record),
                None => match &mut self.records {
                    Records::File(splitter) => splitter.next().transpose()?,
                    Records::Stream(receiver) if block.is_empty() => receiver.recv().ok().transpose()?,
                    Records::Stream(receiver) => match receiver.recv_timeout(PAUSE) {
                        Ok(record) => Some(record?),
                        Err(RecvTimeoutError::Timeout) => break,
                        Err(RecvTimeoutError::Disconnected) => None,
                    },
                },
            };
            let Some(record) = record else {
                self.ended = true;
                break;
            };
            if !block.is_empty() && bytes + record.bytes.len() > MAX_BLOCK {
                self.next = Some(record);
                break;
            }
            bytes += record.bytes.len();
            block.push(record);
        }
        Ok(block)
    }

    fn line(&self, record: Record) -> CliResult<Example> {
        let Record { mut bytes, line } = record;
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let utf_16 =
                line == 1 && [&b"\xFF\xFE"[..], b"\xFE\xFF"].iter().any(|mark| error.as_bytes().starts_with(mark));
            let found = if utf_16 { "UTF-16 text: save it as UTF-8" } else { "not valid UTF-8" };
            CliError::mistake(format!("{}, line {line}: {found}", self.name))
        })?;
        let text =
            if line == 1 { text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned) } else { text };
        Ok(Example::new(text, line))
    }

    fn parse(
        &mut self,
        block: Vec<Record>,
        first_line: usize,
        format: Format,
        columns: &Columns,
    ) -> Result<Vec<Example>, DataError> {
        let bytes = |records: Vec<Record>| records.into_iter().flat_map(|record| record.bytes).collect::<Vec<u8>>();
        let Some(head) = &self.head else {
            return self.parse_first(block, format, columns);
        };
        let mut whole = head.bytes.clone();
        whole.extend(bytes(block));
        let shift = |line: usize| (line + first_line).saturating_sub(head.lines + 1);
        match Dataset::parse(&self.name, &whole, format, columns) {
            Ok(data) => {
                let examples = data.examples().iter().skip(usize::from(head.is_example)).cloned();
                Ok(examples.map(|example| Example { line: shift(example.line), ..example }).collect())
            }
            Err(DataError::Empty { .. }) => Ok(Vec::new()),
            Err(DataError::BadRows { source_name, mut problems, more }) => {
                problems.iter_mut().for_each(|problem| problem.line = shift(problem.line));
                Err(DataError::BadRows { source_name, problems, more })
            }
            Err(error) => Err(error),
        }
    }

    /// The first block, which determines whether its first record is a header.
    fn parse_first(
        &mut self,
        block: Vec<Record>,
        format: Format,
        columns: &Columns,
    ) -> Result<Vec<Example>, DataError> {
        // Blank lines before the first record are no part of it.
        let blank = |record: &Record| record.bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        let skipped = block.iter().take_while(|record| blank(record)).count();
        let head: Vec<u8> = block.iter().take(skipped + 1).flat_map(|record| record.bytes.clone()).collect();
        let whole: Vec<u8> = block.into_iter().flat_map(|record| record.bytes).collect();
        let examples = match Dataset::parse(&self.name, &whole, format, columns) {
            Ok(data) => data.examples().to_vec(),
            Err(DataError::Empty { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        // A record of JSON Lines stands for itself; in a table the others are like the first.
        let head = if format == Format::JsonLines { Vec::new() } else { head };
        let is_example = !head.is_empty() && Dataset::parse(&self.name, &head, format, columns).is_ok();
        if head.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) || format == Format::JsonLines {
            let lines = head.iter().filter(|byte| **byte == b'\n').count();
            self.head = Some(Head { bytes: head, lines, is_example });
        }
        Ok(examples)
    }
}

/// Why texts cannot be read; bad rows are collected over the whole file.
pub(super) enum FeedError {
    Data(DataError),
    Other(CliError),
}

impl From<CliError> for FeedError {
    fn from(error: CliError) -> Self {
        FeedError::Other(error)
    }
}

impl From<FeedError> for CliError {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::Data(error) => data_error(&error),
            FeedError::Other(error) => error,
        }
    }
}

impl Reading {
    fn is_csv(&self) -> bool {
        matches!(self, Reading::Table(Format::Csv, _))
    }
}

/// Cuts bytes into records.
struct Splitter<R> {
    reader: R,
    csv: bool,
    name: String,
    line: usize,
    ended: bool,
}

impl<R: BufRead> Splitter<R> {
    fn new(reader: R, csv: bool, name: &str) -> Self {
        Self { reader, csv, name: name.to_owned(), line: 1, ended: false }
    }

    fn record(&mut self) -> CliResult<Option<Record>> {
        let (mut bytes, line, mut quotes) = (Vec::new(), self.line, Quotes::FieldStart);
        loop {
            let start = bytes.len();
            let most = (MAX_RECORD + 1).saturating_sub(start) as u64;
            let read = Read::by_ref(&mut self.reader).take(most).read_until(b'\n', &mut bytes);
            read.map_err(|error| CliError::failure(format!("cannot read {}: {error}", self.name)))?;
            if bytes.len() > MAX_RECORD {
                let open = if quotes.is_open() {
                    "; a quote that is never closed makes one row of all that follows"
                } else {
                    ""
                };
                return Err(CliError::mistake(format!(
                    "{}, line {line}: the text is longer than {} MiB{open}",
                    self.name,
                    MAX_RECORD >> 20
                )));
            }
            let piece = &bytes[start..];
            self.line += usize::from(piece.ends_with(b"\n"));
            if piece.is_empty() {
                return Ok((!bytes.is_empty()).then_some(Record { bytes, line }));
            }
            let piece = if self.csv && line == 1 && start == 0 {
                piece.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(piece)
            } else {
                piece
            };
            if !self.csv || !piece.iter().fold(&mut quotes, Quotes::step).is_open() {
                return Ok(Some(Record { bytes, line }));
            }
        }
    }
}

impl<R: BufRead> Iterator for Splitter<R> {
    type Item = CliResult<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let record = self.record().transpose();
        self.ended = !matches!(record, Some(Ok(_)));
        record
    }
}

/// Where in a row of CSV a byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote that ends the cell, or is the first of two.
    Closing,
}

impl Quotes {
    fn step<'q>(state: &'q mut Self, byte: &u8) -> &'q mut Self {
        *state = match (*state, byte) {
            (Quotes::Quoted, b'"') => Quotes::Closing,
            (Quotes::FieldStart | Quotes::Closing, b'"') | (Quotes::Quoted, _) => Quotes::Quoted,
            (_, b',' | b'\n' | b'\r') => Quotes::FieldStart,
            _ => Quotes::Plain,
        };
        state
    }

    fn is_open(self) -> bool {
        self == Quotes::Quoted
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Cursor;

    use burn_adapters_train::Header;

    use super::*;

    fn feed(text: &'static [u8], reading: &Reading) -> Feed {
        Feed::stream("x", reading, Cursor::new(text))
    }

    fn all(text: &'static [u8], reading: &Reading, count: usize) -> CliResult<Vec<(usize, String)>> {
        let mut feed = feed(text, reading);
        let mut found = Vec::new();
        while let Some(block) = feed.next_block(count)? {
            found.extend(block.into_iter().map(|example| (example.line, example.text)));
        }
        Ok(found)
    }

    fn table(format: Format) -> Reading {
        Reading::Table(format, Columns::unlabeled("text").with_empty_texts(true))
    }

    #[test]
    fn blocks_of_any_size_give_what_the_whole_file_gives() {
        let csv = b"\xEF\xBB\xBF\"text\",n\n\"a, \"\"b\"\"\nc\",1\nd \"e\",2\n,3\n\"\",4\ng,5".as_slice();
        let tsv = b"n\ttext\n1\t\"a\n\n2\tb\n3\t\n4\tc\n".as_slice();
        let json = b"{\"text\":\"a\"}\n\n{\"text\":\"\"}\n{\"text\":\"c\\n\"}".as_slice();
        for (bytes, format) in [(csv, Format::Csv), (tsv, Format::Tsv), (json, Format::JsonLines)] {
            let reading = table(format);
            let Reading::Table(_, columns) = &reading else { unreachable!() };
            let whole = Dataset::parse("x", bytes, format, columns).unwrap();
            let whole: Vec<_> = whole.examples().iter().map(|example| (example.line, example.text.clone())).collect();
            assert!(whole.len() > 2);
            for count in 1..9 {
                assert_eq!(all(bytes, &reading, count).unwrap(), whole, "{format:?} in blocks of {count}");
            }
        }
    }

    #[test]
    fn numbered_columns_need_no_header() {
        let reading = Reading::Table(Format::Tsv, Columns::unlabeled(1).with_header(Header::No));
        for count in 1..4 {
            let found = all(b"1\ta\n2\tb\n3\tc\n", &reading, count).unwrap();
            assert_eq!(found, [(1, "a".into()), (2, "b".into()), (3, "c".into())]);
            let error = all(b"1\ta\n2\tb\n3\n", &reading, count).unwrap_err();
            assert!(error.problems[0].message.contains("line 3"), "{error:?}");
        }
    }

    #[test]
    fn an_empty_line_is_an_empty_text_and_an_empty_file_an_error() {
        let found = all(b"\xEF\xBB\xBFa\r\n\nb\n", &Reading::Lines, 2).unwrap();
        assert_eq!(found, [(1, "a".into()), (2, String::new()), (3, "b".into())]);
        for (text, reading) in
            [(&b""[..], Reading::Lines), (b"", table(Format::Csv)), (b"text,n\n", table(Format::Csv))]
        {
            assert_eq!(all(text, &reading, 2).unwrap_err().exit_code(), 2);
        }
        assert!(all(b"a\n\xff\n", &Reading::Lines, 9).unwrap_err().problems[0].message.contains("line 2"));
    }

    #[test]
    fn a_quote_opens_a_cell_at_its_start_only() {
        let open = |row: &str| {
            row.bytes().fold(Quotes::FieldStart, |mut state, byte| *Quotes::step(&mut state, &byte)).is_open()
        };
        for row in ["\"a", "a,\"b\n", "\"a\"\"", "\"a\"\"b\n", "\"a,\n\"\"\n"] {
            assert!(open(row), "{row}");
        }
        for row in ["a\"b\n", "\"a\"\n", "\"a\"\"\"\n", "\"a\" b\"\n", "a,b\"c,d\n"] {
            assert!(!open(row), "{row}");
        }
    }

    #[test]
    fn a_record_without_end_is_an_error_and_takes_no_memory() {
        let endless = std::io::repeat(b'x');
        let error = Splitter::new(BufReader::new(endless), false, "x").next().unwrap().unwrap_err();
        assert!(error.problems[0].message.contains("longer than 16 MiB"), "{error:?}");
    }
}
