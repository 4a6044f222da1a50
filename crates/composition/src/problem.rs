//! The kinds of problems, and their words.

use burn_adapters_diagnostics::{Explain, closing, counted};
use thiserror::Error;

use crate::Block;

/// What a problem is about. Its `Display` is the message; the place is in [`Problem`](crate::Problem).
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum ProblemKind {
    /// There is nothing to read.
    #[error("the text is empty")]
    Empty,
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
    /// A bracket or quote that never closes.
    #[error("this `{opener}` is never closed")]
    Unclosed { opener: char },
    /// Text after the end.
    #[error("unexpected text after the composition: {found}")]
    TrailingText { found: String },
    /// A text that is longer than any composition's.
    #[error("the text has {bytes} bytes, above {limit}")]
    TooLong { bytes: usize, limit: usize },
    /// More adapters and blocks than any composition needs.
    #[error("there are more than {limit} adapters and blocks")]
    TooMany { limit: usize },
    /// More brackets in brackets than any composition needs.
    #[error("blocks are nested more than {limit} deep")]
    TooDeep { limit: usize },
    /// A backslash in a name that means nothing.
    #[error("`{escape}` is not an escape sequence")]
    BadEscape { escape: String },
    /// No block has this name.
    #[error("unknown block `{name}`")]
    UnknownBlock { name: String, nearest: Option<&'static str> },
    /// A word of the language where an adapter's name should stand.
    #[error("the word `{word}` stands where an adapter's name should")]
    Keyword { word: String },
    /// The block has no such argument. `elsewhere` is a block that has it.
    #[error("`{block}` has no argument `{argument}`")]
    UnknownArgument { argument: String, block: Block, nearest: Option<&'static str>, elsewhere: Option<Block> },
    /// An argument is given twice.
    #[error("the argument `{argument}` is given twice")]
    DuplicateArgument { argument: String },
    /// An argument that has no default is not given.
    #[error("`{block}` needs the argument `{argument}`")]
    MissingArgument { block: Block, argument: &'static str },
    /// A value of the wrong type.
    #[error("`{argument}` must be {expected}, not {found}")]
    WrongType { argument: &'static str, expected: &'static str, found: String },

    /// A block without children.
    #[error("`{block}` has nothing in it")]
    NoChildren { block: Block },
    /// A block where the rules do not let it be.
    #[error("`{child}` cannot stand in `{parent}`")]
    Nesting { child: Block, parent: Block },
    /// A block other than `Stack` on the third level or below.
    #[error("`{block}` cannot stand on level {level}: from level 3 on, only adapters and a `Stack` of them can")]
    TooManyLevels { block: Block, level: usize },
    /// A name of no characters.
    #[error("the name of {what} is empty")]
    EmptyName { what: &'static str },
    /// A list that should have an item for each child.
    #[error("`{argument}` has {found}, but `{block}` has {children}", found = items(*.found), children = counted(*.children, "child", "children"))]
    Length { block: Block, argument: &'static str, found: usize, children: usize },
    /// A part of no tokens or no rows.
    #[error("`{argument}` has a 0, but each part needs at least 1")]
    ZeroSize { argument: &'static str },
    /// A weight that is infinite or no number.
    #[error("the weight {weight} is not a finite number")]
    NotFinite { weight: String },
    /// Weights that cannot be divided by their sum.
    #[error("the weights sum to {sum}, so they cannot be divided by their sum")]
    ZeroSum { sum: String },
    /// Two `Parallel` of one `Stack` repeat the batch differently.
    #[error("this `Parallel` has {found}, but the one before it in the `Stack` has {before}", found = branches(*.found), before = branches(*.before))]
    ParallelMismatch { found: usize, before: usize },
    /// A `BatchSplit` whose rows mean one thing in the first layer and another in every other.
    #[error("`BatchSplit` stands before a `Parallel` in one `Stack`")]
    BatchSplitBeforeParallel,

    /// The parts do not make up the whole.
    #[error("`{argument}` sums to {sum}, but {whole} {actual}")]
    Sum { argument: &'static str, sum: u128, whole: &'static str, actual: usize },
    /// A route for a batch of another size.
    #[error("`Route` has {rows}, but the batch has {batch}", rows = counted_rows(*.rows))]
    Rows { rows: usize, batch: usize },
    /// An open route that got no rows.
    #[error("`Route` has no rows")]
    RowsNotGiven,

    /// A composition of adapters that cannot be one of heads.
    #[error("`{block}` cannot be a setup of heads")]
    NotHeads { block: Block },
    /// A part of a setup of heads that is not a name.
    #[error("`{block}` stands where the name of a head should")]
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
            Self::Empty => "expected an adapter's name, or a block such as `Stack(a, b)`".into(),
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
                argument => format!("add the numbers of rows, such as `{argument}=[1, 3]`"),
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
            Self::BatchSplitBeforeParallel => "put it after the `Parallel`, or into its branches".into(),
            Self::Sum { actual, .. } => format!("must sum to {actual}"),
            Self::Rows { batch, .. } => format!("expected {}", counted_rows(*batch)),
            Self::RowsNotGiven => "give the rows with the call, or as in `Route([a, none])`".into(),
            Self::NotHeads { .. } => "expected a head's name, `[a, b]`, `BatchSplit` or `Route`".into(),
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
                "`Route` sends each row of the batch through the adapter that it names".into()
            }
            Self::Empty | Self::UnknownBlock { .. } => {
                let names: Vec<_> = Block::ALL.iter().map(|block| block.name()).collect();
                format!(
                    "the blocks are {}; a name with other characters than letters, digits and `_-+/.@` is quoted",
                    names.join(", ")
                )
            }
            Self::UnknownArgument { block, .. } => match block.arguments() {
                [] => format!("`{block}` has no arguments"),
                arguments => format!("the arguments of `{block}` are {}", arguments.join(", ")),
            },
            Self::TooDeep { .. } | Self::TooManyLevels { .. } => {
                "a composition is a block, of blocks, of adapters or stacks of adapters".into()
            }
            Self::Nesting { child, .. } => {
                let parents: Vec<_> = Block::ALL.iter().filter(|parent| parent.allowed().contains(child)).collect();
                let parents: Vec<_> = parents.iter().map(|parent| format!("`{parent}`")).collect();
                format!("`{child}` can stand by itself, or in {}", parents.join(", "))
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
