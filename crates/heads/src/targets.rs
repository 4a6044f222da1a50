//! The targets of a batch.

/// The targets of some rows, on the host, where they can be checked without waiting for the device.
///
/// These are forms of targets, not tasks: several tasks may share one.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The number of the correct class, for each row.
    Classes(Vec<usize>),
    /// A target from 0 (no) to 1 (yes) for each label, for each row.
    Sets(Vec<Vec<f32>>),
    /// A number for each row.
    Values(Vec<f32>),
    /// For each token of each row the number of its class; `None` for tokens that are not learned (the reference's
    /// −100): special tokens, and all pieces of a word but its first.
    Tokens(Vec<Vec<Option<usize>>>),
}

impl Targets {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Targets::Classes(rows) => rows.len(),
            Targets::Sets(rows) => rows.len(),
            Targets::Values(rows) => rows.len(),
            Targets::Tokens(rows) => rows.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The form, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Targets::Classes(_) => "one class a row",
            Targets::Sets(_) => "a set of labels a row",
            Targets::Values(_) => "a number a row",
            Targets::Tokens(_) => "a class for each token of a row",
        }
    }

    /// The targets of these rows, in this order.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        fn of<T: Clone>(all: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|row| all[*row].clone()).collect()
        }
        match self {
            Targets::Classes(all) => Targets::Classes(of(all, rows)),
            Targets::Sets(all) => Targets::Sets(of(all, rows)),
            Targets::Values(all) => Targets::Values(of(all, rows)),
            Targets::Tokens(all) => Targets::Tokens(of(all, rows)),
        }
    }

    /// The classes of all tokens that have one; nothing for targets of rows.
    pub fn token_classes(&self) -> impl Iterator<Item = usize> + '_ {
        let rows = if let Targets::Tokens(rows) = self { rows.as_slice() } else { &[] };
        rows.iter().flatten().flatten().copied()
    }

    /// Every target as a whole number, in order: what a fingerprint of the targets is made of.
    pub fn for_each_bits(&self, mut each: impl FnMut(u64)) {
        match self {
            Targets::Classes(rows) => rows.iter().for_each(|class| each(*class as u64)),
            Targets::Sets(rows) => rows.iter().flatten().for_each(|value| each(value.to_bits().into())),
            Targets::Values(rows) => rows.iter().for_each(|value| each(value.to_bits().into())),
            Targets::Tokens(rows) => {
                rows.iter().flatten().for_each(|class| each(class.map_or(u64::MAX, |class| class as u64)));
            }
        }
    }
}
