//! The prediction heads of a model, and the rows that they process.

use std::fmt;
use std::str::FromStr;

use burn_adapters_diagnostics::deserialize_unique;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::check::{Finding, Search, located};
use crate::display::write_name;
use crate::grammar::{Parser, read as read_text};
use crate::json::{At, JsonError, read};
use crate::limits::{MOST_PARTS, check_value};
use crate::problem::CompositionError;
use crate::problem::ProblemKind;
use crate::spans::Part;
use crate::{Block, Composition, Route};

/// The heads in use.
///
/// ```
/// use burn_adapters_composition::{Composition, HeadSetup};
///
/// let adapters: Composition = "Stack(language, BatchSplit(a, b, batch_sizes=[1, 3]))".parse()?;
/// let heads = HeadSetup::of_adapters(&adapters);
/// assert_eq!(heads, Some("BatchSplit(a, b, batch_sizes=[1, 3])".parse()?));
/// assert_eq!("[a, b]".parse(), Ok(HeadSetup::several(["a", "b"])));
/// # Ok::<(), burn_adapters_composition::CompositionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadSetup {
    /// The only head of a model whose heads have no names: `true` in JSON, `True` in text.
    Unnamed,
    /// A single head.
    One(String),
    /// Several heads: one per branch of `Parallel` adapters, otherwise each on the whole batch.
    Several(Vec<String>),
    /// The batch is split; each head processes some of its rows.
    BatchSplit {
        /// The heads.
        heads: Vec<String>,
        /// The numbers of rows, one per head.
        batch_sizes: Vec<usize>,
    },
    /// Each row of the batch goes through its own head, or through none.
    Route(Route),
}

impl From<&str> for HeadSetup {
    fn from(name: &str) -> Self {
        Self::One(name.into())
    }
}

impl From<String> for HeadSetup {
    fn from(name: String) -> Self {
        Self::One(name)
    }
}

impl HeadSetup {
    /// Several heads.
    pub fn several<S: Into<String>>(heads: impl IntoIterator<Item = S>) -> Self {
        Self::Several(heads.into_iter().map(Into::into).collect())
    }

    /// The heads with the same names as the adapters of this composition, if it can be read as a setup of heads. A
    /// `Stack` stands for its last child, a `Parallel` gives one head per branch, a `BatchSplit` or `Route` of adapters
    /// gives one of heads, and an adapter gives its own. Fusions, splits of the sequence and averages have no heads of
    /// their own.
    ///
    /// An open `Route` has none: fill in its rows first ([`Composition::with_rows`]).
    pub fn of_adapters(adapters: &Composition) -> Option<Self> {
        let last = match adapters {
            Composition::Stack(children) => children.last()?,
            other => other,
        };
        let lasts = |children: &[Composition]| -> Option<Vec<String>> {
            children.iter().map(|child| child.last().map(str::to_owned)).collect()
        };
        match last {
            Composition::Adapter(name) => Some(Self::One(name.clone())),
            Composition::Parallel(children) => lasts(children).map(Self::Several),
            Composition::BatchSplit { children, batch_sizes } => {
                lasts(children).map(|heads| Self::BatchSplit { heads, batch_sizes: batch_sizes.clone() })
            }
            Composition::Route(route) if !route.is_open() => Some(Self::Route(route.clone())),
            _ => None,
        }
    }

    /// The heads in the order of the text, each listed once.
    pub fn names(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        let all: Vec<&str> = match self {
            Self::Unnamed => Vec::new(),
            Self::One(name) => vec![name],
            Self::Several(heads) | Self::BatchSplit { heads, .. } => heads.iter().map(String::as_str).collect(),
            Self::Route(route) => route.rows().iter().flatten().map(String::as_str).collect(),
        };
        all.into_iter().filter(|name| seen.insert(*name)).collect()
    }

    /// The composition with the same text, except for several heads, which become a `Parallel`.
    fn composition(&self) -> Option<Composition> {
        match self {
            Self::Unnamed => None,
            Self::One(name) => Some(Composition::from(name)),
            Self::Several(heads) => Some(Composition::parallel(heads)),
            Self::BatchSplit { heads, batch_sizes } => Some(Composition::batch_split(heads, batch_sizes.as_slice())),
            Self::Route(route) => Some(Composition::Route(route.clone())),
        }
    }

    /// Checks that the setup is valid: at least one head, a size of at least 1 for each, no empty names.
    ///
    /// # Errors
    ///
    /// All problems, with their positions in the text of the corresponding composition of adapters.
    pub fn validate(&self) -> Result<(), CompositionError> {
        self.composition().map_or(Ok(()), |composition| composition.validate())
    }

    /// Checks that the setup is valid and fits a batch of `batch` rows.
    ///
    /// # Errors
    ///
    /// As [`HeadSetup::validate`].
    pub fn validate_for_batch(&self, batch: usize) -> Result<(), CompositionError> {
        self.composition().map_or(Ok(()), |composition| composition.validate_for_batch(batch, None))
    }

