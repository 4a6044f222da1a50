//! The header of a GGUF file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use burn_adapters_files::{FileError, shorten};
use burn_adapters_quantization::BlockType;

use super::Info;
use super::value::{
    ARRAY, BOOL, FLOAT32, FLOAT64, GgufTexts, GgufValue, INT8, INT16, INT32, INT64, STRING, UINT8, UINT16, UINT32,
    UINT64,
};
use crate::TensorFileError;

/// The first bytes of a file.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";
/// The alignment of tensors where the metadata has none.
pub(super) const ALIGNMENT: u64 = 32;
/// The most axes of a tensor.
const MOST_AXES: u32 = 4;
/// How deep lists may lie in lists.
const DEEPEST: usize = 16;
/// How many bytes are read at once.
const BUFFER: usize = 1 << 16;
/// The largest alignment.
const LARGEST_ALIGNMENT: u64 = 1 << 20;

/// The key of the alignment.
const ALIGNMENT_KEY: &str = "general.alignment";

/// What a header says.
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, GgufValue>,
    pub(super) tensors: BTreeMap<String, Info>,
}

impl Header {
    pub(super) fn read(path: &Path, file: &File, size: u64) -> Result<Self, TensorFileError> {
        let mut reader = Reader { path, file: BufReader::with_capacity(BUFFER, file), left: size };
        let magic = reader.bytes::<4>()?;
        if &magic != MAGIC {
            return Err(reader.damaged("not a GGUF file: it does not begin with `GGUF`"));
        }
        let version = reader.u32()?;
        if version.swap_bytes() == 2 || version.swap_bytes() == 3 {
            return Err(reader.damaged("it is big-endian, and only little-endian GGUF files are read"));
        }
        if !(2..=3).contains(&version) {
            return Err(reader.damaged(format!("version {version} of GGUF is not supported: versions 2 and 3 are")));
        }
        let (tensors, keys) = (reader.u64()?, reader.u64()?);
        // A key takes at least a length, a type and a byte; a tensor a length, an axis, a type and an offset.
        let (tensors, keys) = (reader.count("tensors", tensors, 32)?, reader.count("keys", keys, 13)?);
        let mut metadata = BTreeMap::new();
        for _ in 0..keys {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = reader.value(kind, 0)?;
            if metadata.contains_key(&key) {
                return Err(reader.damaged(format!("the key `{}` stands twice", shorten(&key))));
            }
            metadata.insert(key, value);
        }
        let alignment = match metadata.get(ALIGNMENT_KEY) {
            None => ALIGNMENT,
            Some(value) => match value.as_unsigned() {
                Some(alignment) if alignment.is_power_of_two() && alignment <= LARGEST_ALIGNMENT => alignment,
                _ => return Err(reader.damaged(format!("{ALIGNMENT_KEY} is not a power of two of at most 2^20"))),
            },
        };
        let mut infos: BTreeMap<String, Info> = BTreeMap::new();
        for _ in 0..tensors {
            let (name, info) = reader.info()?;
            if infos.contains_key(&name) {
                return Err(reader.damaged(format!("the tensor `{}` stands twice", shorten(&name))));
            }
            infos.insert(name, info);
        }
        let end = size - reader.left;
        let start = end.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
        place(path, &mut infos, start, alignment, size)?;
        Ok(Self { metadata, tensors: infos })
    }
}

/// Checks that the tensors lie in the file, one beside the other, and gives each its place there.
fn place(
    path: &Path,
    infos: &mut BTreeMap<String, Info>,
    data: u64,
    alignment: u64,
    size: u64,
) -> Result<(), TensorFileError> {
    let mut spans = Vec::new();
    for (name, info) in infos.iter_mut() {
        let name = shorten(name);
        if !info.start.is_multiple_of(alignment) {
            let reason = format!("the tensor `{name}` begins at {}, no multiple of {alignment}", info.start);
            return Err(TensorFileError::damaged(path, reason));
        }
        let start = data.saturating_add(info.start);
        let end = start.saturating_add(info.bytes.unwrap_or(1));
        if end > size {
            let reason = format!("cut short: the tensor `{name}` ends at byte {end}, the file has {size}");
            return Err(TensorFileError::damaged(path, reason));
        }
        info.start = start;
        spans.push((start, end, name.into_owned()));
    }
    spans.sort();
    match spans.windows(2).find(|pair| pair[1].0 < pair[0].1) {
        Some([(_, _, first), (_, _, second)]) => {
            Err(TensorFileError::damaged(path, format!("the tensors `{first}` and `{second}` overlap")))
        }
        _ => Ok(()),
    }
}

struct Reader<'a> {
    path: &'a Path,
    file: BufReader<&'a File>,
    /// The number of bytes that the file still has.
    left: u64,
}

