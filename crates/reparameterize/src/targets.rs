//! The selection of parameters to adapt.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use burn::module::{ParamGroup, ParamGroupError, ParamId};

use crate::WeightAdapterError;

/// The parameters of a module to adapt, selected by their paths: the names of the fields that lead to them, joined by
/// dots (`layers.0.mha.query.weight`).
///
/// Matches that a weight-side update does not apply to (anything but a matrix, and embedding tables) are skipped and
/// listed in the [report](crate::AddReport). The parameters named by [`paths`](Self::paths) must exist and be
/// adaptable.
///
/// ```
/// use burn_adapters_reparameterize::Targets;
///
/// let queries_and_values = Targets::regex(r"\.(query|value)\.weight$")?;
/// let last_layer = Targets::matching(|path| path.starts_with("layers.11."));
/// # Ok::<(), burn_adapters_reparameterize::WeightAdapterError>(())
/// ```
#[derive(Clone)]
pub struct Targets {
    choice: Choice,
    description: String,
}

#[derive(Clone)]
enum Choice {
    Group(ParamGroup),
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    Paths(BTreeSet<String>),
}

impl Targets {
    /// The parameters whose path matches this regular expression (anywhere in the path).
    ///
    /// # Errors
    /// If `pattern` is not a valid regular expression.
    pub fn regex(pattern: &str) -> Result<Self, WeightAdapterError> {
        let group = ParamGroup::from_regex(pattern).map_err(|error| {
            let ParamGroupError::InvalidPatternError(reason) = error;
            WeightAdapterError::Pattern { pattern: pattern.to_owned(), reason }
        })?;
        Ok(Self { choice: Choice::Group(group), description: format!("the pattern `{pattern}`") })
    }

    /// The parameters whose path the function accepts.
    pub fn matching(predicate: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { choice: Choice::Predicate(Arc::new(predicate)), description: "the predicate".into() }
    }

    /// Exactly these parameters; it is an error if one is missing or cannot be adapted.
    pub fn paths<S: Into<String>>(paths: impl IntoIterator<Item = S>) -> Self {
        let paths: BTreeSet<String> = paths.into_iter().map(Into::into).collect();
        let description = format!("the paths {}", paths.iter().cloned().collect::<Vec<_>>().join(", "));
        Self { choice: Choice::Paths(paths), description }
    }

    pub(crate) fn matches(&self, id: &ParamId, path: &str) -> bool {
        match &self.choice {
            Choice::Group(group) => group.matches(id, Some(path)),
            Choice::Predicate(predicate) => predicate(path),
            Choice::Paths(paths) => paths.contains(path),
        }
    }

    /// The paths of parameters that must exist.
    pub(crate) fn exact(&self) -> Option<&BTreeSet<String>> {
        match &self.choice {
            Choice::Paths(paths) => Some(paths),
            _ => None,
        }
    }
}

impl From<ParamGroup> for Targets {
    fn from(group: ParamGroup) -> Self {
        Self { choice: Choice::Group(group), description: "the parameter group".into() }
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.description)
    }
}

impl fmt::Debug for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Targets").field(&self.description).finish()
    }
}
