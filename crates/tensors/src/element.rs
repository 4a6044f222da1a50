//! Number formats of floating point elements, in files and in memory.

use burn::tensor::{DType, Element as BurnElement};
use half::{bf16, f16};

/// The number formats of floating point elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FloatType {
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl FloatType {
    /// The size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            FloatType::F16 | FloatType::Bf16 => 2,
            FloatType::F32 => 4,
            FloatType::F64 => 8,
        }
    }

    /// The number format of Burn's elements, if it is one that files have.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F64 => Some(FloatType::F64),
            DType::F32 | DType::Flex32 => Some(FloatType::F32),
            DType::F16 => Some(FloatType::F16),
            DType::BF16 => Some(FloatType::Bf16),
            _ => None,
        }
    }

    /// The number format of Burn's elements.
    pub fn dtype(self) -> DType {
        match self {
            FloatType::F64 => DType::F64,
            FloatType::F32 => DType::F32,
            FloatType::F16 => DType::F16,
            FloatType::Bf16 => DType::BF16,
        }
    }

    /// Its name in safetensors files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FloatType::F16 => "F16",
            FloatType::Bf16 => "BF16",
            FloatType::F32 => "F32",
            FloatType::F64 => "F64",
        }
    }

    /// Its name in messages.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            FloatType::F16 => "f16",
            FloatType::Bf16 => "bf16",
            FloatType::F32 => "f32",
            FloatType::F64 => "f64",
        }
    }

    /// Whether a number is finite in this format.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            FloatType::F16 => !f16::from_f64(value).is_special(),
            FloatType::Bf16 => !<bf16 as Element>::from_f64(value).is_special(),
            FloatType::F32 => !(value as f32).is_special(),
            FloatType::F64 => !value.is_special(),
        }
    }

    /// Appends the elements in these bytes, converted.
    pub(crate) fn decode<E: Element>(self, bytes: &[u8], values: &mut Vec<E>) {
        match self {
            FloatType::F16 => {
                values.extend(bytes.as_chunks().0.iter().map(|bytes| E::from_f32(f16::from_le_bytes(*bytes).to_f32())));
            }
            FloatType::Bf16 => {
                values
                    .extend(bytes.as_chunks().0.iter().map(|bytes| E::from_f32(bf16::from_le_bytes(*bytes).to_f32())));
            }
            FloatType::F32 => {
                values.extend(bytes.as_chunks().0.iter().map(|bytes| E::from_f32(f32::from_le_bytes(*bytes))));
            }
            FloatType::F64 => {
                values.extend(bytes.as_chunks().0.iter().map(|bytes| E::from_f64(f64::from_le_bytes(*bytes))));
            }
        }
    }

    /// The elements in these bytes as f64, which can represent the values of every format.
    pub(crate) fn decode_exactly(self, bytes: &[u8]) -> Vec<f64> {
        let mut values = Vec::with_capacity(bytes.len() / self.size());
        self.decode(bytes, &mut values);
        values
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for half::f16 {}
    impl Sealed for half::bf16 {}
}

/// A floating point element that tensors can be read as: `f32`, `f64`, `half::f16` or `half::bf16`.
pub trait Element: BurnElement + sealed::Sealed {
    /// The number format.
    const TYPE: FloatType;

    /// The nearest element to a number.
    fn from_f32(value: f32) -> Self;

    /// The nearest element to a number.
    fn from_f64(value: f64) -> Self;

    /// Whether it is NaN or infinite.
    fn is_special(self) -> bool;
}

impl Element for f32 {
    const TYPE: FloatType = FloatType::F32;

    fn from_f32(value: f32) -> Self {
        value
    }

    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn is_special(self) -> bool {
        const EXPONENT: u32 = 0x7f80_0000;
        self.to_bits() & EXPONENT == EXPONENT
    }
}

impl Element for f64 {
    const TYPE: FloatType = FloatType::F64;

    fn from_f32(value: f32) -> Self {
        value.into()
    }

    fn from_f64(value: f64) -> Self {
        value
    }

    fn is_special(self) -> bool {
        !self.is_finite()
    }
}

impl Element for f16 {
    const TYPE: FloatType = FloatType::F16;

    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }

    fn from_f64(value: f64) -> Self {
        f16::from_f64(value)
    }

    fn is_special(self) -> bool {
        const EXPONENT: u16 = 0x7c00;
        self.to_bits() & EXPONENT == EXPONENT
    }
}

impl Element for bf16 {
    const TYPE: FloatType = FloatType::Bf16;

    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }

    fn from_f64(value: f64) -> Self {
        bf16::from_f64(value)
    }

    fn is_special(self) -> bool {
        const EXPONENT: u16 = 0x7f80;
        self.to_bits() & EXPONENT == EXPONENT
    }
}