    /// The heads that a composition stands for, or the problem if it is not a setup of heads.
    fn of_composition(composition: &Composition) -> (Self, Vec<Finding>) {
        let mut search = Search::default();
        let mut names = |children: &[Composition]| -> Vec<String> {
            let mut names = Vec::with_capacity(children.len());
            for (index, child) in children.iter().enumerate() {
                match (child, child.block()) {
                    (Composition::Adapter(name), _) => names.push(name.clone()),
                    (_, Some(block)) => {
                        search.indices.push(index);
                        search.report(Part::Head, ProblemKind::HeadExpected { block });
                        search.indices.pop();
                    }
                    (_, None) => {}
                }
            }
            names
        };
        let setup = match composition {
            Composition::Adapter(name) => Self::One(name.clone()),
            Composition::Stack(children) if matches!(children.as_slice(), [Composition::Adapter(_)]) => {
                Self::One(names(children).concat())
            }
            Composition::Parallel(children) => Self::Several(names(children)),
            Composition::BatchSplit { children, batch_sizes } => {
                Self::BatchSplit { heads: names(children), batch_sizes: batch_sizes.clone() }
            }
            Composition::Route(route) => Self::Route(route.clone()),
            other => {
                let block = other.block().unwrap_or(Block::Stack);
                search.report(Part::Head, ProblemKind::NotHeads { block });
                Self::Unnamed
            }
        };
        (setup, search.findings)
    }

    /// The reference's `head_setup`: a name, a list of names, `true`, or a block.
    ///
    /// ```
    /// use burn_adapters_composition::HeadSetup;
    ///
    /// assert_eq!(HeadSetup::several(["a", "b"]).to_json_value(), serde_json::json!(["a", "b"]));
    /// ```
    pub fn to_json_value(&self) -> Value {
        match self {
            Self::Unnamed => json!(true),
            Self::One(name) => json!(name),
            Self::Several(heads) => json!(heads),
            block => block.composition().map_or(Value::Null, |composition| composition.to_json_value()),
        }
    }

    /// Parses the reference's `head_setup`. A `Parallel` of heads is read as the equivalent list.
    ///
    /// # Errors
    ///
    /// [`JsonError`], with the position.
    pub fn from_json_value(value: &Value) -> Result<Self, JsonError> {
        Self::read(value, &At::root("head_setup"))
    }

    pub(crate) fn read(value: &Value, at: &At<'_>) -> Result<Self, JsonError> {
        let heads = "the name of a head, a list of names, or `Parallel`, `BatchSplit` or `Route` of heads";
        match value {
            Value::Bool(true) => Ok(Self::Unnamed),
            Value::String(name) => Ok(Self::One(name.clone())),
            Value::Array(items) if items.len() > MOST_PARTS => Err(JsonError::TooMany { limit: MOST_PARTS }),
            Value::Array(items) => {
                let name = |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| at.expected("names", item));
                items.iter().map(name).collect::<Result<_, _>>().map(Self::Several)
            }
            Value::Object(_) => {
                check_value(value)?;
                let (setup, findings) = Self::of_composition(&read(value, at, 0)?);
                if findings.is_empty() { Ok(setup) } else { Err(at.expected(heads, value)) }
            }
            other => Err(at.expected(heads, other)),
        }
    }
}

impl fmt::Display for HeadSetup {
    /// Writes the text that parses as an equal setup: the same as for adapters, but several heads are `[a, b]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnamed => f.pad("True"),
            Self::Several(heads) => {
                let mut text = String::from("[");
                for (index, head) in heads.iter().enumerate() {
                    if index > 0 {
                        text.push_str(", ");
                    }
                    write_name(head, &mut text);
                }
                text.push(']');
                f.pad(&text)
            }
            other => match other.composition() {
                Some(composition) => composition.fmt(f),
                None => Ok(()),
            },
        }
    }
}

impl FromStr for HeadSetup {
    type Err = CompositionError;

    /// Parses a head's name, `[a, b]`, `BatchSplit(a, b, batch_sizes=[1, 3])`, `Route([a, none])`, or `True`.
    fn from_str(text: &str) -> Result<Self, CompositionError> {
        if text.trim() == "True" {
            return Ok(Self::Unnamed);
        }
        if text.trim_start().starts_with('[') {
            let mut parser = Parser::new(text);
            let heads = parser.whole(|parser| {
                let (entries, _) = parser.list()?;
                Some(parser.names(entries))
            });
            return parser.finish(heads).map(Self::Several);
        }
        let (composition, spans) = read_text(text)?;
        let (setup, findings) = Self::of_composition(&composition);
        located(&composition, findings, || (text.to_owned(), spans))?;
        Ok(setup)
    }
}

impl Serialize for HeadSetup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HeadSetup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json_value(&deserialize_unique(deserializer)?).map_err(D::Error::custom)
    }
}
