//! Comparing the tensors of a file with those that are needed.

use std::collections::BTreeMap;
use std::fmt;

use burn_adapters_files::{MAX_LISTED, shorten};

/// A tensor's name and shape, as the file has or should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// The name.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
}

/// A tensor with an unexpected shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshaped {
    /// The tensor's name.
    pub name: String,
    /// The shape that is needed.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub found: Vec<usize>,
}

/// The tensors of a file that do not match those that are needed. It prints as a list of several lines:
///
/// ```
/// use std::collections::BTreeMap;
///
/// use burn_adapters_tensors::Mismatch;
///
/// let tensors = |list: &[(&str, &[usize])]| -> BTreeMap<String, Vec<usize>> {
///     list.iter().map(|(name, shape)| (name.to_string(), shape.to_vec())).collect()
/// };
/// let needed = tensors(&[("a", &[2]), ("b", &[3, 4]), ("c", &[5])]);
/// let found = tensors(&[("b", &[4, 3]), ("c", &[5]), ("d", &[])]);
/// let mismatch = Mismatch::between(&needed, &found);
/// assert_eq!(
///     mismatch.to_string(),
///     "1 missing, 1 unexpected, 1 of another shape\n  missing: a [2]\n  unexpected: d []\n  \
///      another shape: b, expected [3, 4], found [4, 3]"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mismatch {
    /// Tensors that are needed but not in the file.
    pub missing: Vec<TensorShape>,
    /// Tensors in the file that are not needed.
    pub unexpected: Vec<TensorShape>,
    /// Tensors of another shape.
    pub reshaped: Vec<Reshaped>,
}

impl Mismatch {
    /// Compares shapes by name.
    pub fn between(expected: &BTreeMap<String, Vec<usize>>, found: &BTreeMap<String, Vec<usize>>) -> Self {
        let mut mismatch = Self::default();
        for (name, shape) in expected {
            mismatch.compare(name, shape, found.get(name).map(Vec::as_slice));
        }
        for (name, shape) in found.iter().filter(|(name, _)| !expected.contains_key(*name)) {
            mismatch.unexpected.push(TensorShape { name: name.clone(), shape: shape.clone() });
        }
        mismatch
    }

    /// Compares the shape of one tensor that is needed with the one in the file, if there is one.
    pub fn compare(&mut self, name: &str, expected: &[usize], found: Option<&[usize]>) {
        let name = name.to_owned();
        match found {
            None => self.missing.push(TensorShape { name, shape: expected.to_vec() }),
            Some(found) if found != expected => {
                self.reshaped.push(Reshaped { name, expected: expected.to_vec(), found: found.to_vec() });
            }
            Some(_) => {}
        }
    }

    /// Whether every tensor fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.reshaped.is_empty()
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { missing, unexpected, reshaped } = self;
        let counts =
            [(missing.len(), "missing"), (unexpected.len(), "unexpected"), (reshaped.len(), "of another shape")];
        for (index, (count, what)) in counts.into_iter().filter(|(count, _)| *count > 0).enumerate() {
            write!(f, "{}{count} {what}", if index == 0 { "" } else { ", " })?;
        }
        list(f, "missing", missing)?;
        list(f, "unexpected", unexpected)?;
        list(f, "another shape", reshaped)
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, tensors: &[impl fmt::Display]) -> fmt::Result {
    for tensor in tensors.iter().take(MAX_LISTED) {
        write!(f, "\n  {what}: {tensor}")?;
    }
    match tensors.len().saturating_sub(MAX_LISTED) {
        0 => Ok(()),
        more => write!(f, "\n  {what}: {more} more"),
    }
}

impl fmt::Display for TensorShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", shorten(&self.name), shown(&self.shape))
    }
}

impl fmt::Display for Reshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, expected {}, found {}", shorten(&self.name), shown(&self.expected), shown(&self.found))
    }
}

/// A shape in a file may have any number of dimensions.
fn shown(shape: &[usize]) -> String {
    shorten(&format!("{shape:?}")).into_owned()
}
