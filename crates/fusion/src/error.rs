//! What can be wrong with the configuration of a fusion.

use std::fmt;
use std::ops::Range;

use thiserror::Error;

/// What is wrong with a configuration, and where.
///
/// ```
/// use burn_adapters_fusion::{FusionConfig, FusionProblem};
///
/// let error = "dynamic[temprature=True]".parse::<FusionConfig>().unwrap_err();
/// assert_eq!(error.message(), "unknown key `temprature` for an AdapterFusion");
/// assert_eq!(error.label(), "did you mean `temperature`?");
/// assert_eq!(&error.text[error.span.clone()], "temprature");
/// assert!(matches!(&error.kind, FusionProblem::UnknownKey { key, .. } if key == "temprature"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FusionConfigError {
    /// The text that was read; for a configuration made in Rust, the string that it prints as.
    pub text: String,
    /// Where it is, in bytes of the text; on character boundaries, and never outside the text.
    pub span: Range<usize>,
    /// What it is.
    pub kind: FusionProblem,
}

/// What a problem is about. Its `Display` is the message.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum FusionProblem {
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
    /// A bracket or quote that never closes.
    #[error("this `{opener}` is never closed")]
    Unclosed { opener: char },
    /// A text that is longer than any configuration's.
    #[error("the text has {bytes} bytes, above {limit}")]
    TooLong { bytes: usize, limit: usize },
    /// More brackets in brackets than any configuration needs.
    #[error("brackets are nested more than {limit} deep")]
    TooDeep { limit: usize },
    /// A file that is not JSON.
    #[error("this is not JSON: {reason}")]
    InvalidJson { reason: String },
    /// No configuration has this name.
    #[error("unknown AdapterFusion `{name}`")]
    UnknownIdentifier { name: String, nearest: Option<&'static str> },
    /// There is no such key.
    #[error("unknown key `{key}` for an AdapterFusion")]
    UnknownKey { key: String, nearest: Option<&'static str> },
    /// A key is given twice.
    #[error("the key `{key}` is given twice")]
    DuplicateKey { key: String },
    /// A key that has no default is not given.
    #[error("the key `{key}` is missing in this AdapterFusion")]
    MissingKey { key: &'static str },
    /// A value of the wrong type.
    #[error("`{key}` must be {expected}, not {found}")]
    WrongType { key: &'static str, expected: &'static str, found: String },
    /// A number outside what is allowed.
    #[error("`{key}` is {value}, but must be {allowed}")]
    OutOfRange { key: &'static str, value: String, allowed: &'static str },
}

impl FusionConfigError {
    pub(crate) fn new(text: &str, span: Range<usize>, kind: FusionProblem) -> Self {
        let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let start = floor(span.start);
        Self { span: start..floor(span.end).max(start), text: text.to_owned(), kind }
    }

    /// What is wrong, in one line: the head of the error.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }

    /// What to write under the caret: what was expected, or what was probably meant.
    pub fn label(&self) -> String {
        match &self.kind {
            FusionProblem::Expected { expected, .. } | FusionProblem::WrongType { expected, .. } => {
                format!("expected {expected}")
            }
            FusionProblem::Unclosed { opener } => format!("`{}` is missing", closer(*opener)),
            FusionProblem::TooLong { limit, .. } => format!("expected at most {limit} bytes"),
            FusionProblem::TooDeep { .. } => "too deep".into(),
            FusionProblem::InvalidJson { .. } => "here".into(),
            FusionProblem::UnknownIdentifier { nearest: None, .. } => "expected `static` or `dynamic`".into(),
            FusionProblem::UnknownKey { nearest: None, .. } => {
                format!("the keys are {}", crate::FusionConfig::KEYS.join(", "))
            }
            FusionProblem::UnknownIdentifier { nearest: Some(name), .. }
            | FusionProblem::UnknownKey { nearest: Some(name), .. } => format!("did you mean `{name}`?"),
            FusionProblem::DuplicateKey { .. } => "given before".into(),
            FusionProblem::MissingKey { key } => format!("add `{key}`"),
            FusionProblem::OutOfRange { allowed, .. } => format!("must be {allowed}"),
        }
    }
}

fn closer(opener: char) -> char {
    match opener {
        '[' => ']',
        '{' => '}',
        quote => quote,
    }
}

impl fmt::Display for FusionConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        match self.kind {
            FusionProblem::UnknownIdentifier { .. }
            | FusionProblem::UnknownKey { .. }
            | FusionProblem::MissingKey { .. } => {
                write!(f, " ({})", self.label())
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for FusionConfigError {}
