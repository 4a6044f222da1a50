//! The kinds of problems and their texts.

use burn_adapters_diagnostics as diagnostics;
use burn_adapters_diagnostics::{Explain, closing, counted};
use thiserror::Error;

use crate::Block;

/// The kind of a problem. Its `Display` is the message; the position is in [`Problem`](crate::Problem).
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message explains the fields")]
pub enum ProblemKind {
    /// The text is empty.
    #[error("the text is empty")]
    Empty,
    /// Something else was expected here.
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
    /// A bracket or quote that never closes.
    #[error("this `{opener}` is never closed")]
    Unclosed { opener: char },
    /// Text after the end.
    #[error("unexpected text after the composition: {found}")]
    TrailingText { found: String },
    /// A text that is too long.
    #[error("the text has {bytes} bytes, more than the limit of {limit}")]
    TooLong { bytes: usize, limit: usize },
    /// Too many adapters and blocks.
    #[error("there are more than {limit} adapters and blocks")]
    TooMany { limit: usize },
    /// Blocks that are nested too deeply.
    #[error("blocks are nested more than {limit} deep")]
    TooDeep { limit: usize },
    /// An unknown escape sequence in a name.
    #[error("`{escape}` is not an escape sequence")]
    BadEscape { escape: String },
    /// No block has this name.
    #[error("unknown block `{name}`")]
    UnknownBlock { name: String, nearest: Option<&'static str> },
    /// A keyword in place of an adapter's name.
    #[error("expected an adapter name, found the keyword `{word}`")]
    Keyword { word: String },
    /// The block has no such argument. `elsewhere` is a block that has it.
    #[error("`{block}` has no argument `{argument}`")]
    UnknownArgument { argument: String, block: Block, nearest: Option<&'static str>, elsewhere: Option<Block> },
    /// An argument is given twice.
    #[error("the argument `{argument}` is given twice")]
    DuplicateArgument { argument: String },
    /// A required argument is missing.
    #[error("`{block}` needs the argument `{argument}`")]
    MissingArgument { block: Block, argument: &'static str },
    /// A value of the wrong type.
    #[error("`{argument}` must be {expected}, not {found}")]
    WrongType { argument: &'static str, expected: &'static str, found: String },

    /// A block without children.
    #[error("`{block}` is empty")]
    NoChildren { block: Block },
    /// A block that the rules do not allow here.
    #[error("`{child}` is not allowed in `{parent}`")]
    Nesting { child: Block, parent: Block },
    /// A block other than `Stack` on the third level or below.
    #[error("`{block}` is not allowed on level {level}: level 3 and below may only have adapters and `Stack`s of them")]
    TooManyLevels { block: Block, level: usize },
    /// An empty name.
    #[error("the name of {what} is empty")]
    EmptyName { what: &'static str },
    /// A list that does not have one item per child.
    #[error("`{argument}` has {found}, but `{block}` has {children}", found = items(*.found), children = counted(*.children, "child", "children"))]
    Length { block: Block, argument: &'static str, found: usize, children: usize },
    /// A part of size 0.
    #[error("`{argument}` contains 0, but each part needs at least 1")]
    ZeroSize { argument: &'static str },
    /// A weight that is infinite or NaN.
    #[error("the weight {weight} is not a finite number")]
    NotFinite { weight: String },
    /// Weights whose sum cannot be divided by.
    #[error("the weights sum to {sum}, so they cannot be divided by their sum")]
    ZeroSum { sum: String },
    /// Two `Parallel` of one `Stack` with different numbers of branches.
    #[error("this `Parallel` has {found}, but the one before it in the `Stack` has {before}", found = branches(*.found), before = branches(*.before))]
    ParallelMismatch { found: usize, before: usize },
    /// A `BatchSplit` before a `Parallel`: its rows would differ between the first layer and all others.
    #[error("`BatchSplit` comes before a `Parallel` in the same `Stack`")]
    BatchSplitBeforeParallel,

    /// Parts that do not sum to the whole.
    #[error("`{argument}` sums to {sum}, but {whole} {actual}")]
    Sum { argument: &'static str, sum: u128, whole: &'static str, actual: usize },
    /// A route for a batch of another size.
    #[error("`Route` has {rows}, but the batch has {batch}", rows = counted_rows(*.rows))]
    Rows { rows: usize, batch: usize },
    /// An open route without rows.
    #[error("`Route` has no rows")]
    RowsNotGiven,

    /// A composition of adapters that cannot be a setup of heads.
    #[error("`{block}` is not a setup of heads")]
    NotHeads { block: Block },
    /// A part of a setup of heads that is not a name.
    #[error("expected the name of a head, found `{block}`")]
    HeadExpected { block: Block },
}

fn branches(number: usize) -> String {
    counted(number, "branch", "branches")
}

fn items(number: usize) -> String {
    counted(number, "item", "items")
}

fn counted_rows(number: usize) -> String {
    counted(number, "row", "rows")
}

impl Explain for ProblemKind {
    fn label(&self) -> String {
        match self {
            Self::Empty => "expected an adapter name, or a block such as `Stack(a, b)`".into(),
            Self::Expected { expected, .. } | Self::WrongType { expected, .. } => format!("expected {expected}"),
            Self::Unclosed { opener } => format!("`{}` is missing", closing(opener.encode_utf8(&mut [0; 4]))),
            Self::TrailingText { .. } => "to use several adapters, write a block such as `Stack(a, b)`".into(),
            Self::TooLong { limit, .. } => format!("expected at most {limit} bytes"),
            Self::TooMany { .. } => "too many".into(),
            Self::TooDeep { .. } => "too deep".into(),
            Self::BadEscape { .. } => "write `\\\\` for a backslash".into(),
            Self::UnknownBlock { name, .. } if name == "MultiTask" => "write `Route`".into(),
            Self::UnknownBlock { nearest: Some(name), .. } | Self::UnknownArgument { nearest: Some(name), .. } => {
                format!("did you mean `{name}`?")
            }
            Self::UnknownBlock { .. } => "expected a block".into(),
            Self::Keyword { word } => match Block::of_name(word) {
                Some(_) => format!("write `{word}(…)` for the block, or `'{word}'` for an adapter of that name"),
                None => format!("write `'{word}'` for an adapter of that name"),
            },
            Self::UnknownArgument { elsewhere: Some(block), .. } => format!("this is an argument of `{block}`"),
            Self::UnknownArgument { .. } => "not an argument of this block".into(),
            Self::DuplicateArgument { .. } => "given before".into(),
            Self::MissingArgument { argument, .. } => match *argument {
                "splits" => "add the lengths in tokens, such as `splits=[64, 64]`".into(),
                argument => format!("add the row counts, such as `{argument}=[1, 3]`"),
            },
            Self::NoChildren { .. } => "put at least one adapter in it".into(),
            Self::Nesting { parent, .. } => format!("expected an adapter{}", alternatives(parent.allowed())),
            Self::TooManyLevels { .. } => "too deep".into(),
            Self::EmptyName { .. } => "give it a name".into(),
            Self::Length { children, .. } => format!("expected {}", items(*children)),
            Self::ZeroSize { .. } => "must be 1 or greater".into(),
            Self::NotFinite { .. } => "must be finite".into(),
            Self::ZeroSum { .. } => "add `normalize_weights=False` to use them as they are".into(),
            Self::ParallelMismatch { before, .. } => format!("expected {}", branches(*before)),
            Self::BatchSplitBeforeParallel => "move it after the `Parallel`, or into its branches".into(),
            Self::Sum { actual, .. } => format!("must sum to {actual}"),
            Self::Rows { batch, .. } => format!("expected {}", counted_rows(*batch)),
            Self::RowsNotGiven => "give the rows with the batch, or write them, as in `Route([a, none])`".into(),
            Self::NotHeads { .. } => "expected a head name, `[a, b]`, `BatchSplit` or `Route`".into(),
            Self::HeadExpected { .. } => "expected the name of a head".into(),
        }
    }

    fn label_says_more(&self) -> bool {
        !matches!(
            self,
            Self::Expected { .. }
                | Self::WrongType { .. }
                | Self::TooLong { .. }
                | Self::TooMany { .. }
                | Self::TooDeep { .. }
                | Self::TooManyLevels { .. }
                | Self::DuplicateArgument { .. }
                | Self::EmptyName { .. }
                | Self::Length { .. }
                | Self::ZeroSize { .. }
                | Self::NotFinite { .. }
                | Self::ParallelMismatch { .. }
                | Self::Sum { .. }
                | Self::Rows { .. }
                | Self::HeadExpected { .. }
        )
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::UnknownBlock { name, .. } if name == "MultiTask" => {
                "`Route` sends each row of the batch through the adapter named for that row".into()
            }
            Self::Empty | Self::UnknownBlock { .. } => {
                let names: Vec<_> = Block::ALL.iter().map(|block| block.name()).collect();
                format!(
                    "the blocks are {}; names with characters other than letters, digits and `_-+/.@` must be quoted",
                    names.join(", ")
                )
            }
            Self::UnknownArgument { block, .. } => match block.arguments() {
                [] => format!("`{block}` has no arguments"),
                arguments => format!("the arguments of `{block}` are {}", arguments.join(", ")),
            },
            Self::TooDeep { .. } | Self::TooManyLevels { .. } => {
                "a composition has at most three levels: a block of blocks of adapters or stacks of adapters".into()
            }
            Self::Nesting { child, .. } => {
                let parents: Vec<_> = Block::ALL.iter().filter(|parent| parent.allowed().contains(child)).collect();
                let parents: Vec<_> = parents.iter().map(|parent| format!("`{parent}`")).collect();
                format!("`{child}` is allowed at the top, or in {}", parents.join(", "))
            }
            Self::BatchSplitBeforeParallel => {
                "`Parallel` repeats the batch in the first layer, and in all later ones it comes in repeated, so these \
                 rows would be others there"
                    .into()
            }
            Self::ParallelMismatch { .. } => {
                "branch after branch goes on in the second `Parallel` as it came out of the first".into()
            }
            _ => return None,
        };
        Some(help)
    }
}

/// `, `Stack` or `Split``
fn alternatives(blocks: &[Block]) -> String {
    match blocks {
        [] => String::new(),
        [head @ .., last] => {
            let head: String = head.iter().map(|block| format!(", `{block}`")).collect();
            format!("{head} or `{last}`")
        }
    }
}

// Errors of compositions.

/// All problems of a composition (at most 20), with the text and their positions in it.
///
/// The text is the one that was parsed. For a composition built in Rust, it is the text that it prints as.
///
/// ```
/// use burn_adapters_composition::{Composition, ProblemKind};
///
/// let error = "Stack(a, Fuze(b, c))".parse::<Composition>().unwrap_err();
/// let problem = &error.problems()[0];
/// assert_eq!(problem.message(), "unknown block `Fuze`");
/// assert_eq!(problem.label(), "did you mean `Fuse`?");
/// assert_eq!(&error.text()[problem.span.clone()], "Fuze");
/// assert!(matches!(&problem.kind, ProblemKind::UnknownBlock { name, .. } if name == "Fuze"));
/// ```
pub type CompositionError = diagnostics::TextError<ProblemKind>;

/// A problem in a composition; its path names the blocks around it.
pub type Problem = diagnostics::Problem<ProblemKind>;
