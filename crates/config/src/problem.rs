//! The kinds of problems and their texts.

use burn_adapters_diagnostics as diagnostics;
use burn_adapters_diagnostics::{Explain, alternatives, closing};
use thiserror::Error;

use crate::FusionConfig;

/// The kind of a problem. Its `Display` is the message; the position is in [`Problem`](crate::Problem).
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message explains the fields")]
pub enum ProblemKind {
    /// The text is empty.
    #[error("the configuration is empty")]
    Empty,
    /// Something else was expected here.
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
    /// A bracket or quote that never closes.
    #[error("this `{opener}` is never closed")]
    Unclosed { opener: String },
    /// Text after the configuration's end.
    #[error("unexpected text after the configuration: {found}")]
    TrailingText { found: String },
    /// A text that is too long.
    #[error("the text has {bytes} bytes, more than the limit of {limit}")]
    TooLong { bytes: usize, limit: usize },
    /// Too many methods in a union.
    #[error("the union has more than {limit} methods")]
    TooManyMethods { limit: usize },
    /// Brackets that are nested too deeply.
    #[error("brackets are nested more than {limit} deep")]
    TooDeep { limit: usize },
    /// An unknown escape sequence in a string.
    #[error("`{escape}` is not an escape sequence")]
    BadEscape { escape: String },
    /// An invalid number, or one that is too large.
    #[error("`{text}` is not a valid number")]
    BadNumber { text: String },
    /// An unquoted word as a value.
    #[error("expected a value, found the word `{word}`")]
    Unquoted { word: String },
    /// A file that is not JSON.
    #[error("not valid JSON: {reason}")]
    InvalidJson { reason: String },
    /// JSON that is not a configuration.
    #[error("expected {expected}, found {found}")]
    NotAConfig { expected: &'static str, found: String },

    /// No method has this name.
    #[error("unknown method `{name}`")]
    UnknownIdentifier { name: String, nearest: Option<String> },
    /// No AdapterFusion has this name.
    #[error("unknown AdapterFusion `{name}`")]
    UnknownFusion { name: String, nearest: Option<&'static str> },
    /// No method has this `architecture`.
    #[error("unknown architecture `{name}`")]
    UnknownArchitecture { name: String, nearest: Option<String> },
    /// The method has no such key. `elsewhere` names a method that has it.
    #[error("unknown key `{key}` for `{owner}`")]
    UnknownKey { key: String, owner: String, nearest: Option<String>, elsewhere: Option<&'static str> },
    /// A key is given twice.
    #[error("the key `{key}` is given twice")]
    DuplicateKey { key: String },
    /// A required key is missing.
    #[error("{owner} needs the key `{key}`")]
    MissingKey { key: &'static str, owner: String },
    /// A value of the wrong type.
    #[error("`{key}` must be {expected}, not {found}")]
    WrongType { key: String, expected: &'static str, found: String },
    /// A name that is not among the allowed ones.
    #[error("unknown value {value} for `{key}`")]
    UnknownValue { key: String, value: String, allowed: Vec<&'static str>, nearest: Option<String> },
    /// A number outside its range.
    #[error("`{key}` is {value}, but must be {allowed}")]
    OutOfRange { key: String, value: String, allowed: &'static str },
    /// A duplicate item in a list.
    #[error("`{key}` lists `{item}` twice")]
    DuplicateItem { key: String, item: String },
    /// Two attributes that are invalid together, or one that needs another.
    #[error("{reason}")]
    Combination { key: &'static str, reason: &'static str, remedy: &'static str },
    /// Nothing would be trained.
    #[error("`{owner}` would train nothing: {reason}")]
    TrainsNothing { owner: String, reason: &'static str, remedy: &'static str },

    /// A union inside a union. `members` is the way to write it.
    #[error("`{name}` is itself a union, and unions cannot be nested")]
    NestedUnion { name: String, members: String },
    /// An attribute of a named union that not all of its members have.
    #[error("`{key}` applies to every method of `{union}`, but not all of them have it")]
    NotInEveryMember { key: String, union: &'static str, members: String },
    /// Two methods of a union that cannot be combined.
    #[error("`{first}` and `{second}` cannot be combined: {reason}")]
    Clash { first: String, second: String, reason: &'static str },
    /// Two methods of a union at the same place of a layer.
    #[error("`{first}` and `{second}` both adapt {place} of layer {layer}")]
    SiteConflict { first: String, second: String, place: &'static str, layer: usize },
    /// A layer that the model does not have.
    #[error("`{key}` names layer {layer}, but the model has {layers} layers")]
    NoSuchLayer { key: &'static str, layer: usize, layers: usize },
    /// All layers of the model are left out.
    #[error("`{key}` leaves out all {layers} layers of the model: nothing would be trained")]
    EveryLayerLeftOut { key: &'static str, layers: usize },
    /// A layer for which a `reduction_factor` map has no entry.
    #[error("`reduction_factor` has no entry for layer {layer}, and no default")]
    NoReductionFactor { layer: usize },
}

impl Explain for ProblemKind {
    fn label(&self) -> String {
        let meant = |nearest: &Option<String>| match nearest {
            Some(name) => format!("did you mean `{name}`?"),
            None => String::new(),
        };
        match self {
            Self::Empty => "expected a method, such as `seq_bn` or `lora[r=16]`".into(),
            Self::Expected { expected, .. } | Self::NotAConfig { expected, .. } => format!("expected {expected}"),
            Self::Unclosed { opener } => format!("`{}` is missing", closing(opener)),
            Self::TrailingText { .. } => "expected `|` and another method, or the end".into(),
            Self::TooLong { limit, .. } => format!("expected at most {limit} bytes"),
            Self::TooManyMethods { .. } => "too many".into(),
            Self::TooDeep { .. } => "too deep".into(),
            Self::BadEscape { .. } => "write `\\\\` for a backslash".into(),
            Self::BadNumber { .. } => "expected a number such as `8`, `0.5` or `1e-3`".into(),
            Self::Unquoted { word } => match word.to_ascii_lowercase().as_str() {
                "true" => "did you mean `True`?".into(),
                "false" => "did you mean `False`?".into(),
                "none" | "null" | "nil" => "did you mean `None`?".into(),
                "nan" | "inf" | "infinity" => "attributes must be finite numbers".into(),
                _ => format!("did you mean the string `'{word}'`?"),
            },
            Self::InvalidJson { .. } => "here".into(),
            Self::UnknownIdentifier { nearest, .. }
            | Self::UnknownArchitecture { nearest, .. }
            | Self::UnknownValue { nearest: nearest @ Some(_), .. } => meant(nearest),
            Self::UnknownFusion { nearest: Some(name), .. } => format!("did you mean `{name}`?"),
            Self::UnknownFusion { nearest: None, .. } => {
                format!("expected {}", alternatives(FusionConfig::IDENTIFIERS.iter().copied()))
            }
            Self::UnknownValue { allowed, .. } => format!("expected {}", alternatives(allowed.iter().copied())),
            Self::UnknownKey { nearest, elsewhere, .. } => match (nearest, elsewhere) {
                (Some(_), _) => meant(nearest),
                (None, Some(method)) => format!("this is a key of `{method}`"),
                (None, None) => String::new(),
            },
            Self::DuplicateKey { .. } | Self::DuplicateItem { .. } => "given before".into(),
            Self::MissingKey { key, .. } => format!("add `{key}`"),
            Self::WrongType { expected, .. } => format!("expected {expected}"),
            Self::OutOfRange { allowed, .. } => format!("must be {allowed}"),
            Self::Combination { remedy, .. } | Self::TrainsNothing { remedy, .. } => (*remedy).into(),
            Self::NestedUnion { members, .. } | Self::NotInEveryMember { members, .. } => format!("write `{members}`"),
            Self::Clash { .. } => "remove one of them".into(),
            Self::SiteConflict { .. } => "name this layer in the `leave_out` of one of them".into(),
            Self::NoSuchLayer { layers, .. } => match layers {
                0 => "the model has no layers".into(),
                _ => format!("layers are numbered 0 to {}", layers - 1),
            },
            Self::EveryLayerLeftOut { .. } => "keep at least one layer".into(),
            Self::NoReductionFactor { .. } => "add an entry such as `'default': 16`".into(),
        }
    }

    fn label_says_more(&self) -> bool {
        matches!(
            self,
            Self::UnknownValue { .. }
                | Self::UnknownIdentifier { .. }
                | Self::UnknownArchitecture { .. }
                | Self::UnknownFusion { .. }
                | Self::UnknownKey { .. }
                | Self::Unquoted { .. }
                | Self::Combination { .. }
                | Self::TrainsNothing { .. }
                | Self::NestedUnion { .. }
                | Self::NotInEveryMember { .. }
                | Self::SiteConflict { .. }
                | Self::NoReductionFactor { .. }
                | Self::NoSuchLayer { .. }
                | Self::Empty
        )
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Empty | Self::UnknownIdentifier { .. } => {
                let names: Vec<_> = crate::identifiers().iter().map(|identifier| identifier.name).collect();
                Some(format!("the methods are {}", names.join(", ")))
            }
            Self::UnknownArchitecture { .. } => Some(
                "`architecture` is lora, mtl_lora, prefix_tuning, prompt_tuning, reft, union, \
                 or null for bottleneck adapters"
                    .into(),
            ),
            Self::UnknownValue { allowed, .. } => Some(format!("allowed: {}", alternatives(allowed.iter().copied()))),
            Self::UnknownKey { owner, .. } => crate::read::keys_of(owner).map(|keys| format!("the keys are {keys}")),
            Self::MissingKey { owner, .. } if owner.contains("bottleneck") => {
                Some("a configuration without an `architecture` is one of a bottleneck adapter".into())
            }
            Self::Clash { .. } => Some(
                "methods of one kind can only be combined if they adapt different places, or different layers \
                 (by `leave_out`)"
                    .into(),
            ),
            Self::TooDeep { .. } => Some("configurations need only one list or map inside the brackets".into()),
            _ => None,
        }
    }
}

// Errors of configurations.

/// All problems of a configuration, with the text and their positions in it.
///
/// The text is the one that was read. For a configuration built in Rust, it is the string that it prints as.
///
/// ```
/// use burn_adapters_config::{AdapterConfig, ProblemKind};
///
/// let error = "seq_bn[reduction_facto=8]".parse::<AdapterConfig>().unwrap_err();
/// let problem = &error.problems()[0];
/// assert_eq!(problem.message(), "unknown key `reduction_facto` for `seq_bn`");
/// assert_eq!(problem.label(), "did you mean `reduction_factor`?");
/// assert_eq!(&error.text()[problem.span.clone()], "reduction_facto");
/// assert!(matches!(&problem.kind, ProblemKind::UnknownKey { key, .. } if key == "reduction_facto"));
/// ```
pub type ConfigError = diagnostics::TextError<ProblemKind>;

/// A problem in a configuration.
pub type Problem = diagnostics::Problem<ProblemKind>;
