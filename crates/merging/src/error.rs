//! Merge errors.

use thiserror::Error;

/// Adapters or heads that cannot be merged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There are no inputs.
    #[error("nothing to merge: give at least one adapter or head")]
    NoInputs,
    /// A name that cannot be part of a parameter's path.
    #[error(
        "`{}` cannot name the merged adapter: a name must not be empty or hold a dot or a control character",
        name.escape_debug()
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// The number of weights differs from the number of inputs.
    #[error("found {inputs} inputs, but {weights} weights: give one weight per input")]
    WeightCount {
        /// The number of adapters or heads.
        inputs: usize,
        /// The number of weights.
        weights: usize,
    },
    /// A weight that is infinite or NaN.
    #[error("the weight of `{name}` is {weight}: expected a finite number")]
    Weight {
        /// The adapter or head.
        name: String,
        /// Its weight.
        weight: f64,
    },
    /// Weights that cannot be normalized.
    #[error(
        "the weights sum to {sum}, so they cannot be divided by their sum: turn normalization off, or change the weights"
    )]
    WeightSum {
        /// Their sum.
        sum: f64,
    },
    /// A density outside its range.
    #[error("the density is {found}: expected a number above 0 and at most 1")]
    Density {
        /// The density.
        found: f64,
    },
    /// A rank of 0.
    #[error("the rank of the merged LoRA is 0: expected 1 or more")]
    ZeroRank,
    /// A rank above that of the update.
    #[error("the rank of the merged LoRA is {rank}, but the update at `{module}` is {rows} × {columns}: expected at most {}",
        (*rows).min(*columns))]
    Rank {
        /// The requested rank.
        rank: usize,
        /// The module that the update belongs to.
        module: String,
        /// The rows of the update.
        rows: usize,
        /// Its columns.
        columns: usize,
    },
    /// Adapters or heads of different base models.
    #[error(
        "`{first}` and `{other}` are for different base models: {what} is {in_first} in the first and {in_other} in \
        the second"
    )]
    Model {
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
        /// `the model type`, `the hidden size` or `the model`.
        what: &'static str,
        /// Its value in the first.
        in_first: String,
        /// Its value in the other.
        in_other: String,
    },
    /// Different configurations.
    #[error("`{first}` and `{other}` are configured differently: {}", differences.join(", "))]
    Config {
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
        /// The differences, one a sentence.
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
    /// A method that the strategy cannot merge.
    #[error("`{strategy}` cannot merge {method}: {reason}")]
    Unsupported {
        /// The strategy.
        strategy: &'static str,
        /// The method.
        method: &'static str,
        /// The reason, and the strategy that can.
        reason: &'static str,
    },
    /// A frozen random tensor that differs between inputs. Trained parameters are multiplied with it, so that they only
    /// have a meaning together.
    #[error(
        "the frozen tensor `{tensor}` differs between `{first}` and `{other}`: parameters trained with one are meaningless \
        with the other; train both adapters with the same seed (`init_weights_seed`) to merge them"
    )]
    Frozen {
        /// The tensor, without the adapter's name.
        tensor: String,
        /// The first.
        first: String,
        /// The one that differs.
        other: String,
    },
    /// A tensor that only one of two inputs has.
    #[error("`{with}` has the tensor `{tensor}`, but `{without}` does not")]
    Missing {
        /// The tensor, without the adapter's name.
        tensor: String,
        /// The input that has it.
        with: String,
        /// The input that lacks it.
        without: String,
    },
    /// A tensor whose shape differs between inputs.
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
    /// A tensor whose shape is not the one that its method has.
    #[error("the tensor `{tensor}` of `{name}` has shape {found:?}: expected {expected}")]
    Malformed {
        /// The tensor.
        tensor: String,
        /// The adapter or head.
        name: String,
        /// Its shape, or the number of values that it has.
        found: Vec<usize>,
        /// The expected shape, in words.
        expected: String,
    },
    /// One parameter stored under two names with different values.
    #[error("the tensors `{first}` and `{second}` of `{name}` are the same parameter, but their values differ")]
    Disagreement {
        /// The adapter or head.
        name: String,
        /// One name.
        first: String,
        /// The other name.
        second: String,
    },
    /// A tensor that does not belong to the adapter or head of this name.
    #[error(
        "the tensor `{tensor}` does not belong to `{name}`: its name does not contain the name of the adapter or head"
    )]
    Stray {
        /// The tensor.
        tensor: String,
        /// The adapter or head.
        name: String,
    },
    /// A tensor that holds infinities or NaN, before or after merging.
    #[error("the tensor `{tensor}` of `{name}` holds a value that is infinite or NaN")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// The adapter or head: the result's name if the weights caused it.
        name: String,
    },
    /// The decomposition of an update failed.
    #[error("the singular value decomposition of the update at `{module}` did not converge")]
    Svd {
        /// The module that the update belongs to.
        module: String,
    },
}
