//! Errors of building an adapter for a model.

use burn_adapters_bottleneck::BottleneckError;
use burn_adapters_config::ConfigError;
use burn_adapters_core::{Site, TooLarge};
use burn_adapters_ia3::Ia3Error;
use burn_adapters_invertible::InvertibleError;
use burn_adapters_lora::LoraError;
use burn_adapters_prefix_tuning::PrefixError;
use burn_adapters_prompt_tuning::PromptError;
use burn_adapters_reft::ReftError;
use thiserror::Error;

/// An adapter that cannot be built for a model, or that is not ready to run.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration itself is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// More parameters than fit into memory.
    #[error("the configuration `{config}` is {source}")]
    TooLarge {
        /// The configuration, as a string.
        config: String,
        /// The memory needed and available.
        source: Box<TooLarge>,
    },
    /// A parameter type other than single precision.
    #[error("dtype='{dtype}' is not supported: an adapter's parameters are float32; leave dtype out")]
    Dtype {
        /// The requested type.
        dtype: String,
    },
    /// No part of the model would be adapted.
    #[error("the configuration `{config}` would train nothing on this model: {reason}")]
    NothingToTrain {
        /// The configuration, as a string.
        config: String,
        /// Why there is no site.
        reason: String,
    },
    /// A layer that the model does not have.
    #[error("{key} names layer {layer}, but the model has {layers} layers, numbered 0 to {}", layers.saturating_sub(1))]
    UnknownLayer {
        /// The configuration key (`leave_out`, `reduction_factor`).
        key: &'static str,
        /// The layer.
        layer: usize,
        /// The number of layers.
        layers: usize,
    },
    /// A matrix name that matches no site.
    #[error("attn_matrices names `{name}`, which this model does not have; it has {}", quoted(known))]
    UnknownMatrix {
        /// The name.
        name: String,
        /// The names that match.
        known: Vec<String>,
    },
    /// `bias='base'` for a model whose adapted matrices have no bias.
    #[error(
        "`bias='base'` trains the biases of the adapted matrices, but those of this {model_type} model have none; write \
         `bias='none'`, or `bias='update'` for a bias of the update"
    )]
    NoBias {
        /// The family.
        model_type: String,
    },
    /// `gate_lora` for a model without gates.
    #[error(
        "`gate_lora` adapts the gate of gated feed-forward blocks, but those of this {model_type} model have none of its own; \
         write `gate_lora=False`"
    )]
    NoGate {
        /// The family.
        model_type: String,
    },
    /// Two methods of a union at one site.
    #[error("two methods of the union both act at {site}: leave the layer out of one of them, or drop one")]
    Conflict {
        /// The site.
        site: Site,
    },
    /// Two methods of a union that would both act on the whole model.
    #[error("two configurations of the union have a {method}, but an adapter can have only one: drop one of them")]
    TwoShared {
        /// The method.
        method: &'static str,
    },
    /// A bottleneck that cannot be built.
    #[error("at {site}: {source}")]
    Bottleneck {
        /// The site.
        site: Site,
        /// The cause.
        source: BottleneckError,
    },
    /// A bottleneck without the model's residual, in a model that adds it in any case.
    #[error(
        "original_ln_after=False leaves out the residual after the adapter, but at {site} this model adds it itself: set \
         original_ln_after=True"
    )]
    ResidualOfModel {
        /// The site.
        site: Site,
    },
    /// A LoRA module that cannot be built.
    #[error("at {site}: {source}")]
    Lora {
        /// The site.
        site: Site,
        /// The cause.
        source: LoraError,
    },
    /// An (IA)³ module that cannot be built.
    #[error("at {site}: {source}")]
    Ia3 {
        /// The site.
        site: Site,
        /// The cause.
        source: Ia3Error,
    },
    /// An invertible adapter that cannot be built.
    #[error(transparent)]
    Invertible(#[from] InvertibleError),
    /// Prefixes that cannot be built, or that do not fit a model's attention.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// A prompt that cannot be built, or that does not fit a model's embeddings.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// An intervention that cannot be built.
    #[error("at {site}: {source}")]
    Reft {
        /// The site.
        site: Site,
        /// The cause.
        source: ReftError,
    },
    /// A parameter that must be initialized from the model's weights: DoRA's magnitude, or a bias of the model.
    #[error(
        "the adapter `{name}` has {what} at {site}, which starts from the model's weights: add it with the model \
         (AdapterBank::add_for, Adapter::start_from), or read it from a file"
    )]
    NeedsWeights {
        /// The adapter.
        name: String,
        /// The parameter: `a DoRA magnitude`.
        what: &'static str,
        /// The first site without it.
        site: Site,
    },
    /// A prompt that must be initialized with a text's embeddings.
    #[error(
        "the adapter `{name}` has a prompt that starts as the embeddings of a text: add it with them \
         (AdapterBank::add_prompt, Adapter::start_prompt), or read it from a file"
    )]
    NeedsText {
        /// The adapter.
        name: String,
    },
    /// The model lacks a matrix that the adapter must start from.
    #[error(
        "the adapter `{name}` adapts {site}, where the model has no matrix: its specification belongs to another model"
    )]
    NoMatrix {
        /// The adapter.
        name: String,
        /// The site.
        site: Site,
    },
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
