//! Sources of data: files, which may be compressed, and streams such as standard input.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::{DataError, Format};

/// The most bytes of decompressed data: 4 GiB.
const MAX_DATA: u64 = 4 << 30;

/// Decompressed data is at most this many times the size of the file (text rarely compresses by more than 20) …
const MAX_RATIO: u64 = 100;
/// … or this many bytes, whichever is more: 64 MiB.
const MIN_UNPACKED: u64 = 64 << 20;

/// The decompressed bytes of a data file, with a name for messages and the format.
///
/// ```
/// use burn_adapters_train::{Columns, Dataset, Format, Source};
///
/// let source = Source::from_reader("standard input", "text,label\nfine,pos\n".as_bytes(), Format::Csv)?;
/// assert_eq!(Dataset::from_source(&source, &Columns::default())?.len(), 1);
/// # Ok::<(), burn_adapters_train::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name, for messages.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The format.
    pub format: Format,
}

impl Source {
    /// Reads a file. Without a `format`, the extension determines it; a gzip file (`reviews.csv.gz`) is decompressed.
    ///
    /// # Errors
    /// If the file cannot be read, is too large, is not text, or has an unknown extension.
    pub fn open(path: &Path, format: Option<Format>) -> Result<Self, DataError> {
        let format = format.map_or_else(|| Format::of_path(path), Ok)?;
        Self::new(path.display().to_string(), Self::read_bytes(path)?, format)
    }

    /// Reads the bytes of a file, and decompresses gzip.
    ///
    /// # Errors
    /// If the file cannot be read or is too large.
    pub fn read_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
        let bytes = burn_adapters_files::read(path, MAX_DATA)?;
        unpacked(&path.display().to_string(), bytes)
    }

    /// Reads a stream to its end, and decompresses gzip.
    ///
    /// # Errors
    /// If reading fails, or the data is too large or not text.
    pub fn from_reader(name: impl Into<String>, reader: impl Read, format: Format) -> Result<Self, DataError> {
        let name = name.into();
        let bytes = unpacked(&name, read(&name, reader, MAX_DATA, false)?)?;
        Self::new(name, bytes, format)
    }

    fn new(name: String, bytes: Vec<u8>, format: Format) -> Result<Self, DataError> {
        check_text(&name, &bytes)?;
        Ok(Self { name, bytes, format })
    }
}

/// Decompresses gzip; other data is returned unchanged.
fn unpacked(name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, DataError> {
    if !bytes.starts_with(b"\x1F\x8B") {
        return Ok(bytes);
    }
    let limit = (bytes.len() as u64).saturating_mul(MAX_RATIO).clamp(MIN_UNPACKED, MAX_DATA);
    read(name, MultiGzDecoder::new(bytes.as_slice()), limit, true)
}

fn read(name: &str, reader: impl Read, limit: u64, compressed: bool) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    let count = reader.take(limit + 1).read_to_end(&mut bytes);
    match count {
        Err(error) if compressed => Err(DataError::Malformed {
            source_name: name.to_owned(),
            message: format!("the gzip file is damaged: {error}"),
        }),
        Err(error) => Err(DataError::Read { source_name: name.to_owned(), error }),
        Ok(count) if count as u64 > limit => {
            Err(DataError::TooLarge { source_name: name.to_owned(), limit, compressed })
        }
        Ok(_) => Ok(bytes),
    }
}

/// Rejects content that is clearly not UTF-8 text.
pub(super) fn check_text(name: &str, bytes: &[u8]) -> Result<(), DataError> {
    const UTF_8: &str = "save it as UTF-8 (in Excel: \"CSV UTF-8\")";
    let (found, expected) = match bytes {
        [0xFF, 0xFE, 0, 0, ..] | [0, 0, 0xFE, 0xFF, ..] => ("UTF-32 text", UTF_8),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => ("UTF-16 text", UTF_8),
        _ if is_utf_16(bytes) => ("UTF-16 text", UTF_8),
        [0x1F, 0x8B, ..] => ("gzip-compressed", "unpack it"),
        [b'P', b'K', 3, 4, ..] => ("a ZIP archive or an Excel workbook", "unpack it, or export the sheet as CSV UTF-8"),
        [b'P', b'A', b'R', b'1', ..] => ("a Parquet file", "convert it to .csv or .jsonl"),
        [0x28, 0xB5, 0x2F, 0xFD, ..] => ("Zstandard-compressed", "unpack it"),
        [b'B', b'Z', b'h', ..] if std::str::from_utf8(&bytes[..bytes.len().min(64)]).is_err() => {
            ("bzip2-compressed", "unpack it")
        }
        _ => return Ok(()),
    };
    Err(DataError::NotText { source_name: name.to_owned(), found, expected })
}

/// Recognizes UTF-16 without a byte order mark: every second of the first bytes is mostly 0.
fn is_utf_16(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(256) & !1];
    let zeros = |first: usize| start.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let (even, odd) = (zeros(0), zeros(1));
    let most = start.len() / 2;
    most >= 4 && (even.max(odd) * 10 > most * 6) && even.min(odd) * 10 < most * 2
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::{Columns, Dataset};

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compressed_files_are_unpacked_whatever_their_name_and_damage_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let whole = packed(b"text,label\nfine,pos\n");
        for name in ["data.csv.gz", "data.csv", "DATA.CSV.GZ"] {
            let path = directory.path().join(name);
            std::fs::write(&path, &whole).unwrap();
            assert_eq!(Dataset::read(&path, &Columns::default()).unwrap().len(), 1, "{name}");
        }
        let path = directory.path().join("cut.csv.gz");
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let error = Dataset::read(&path, &Columns::default()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        std::fs::write(directory.path().join("data.gz"), &whole).unwrap();
        assert!(Dataset::read(directory.path().join("data.gz"), &Columns::default()).is_err());
    }

    #[test]
    fn what_unpacks_without_end_is_refused() {
        let bomb = packed(&vec![b'a'; (MIN_UNPACKED + 10) as usize]);
        let result = Source::from_reader("bomb", bomb.as_slice(), Format::Csv).map(|source| source.bytes.len());
        assert!(matches!(result, Err(DataError::TooLarge { compressed: true, .. })), "{result:?}");
    }

    #[test]
    fn other_encodings_and_formats_are_named() {
        let utf_16 = |text: &str, mark: bool| -> Vec<u8> {
            let mark: &[u8] = if mark { b"\xFF\xFE" } else { b"" };
            mark.iter().copied().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
        };
        let text = "text,label\ngood,pos\n";
        for bytes in [utf_16(text, true), utf_16(text, false)] {
            let error = Dataset::parse("d.csv", &bytes, Format::Csv, &Columns::default()).unwrap_err().to_string();
            assert!(error.contains("UTF-16") && error.contains("UTF-8"), "{error}");
        }
        let workbook = Dataset::parse("d.csv", b"PK\x03\x04xxxx", Format::Csv, &Columns::default()).unwrap_err();
        assert!(workbook.to_string().contains("Excel"), "{workbook}");
    }
}
