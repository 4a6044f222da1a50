//! The values of a GGUF file's metadata.

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// A whole number of any width.
    Unsigned(u64),
    /// A whole number of any width that may be negative.
    Signed(i64),
    /// A number in single precision.
    F32(f32),
    /// A number in double precision.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// Texts.
    Texts(Vec<String>),
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Numbers.
    Floats(Vec<f64>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Lists.
    Lists(Vec<GgufValue>),
}

impl GgufValue {
    /// A whole number of at least 0.
    pub fn as_unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(value) => Some(*value),
            Self::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::F32(value) => Some(f64::from(*value)),
            Self::F64(value) => Some(*value),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Signed(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// True or false.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Texts.
    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Self::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    /// Whole numbers.
    pub fn as_integers(&self) -> Option<&[i64]> {
        match self {
            Self::Integers(values) => Some(values),
            _ => None,
        }
    }

    /// Numbers.
    pub fn as_floats(&self) -> Option<&[f64]> {
        match self {
            Self::Floats(values) => Some(values),
            _ => None,
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) => "a whole number",
            Self::F32(_) | Self::F64(_) => "a number",
            Self::Bool(_) => "a truth value",
            Self::Text(_) => "a text",
            Self::Texts(_) => "a list of texts",
            Self::Integers(_) => "a list of whole numbers",
            Self::Floats(_) => "a list of numbers",
            Self::Bools(_) => "a list of truth values",
            Self::Lists(_) => "a list of lists",
        }
    }
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u32> for GgufValue {
    fn from(value: u32) -> Self {
        Self::Unsigned(value.into())
    }
}

impl From<f32> for GgufValue {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<bool> for GgufValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// The number formats of the metadata, by their numbers in files.
pub(super) const UINT8: u32 = 0;
pub(super) const INT8: u32 = 1;
pub(super) const UINT16: u32 = 2;
pub(super) const INT16: u32 = 3;
pub(super) const UINT32: u32 = 4;
pub(super) const INT32: u32 = 5;
pub(super) const FLOAT32: u32 = 6;
pub(super) const BOOL: u32 = 7;
pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;
pub(super) const UINT64: u32 = 10;
pub(super) const INT64: u32 = 11;
pub(super) const FLOAT64: u32 = 12;
