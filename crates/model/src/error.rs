//! Errors of banks, hooks and merging.

use burn_adapters_combination::BuildError;
use burn_adapters_composition::CompositionError;
use burn_adapters_config::ConfigError;
use burn_adapters_core::{Site, TooLarge};
use burn_adapters_heads::HeadError;
use burn_adapters_ia3::Ia3Error;
use burn_adapters_lora::LoraError;
use burn_adapters_prefix_tuning::PrefixError;
use burn_adapters_prompt_tuning::PromptError;
use thiserror::Error;

/// An adapter that cannot be added, found or used.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BankError {
    /// No adapter of this name.
    #[error("no adapter named `{name}`; {}", known_names(known))]
    UnknownAdapter {
        /// The requested name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// No fusion of this name.
    #[error("no fusion named `{name}`; {}", known_names(known))]
    UnknownFusion {
        /// The requested name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A fusion that cannot be built.
    #[error("the fusion `{name}`: {reason}")]
    Fusion {
        /// The fusion.
        name: String,
        /// Why.
        reason: String,
    },
    /// A fusion with more parameters than there is memory for.
    #[error("the fusion `{name}` is {source}")]
    FusionTooLarge {
        /// The fusion.
        name: String,
        /// What it needs and what there is.
        source: Box<TooLarge>,
    },
    /// An invalid composition.
    #[error(transparent)]
    Composition(#[from] CompositionError),
    /// A block that a method is not defined in.
    #[error("{block} cannot contain the adapter `{adapter}`: {method} is only defined in {allowed}")]
    NotComposable {
        /// The block.
        block: &'static str,
        /// The adapter.
        adapter: String,
        /// The method that is not defined there.
        method: &'static str,
        /// The blocks that it is defined in.
        allowed: String,
    },
    /// No head of this name.
    #[error("no head named `{name}`; {}", known_names(known))]
    UnknownHead {
        /// The requested name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// The name is taken.
    #[error("there is already an adapter or head named `{name}`: delete it first, or choose another name")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that cannot be part of a parameter path.
    #[error(
        "`{name}` is not a valid name for an adapter or head: a name must not be empty, or contain a dot or a control character"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// The configuration itself is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The setup names no head, and the bank does not have exactly one.
    #[error("the setup names no head; {}: name one (Setup::with_head)", known_names(known))]
    WhichHead {
        /// The heads that exist.
        known: Vec<String>,
    },
    /// Heads for another number of rows.
    #[error("the heads are for {found} rows, but the batch has {expected}")]
    HeadRows {
        /// The rows of the batch.
        expected: usize,
        /// The rows that the heads are for.
        found: usize,
    },
    /// A site that is not in the model's specification.
    #[error(
        "the model calls a hook at {site}, which is not in its specification (the {} has {layers} layers, numbered from \
         0), so no adapter could act there: correct the site or the specification", site.stack.name()
    )]
    UnknownSite {
        /// The site.
        site: Site,
        /// How many layers the stack has.
        layers: usize,
    },
    /// A hook at the end of a sublayer that the model's specification does not have there.
    #[error(
        "the model calls the hook `{called}` at {site}, where its specification (`sublayer_end`) has `{expected}`: correct \
         one of them"
    )]
    OtherEnd {
        /// The site.
        site: Site,
        /// The hook that is called.
        called: &'static str,
        /// The hook that the specification expects.
        expected: &'static str,
    },
    /// A tensor or matrix whose size differs from the model's specification.
    #[error(
        "at {at}: expected {what} of {expected}, found {found}: the model's layers and its specification must agree"
    )]
    Misfit {
        /// The site, or another place in the pass.
        at: String,
        /// The tensor or dimension.
        what: &'static str,
        /// The size by the specification.
        expected: String,
        /// The size in the pass.
        found: String,
    },
    /// A block for another number of rows than the batch has.
    #[error("`{block}` is for {expected} rows, but the batch has {found}")]
    Rows {
        /// The block.
        block: &'static str,
        /// The rows that it is for.
        expected: usize,
        /// The rows of the batch.
        found: usize,
    },
    /// A `Split` for another length than the sequences have.
    #[error("`Split` cuts sequences of {expected} positions, but those of the batch have {found}")]
    Positions {
        /// The sum of its parts.
        expected: usize,
        /// The length of the sequences.
        found: usize,
    },
    /// A batch that is not repeated for the branches of a `Parallel`.
    #[error(
        "`Parallel` needs the batch once for each branch: the model's forward must call ActiveHooks::embeddings after the \
         embeddings and ActiveHooks::enter_layer at each layer's start"
    )]
    NotRepeated,
    /// An adapter that is run on weights that it is already merged into.
    #[error(
        "the adapter `{name}` is already merged into the weights at {site} and would act twice: take it out of the setup \
         (Setup::base()), or unmerge it"
    )]
    AlreadyMerged {
        /// The adapter.
        name: String,
        /// The first such site.
        site: Site,
    },
    /// An adapter that training could not change.
    #[error("the adapter `{name}` cannot learn: {reason}")]
    CannotLearn {
        /// The adapter.
        name: String,
        /// Why.
        reason: String,
    },
    /// Parameters to train on a device without autodiff.
    #[error(
        "the bank's parameters are on a device without autodiff, where nothing can be trained: create the bank on \
             `device.autodiff()` (the model can stay on the plain device)"
    )]
    NotAutodiff,
    /// The number of heads differs from the number of branches.
    #[error("a `Parallel` of {expected} branches needs a head for each, but the setup has {found} heads")]
    HeadBranches {
        /// The branches.
        expected: usize,
        /// The heads.
        found: usize,
    },
    /// A head that cannot be built or run.
    #[error("the head `{name}`: {source}")]
    Head {
        /// The head.
        name: String,
        /// Why.
        source: HeadError,
    },
    /// A head for hidden states of another width.
    #[error(
        "the head `{name}` reads hidden states of {found}, but the model's are {expected} wide: it is for another model"
    )]
    HeadWidth {
        /// The head.
        name: String,
        /// The model's width.
        expected: usize,
        /// The head's.
        found: usize,
    },
    /// A method that cannot be expressed as weights.
    #[error(
        "the adapter `{name}` cannot be merged: {method} computes on activations and cannot be expressed as weights"
    )]
    NotMergeable {
        /// The adapter.
        name: String,
        /// The method.
        method: &'static str,
    },
    /// The model to merge into lacks a matrix.
    #[error("the adapter `{name}` adapts {site}, where the model to merge into has no matrix: it is for another model")]
    NoMatrix {
        /// The adapter.
        name: String,
        /// The site.
        site: Site,
    },
    /// A LoRA module that cannot be merged.
    #[error("at {site}: {source}")]
    Lora {
        /// Where.
        site: Site,
        /// Why.
        source: LoraError,
    },
    /// An (IA)³ module that cannot be merged.
    #[error("at {site}: {source}")]
    Ia3 {
        /// Where.
        site: Site,
        /// Why.
        source: Ia3Error,
    },
    /// Prefixes that do not fit a model's attention.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// A prompt that does not fit a model's embeddings.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// An adapter that does not fit the model.
    #[error(transparent)]
    Build(BuildError),
    /// A layer to skip that the model does not have.
    #[error("skip_layers names layer {layer}, but the model has {layers} layers, numbered from 0")]
    SkippedLayer {
        /// The layer.
        layer: usize,
        /// How many layers there are.
        layers: usize,
    },
}

impl From<BuildError> for BankError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Config(error) => BankError::Config(error),
            error => BankError::Build(error),
        }
    }
}

/// A failed merge, which returns the model unchanged.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct MergeFailure<M> {
    /// The model, unchanged.
    pub model: M,
    /// Why.
    pub error: BankError,
}

fn known_names(known: &[String]) -> String {
    if known.is_empty() { "there is none yet".into() } else { format!("there is {}", quoted(known)) }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
