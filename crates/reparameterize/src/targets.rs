//! Which parameters to adapt.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use burn::module::{ParamGroup, ParamGroupError, ParamId};

use crate::WeightAdapterError;

/// Which parameters of a module to adapt, by their paths: the names of the fields that lead to them, joined by dots
/// (`layers.0.mha.query.weight`).
///
/// What a choice matches but a weight-side update cannot stand on (anything that is no matrix, the table of an
/// embedding) is left out and noted in the [report](crate::AddReport); what [`paths`](Self::paths) names must be there
/// and fit.
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
    /// The parameters whose path has a match of this regular expression.
    ///
    /// # Errors
    /// If the pattern is none.
    pub fn regex(pattern: &str) -> Result<Self, WeightAdapterError> {
        let group = ParamGroup::from_regex(pattern).map_err(|error| {
            let ParamGroupError::InvalidPatternError(reason) = error;
            WeightAdapterError::Pattern { pattern: pattern.to_owned(), reason }
        })?;
        Ok(Self { choice: Choice::Group(group), description: format!("the pattern `{pattern}`") })
    }

    /// The parameters whose path the function takes.
    pub fn matching(predicate: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { choice: Choice::Predicate(Arc::new(predicate)), description: "the predicate".into() }
    }

    /// Exactly these parameters; it is an error if one is missing or unfit.
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

    /// The paths that must be there.
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
