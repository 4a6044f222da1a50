//! What can go wrong in merging.

use thiserror::Error;

/// Adapters or heads that cannot be merged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Nothing to merge.
    #[error("nothing to merge: give at least one adapter or head")]
    NoInputs,
    /// A new name that cannot be a part of a parameter's path.
    #[error(
        "`{}` cannot name the merged adapter: a name must not be empty or hold a dot or a control character",
        name.escape_debug()
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// As many weights as inputs are needed.
    #[error("{inputs} to merge, but {weights} weights: give one weight for each")]
    WeightCount {
        /// The number of adapters or heads.
        inputs: usize,
        /// The number of weights.
        weights: usize,
    },
    /// A weight that is no finite number.
    #[error("the weight of `{name}` is {weight}: expected a finite number")]
    Weight {
        /// The adapter or head.
        name: String,
        /// Its weight.
        weight: f64,
    },
    /// Weights that cannot be normalised.
    #[error("the weights sum to {sum}, so they cannot be divided by their sum: do not normalise them, or change them")]
    WeightSum {
        /// Their sum.
        sum: f64,
    },
    /// A density that is out of its range.
    #[error("the density is {found}: expected a number above 0 and at most 1")]
    Density {
        /// The density.
        found: f64,
    },
    /// A rank of 0.
    #[error("the rank of the merged LoRA is 0: expected 1 or more")]
    ZeroRank,
    /// A rank that a matrix cannot have.
    #[error("the rank of the merged LoRA is {rank}, but the update at `{module}` is {rows} × {columns}: at most {}",
        (*rows).min(*columns))]
    Rank {
        /// The rank that was asked for.
        rank: usize,
        /// Where.
        module: String,
        /// The rows of the update.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// Adapters or heads of different base models.
    #[error(
        "`{first}` and `{other}` are for different base models: {what} is {in_first} in the one and {in_other} in \
        the other"
    )]
    Model {
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
        /// `the model type`, `the hidden size` or `the model`.
        what: &'static str,
        /// What the first says.
        in_first: String,
        /// What the other says.
        in_other: String,
    },
    /// Different configurations.
    #[error("`{first}` and `{other}` are configured differently: {}", differences.join(", "))]
    Config {
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
        /// Each difference in words.
        differences: Vec<String>,
    },
    /// Heads for different labels.
    #[error("the heads `{first}` and `{other}` have different labels: {in_first:?} and {in_other:?}")]
    Labels {
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
        /// The first's labels.
        in_first: Vec<String>,
        /// The other's.
        in_other: Vec<String>,
    },
    /// A method that a strategy cannot do.
    #[error("`{strategy}` cannot merge {method}: {reason}")]
    Unsupported {
        /// The strategy.
        strategy: &'static str,
        /// The method.
        method: &'static str,
        /// Why, and what can.
        reason: &'static str,
    },
    /// What is random, not trained, and multiplied with what is trained must be the same.
    #[error(
        "the frozen tensor `{tensor}` is another one in `{first}` and in `{other}`: what was trained with the one \
        means nothing with the other; train them from the same seed (`init_weights_seed`) to merge them"
    )]
    Frozen {
        /// The tensor, without the adapter's name.
        tensor: String,
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
    },
    /// A tensor that one has and another has not.
    #[error("`{with}` has the tensor `{tensor}`, but `{without}` does not")]
    Missing {
        /// The tensor, without the adapter's name.
        tensor: String,
        /// Who has it.
        with: String,
        /// Who has not.
        without: String,
    },
    /// A tensor of different shapes.
    #[error("the tensor `{tensor}` has shape {in_first:?} in `{first}`, but {in_other:?} in `{other}`")]
    Shape {
        /// The tensor, without the adapter's name.
        tensor: String,
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
        /// The first's shape.
        in_first: Vec<usize>,
        /// The other's.
        in_other: Vec<usize>,
    },
    /// A tensor of another shape than its method has.
    #[error("the tensor `{tensor}` of `{name}` has shape {found:?}: expected {expected}")]
    Malformed {
        /// The tensor.
        tensor: String,
        /// Whose.
        name: String,
        /// Its shape, or the number of values that it has.
        found: Vec<usize>,
        /// What it should be.
        expected: String,
    },
    /// One parameter under two names, with two values.
    #[error("the tensors `{first}` and `{second}` of `{name}` are one parameter, but differ")]
    Disagreement {
        /// Whose.
        name: String,
        /// The one name.
        first: String,
        /// The other.
        second: String,
    },
    /// A tensor that is no adapter's or head's of this name.
    #[error("the tensor `{tensor}` is none of `{name}`: its name does not contain that of the adapter or head")]
    Stray {
        /// The tensor.
        tensor: String,
        /// The adapter or head.
        name: String,
    },
    /// A tensor with infinities or NaN in it, before or after merging.
    #[error("the tensor `{tensor}` of `{name}` holds a value that is not finite")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Whose; that of the result, if the weights made it so.
        name: String,
    },
    /// The decomposition of a matrix failed.
    #[error("the singular value decomposition of the update at `{module}` does not converge")]
    Svd {
        /// Where.
        module: String,
    },
}
