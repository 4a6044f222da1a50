//! Routes: which row of a batch goes through which adapter, and the reordering of rows.

use std::collections::HashMap;

/// For every row of a batch, the name of its adapter, or none. Rows without one are processed as without adapters.
///
/// A route without rows is open: its rows are given later, with
/// [`Composition::with_rows`](crate::Composition::with_rows).
///
/// ```
/// use burn_adapters_composition::Route;
///
/// let route = Route::new([Some("a"), None, Some("b"), Some("a")]);
/// assert_eq!(route.groups(), [(Some("a"), vec![0, 3]), (None, vec![1]), (Some("b"), vec![2])]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Route {
    rows: Vec<Option<String>>,
}

impl Route {
    /// A route with these rows; `None` is a row without an adapter.
    pub fn new<S: Into<String>>(rows: impl IntoIterator<Item = Option<S>>) -> Self {
        Self { rows: rows.into_iter().map(|row| row.map(Into::into)).collect() }
    }

    /// A route whose rows are given later.
    pub fn open() -> Self {
        Self::default()
    }

    /// Whether the rows must still be given.
    pub fn is_open(&self) -> bool {
        self.rows.is_empty()
    }

    /// The adapter of each row.
    pub fn rows(&self) -> &[Option<String>] {
        &self.rows
    }

    /// The adapters with their rows, in the order of first appearance; the rows of each are in ascending order. Rows
    /// without an adapter form a group too. Takes time linear in the number of rows.
    pub fn groups(&self) -> Vec<(Option<&str>, Vec<usize>)> {
        let mut places: HashMap<Option<&str>, usize> = HashMap::new();
        let mut groups: Vec<(Option<&str>, Vec<usize>)> = Vec::new();
        for (row, name) in self.rows.iter().enumerate() {
            let name = name.as_deref();
            let place = *places.entry(name).or_insert_with(|| {
                groups.push((name, Vec::new()));
                groups.len() - 1
            });
            groups[place].1.push(row);
        }
        groups
    }

    /// The rows in the order of their groups: in `gathered[i] = batch[order[i]]` the rows of each adapter are
    /// contiguous.
    ///
    /// ```
    /// use burn_adapters_composition::Route;
    ///
    /// let route = Route::new([Some("a"), Some("b"), Some("a")]);
    /// assert_eq!(route.gather_order(), [0, 2, 1]);
    /// ```
    pub fn gather_order(&self) -> Vec<usize> {
        self.groups().into_iter().flat_map(|(_, rows)| rows).collect()
    }

    /// The inverse order: `batch[i] = gathered[order[i]]`, where `gathered` is in [`Route::gather_order`].
    ///
    /// ```
    /// use burn_adapters_composition::Route;
    ///
    /// let route = Route::new([Some("a"), Some("b"), Some("a")]);
    /// assert_eq!(route.restore_order(), [0, 2, 1]);
    ///
    /// let batch = ["first", "second", "third"];
    /// let gathered: Vec<_> = route.gather_order().into_iter().map(|row| batch[row]).collect();
    /// let restored: Vec<_> = route.restore_order().into_iter().map(|place| gathered[place]).collect();
    /// assert_eq!(restored, batch);
    /// ```
    pub fn restore_order(&self) -> Vec<usize> {
        let order = self.gather_order();
        let mut inverse = vec![0; order.len()];
        for (place, row) in order.into_iter().enumerate() {
            inverse[row] = place;
        }
        inverse
    }
}

impl<S: Into<String>> FromIterator<Option<S>> for Route {
    fn from_iter<I: IntoIterator<Item = Option<S>>>(rows: I) -> Self {
        Self::new(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_in_the_order_in_which_their_adapters_appear() {
        let route = Route::new([None, Some("b"), Some("a"), None, Some("b")]);
        assert_eq!(route.groups(), [(None, vec![0, 3]), (Some("b"), vec![1, 4]), (Some("a"), vec![2])]);
        assert_eq!(route.gather_order(), [0, 3, 1, 4, 2]);
        assert_eq!(route.restore_order(), [0, 2, 4, 1, 3]);
    }

    #[test]
    fn an_open_route_has_no_groups() {
        assert!(Route::open().is_open());
        assert!(Route::open().groups().is_empty());
        assert!(Route::open().restore_order().is_empty());
    }
}