impl Reader<'_> {
    fn damaged(&self, reason: impl std::fmt::Display) -> TensorFileError {
        TensorFileError::damaged(self.path, reason)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], TensorFileError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), TensorFileError> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => self.left = left,
            None => return Err(self.damaged("cut short: it ends within its header")),
        }
        self.file.read_exact(bytes).map_err(|error: io::Error| FileError::io(self.path)(error).into())
    }

    fn u32(&mut self) -> Result<u32, TensorFileError> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn u64(&mut self) -> Result<u64, TensorFileError> {
        Ok(u64::from_le_bytes(self.bytes()?))
    }

    /// A number of things that take at least so many bytes each.
    fn count(&self, what: &str, count: u64, least: u64) -> Result<usize, TensorFileError> {
        match count.checked_mul(least) {
            Some(bytes) if bytes <= self.left => Ok(count as usize),
            _ => Err(self.damaged(format!("it claims to have {count} {what}, but only {} more bytes", self.left))),
        }
    }

    fn text(&mut self) -> Result<String, TensorFileError> {
        let mut bytes = Vec::new();
        self.text_bytes(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| self.not_utf8())
    }

    /// Replaces `bytes` by those of a text.
    fn text_bytes(&mut self, bytes: &mut Vec<u8>) -> Result<(), TensorFileError> {
        let length = self.u64()?;
        let length = self.count("bytes in a text", length, 1)?;
        bytes.clear();
        bytes.resize(length, 0);
        self.fill(bytes)
    }

    fn not_utf8(&self) -> TensorFileError {
        self.damaged("a text in its header is not UTF-8")
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<GgufValue, TensorFileError> {
        Ok(match kind {
            UINT8 => GgufValue::Unsigned(self.bytes::<1>()?[0].into()),
            UINT16 => GgufValue::Unsigned(u16::from_le_bytes(self.bytes()?).into()),
            UINT32 => GgufValue::Unsigned(self.u32()?.into()),
            UINT64 => GgufValue::Unsigned(self.u64()?),
            INT8 => GgufValue::Signed(i8::from_le_bytes(self.bytes()?).into()),
            INT16 => GgufValue::Signed(i16::from_le_bytes(self.bytes()?).into()),
            INT32 => GgufValue::Signed(i32::from_le_bytes(self.bytes()?).into()),
            INT64 => GgufValue::Signed(i64::from_le_bytes(self.bytes()?)),
            FLOAT32 => GgufValue::F32(f32::from_le_bytes(self.bytes()?)),
            FLOAT64 => GgufValue::F64(f64::from_le_bytes(self.bytes()?)),
            BOOL => GgufValue::Bool(self.bytes::<1>()?[0] != 0),
            STRING => GgufValue::Text(self.text()?),
            ARRAY if depth < DEEPEST => self.list(depth)?,
            ARRAY => return Err(self.damaged(format!("lists lie in lists, more than {DEEPEST} deep"))),
            other => return Err(self.damaged(format!("a value of its metadata is of the unknown type {other}"))),
        })
    }

    fn list(&mut self, depth: usize) -> Result<GgufValue, TensorFileError> {
        let (kind, count) = (self.u32()?, self.u64()?);
        let least = match kind {
            UINT8 | INT8 | BOOL => 1,
            UINT16 | INT16 => 2,
            UINT32 | INT32 | FLOAT32 => 4,
            UINT64 | INT64 | FLOAT64 | STRING => 8,
            _ => 12,
        };
        let count = self.count("entries in a list", count, least)?;
        Ok(match kind {
            STRING => GgufValue::Texts(self.texts(count)?),
            BOOL => GgufValue::Bools(self.entries(count, |reader| Ok(reader.bytes::<1>()?[0] != 0))?),
            FLOAT32 => GgufValue::Floats(self.entries(count, |reader| Ok(f32::from_le_bytes(reader.bytes()?).into()))?),
            FLOAT64 => GgufValue::Floats(self.entries(count, |reader| Ok(f64::from_le_bytes(reader.bytes()?)))?),
            ARRAY => GgufValue::Lists(self.entries(count, |reader| reader.value(kind, depth + 1))?),
            kind => GgufValue::Integers(self.entries(count, |reader| reader.integer(kind))?),
        })
    }

    fn texts(&mut self, count: usize) -> Result<GgufTexts, TensorFileError> {
        let mut texts = GgufTexts::with_capacity(count);
        let mut bytes = Vec::new();
        for _ in 0..count {
            self.text_bytes(&mut bytes)?;
            texts.push(std::str::from_utf8(&bytes).map_err(|_| self.not_utf8())?);
        }
        Ok(texts)
    }

    fn entries<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, TensorFileError>,
    ) -> Result<Vec<T>, TensorFileError> {
        (0..count).map(|_| read(self)).collect()
    }

    /// An entry of a list of whole numbers.
    fn integer(&mut self, kind: u32) -> Result<i64, TensorFileError> {
        match self.value(kind, DEEPEST)? {
            GgufValue::Signed(value) => Ok(value),
            GgufValue::Unsigned(value) => {
                i64::try_from(value).map_err(|_| self.damaged(format!("the number {value} in a list is too large")))
            }
            _ => Err(self.damaged(format!("a list of its metadata is of the unknown type {kind}"))),
        }
    }

    /// The name of a tensor, and what the header says of it; its place is counted from the first tensor.
    fn info(&mut self) -> Result<(String, Info), TensorFileError> {
        let name = self.text()?;
        let axes = self.u32()?;
        if !(1..=MOST_AXES).contains(&axes) {
            return Err(
                self.damaged(format!("the tensor `{}` has {axes} axes, expected 1 to {MOST_AXES}", shorten(&name)))
            );
        }
        let mut sizes = Vec::new();
        for _ in 0..axes {
            sizes.push(self.u64()?);
        }
        let kind = BlockType::from_number(self.u32()?);
        let start = self.u64()?;
        let elements = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
        let fits = elements.filter(|count| *count > 0).and_then(|count| usize::try_from(count).ok());
        let (Some(elements), Some(row)) = (fits, sizes.first().copied()) else {
            return Err(self.damaged(format!("the tensor `{}` has the sizes {sizes:?}", shorten(&name))));
        };
        let block = kind.elements() as u64;
        if !row.is_multiple_of(block) {
            let reason =
                format!("the rows of `{}` have {row} elements, no multiple of {block} as {kind} asks", shorten(&name));
            return Err(self.damaged(reason));
        }
        let bytes = (elements as u64 / block).saturating_mul(kind.bytes() as u64);
        let bytes = kind.is_known().then_some(bytes);
        let shape = sizes.iter().rev().map(|size| *size as usize).collect();
        Ok((name, Info { shape, kind, start, bytes }))
    }
}
