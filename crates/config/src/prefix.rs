//! Prefix tuning and prompt tuning.

use crate::Activation;
use crate::macros::{builders, names};

/// Prefix tuning (Li and Liang, 2021): trained keys and values before those of each attention block. The fields have
/// the names of the reference's `PrefixTuningConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct PrefixTuningConfig {
    /// Prefixes in the encoder of an encoder-decoder model.
    pub encoder_prefix: bool,
    /// Prefixes in the cross-attention of an encoder-decoder model.
    pub cross_prefix: bool,
    /// Layers (from 0) without prefixes.
    pub leave_out: Vec<usize>,
    /// Train the prefixes directly instead of through an MLP.
    pub flat: bool,
    /// The number of prefix positions.
    pub prefix_length: usize,
    /// Width of the reparameterizing MLP's hidden layer.
    pub bottleneck_size: usize,
    /// The MLP's activation.
    pub non_linearity: Activation,
    /// Dropout on the prefixes.
    pub dropout: f64,
    /// A trained gate per sequence, as in UniPELT.
    pub use_gating: bool,
    /// One gate for keys and values.
    pub shared_gating: bool,
    /// Seed of the initialization.
    pub init_weights_seed: Option<u64>,
}

/// Initialization of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptInit {
    /// Uniform in `[-random_uniform_scale, random_uniform_scale]`.
    RandomUniform,
    /// The embeddings of a text.
    FromString,
}

/// The position of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptCombine {
    /// Before the first token.
    Prefix,
    /// After the first token.
    PrefixAfterBos,
}

/// Prompt tuning (Lester et al., 2021): trained embeddings in the input sequence. The fields have the names of the
/// reference's `PromptTuningConfig`.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptTuningConfig {
    /// The number of prompt positions.
    pub prompt_length: usize,
    /// Initialization of the prompt.
    pub prompt_init: PromptInit,
    /// The text for [`PromptInit::FromString`].
    pub prompt_init_text: Option<String>,
    /// Half-width of the uniform initialization.
    pub random_uniform_scale: f64,
    /// The position of the prompt.
    pub combine: PromptCombine,
    /// Seed of the initialization.
    pub init_weights_seed: Option<u64>,
}

names!(PromptInit { RandomUniform = "random_uniform", FromString = "from_string" });
names!(PromptCombine { Prefix = "prefix", PrefixAfterBos = "prefix_after_bos" });

impl Default for PrefixTuningConfig {
    /// [`PrefixTuningConfig::prefix_tuning`].
    fn default() -> Self {
        Self::prefix_tuning()
    }
}

impl PrefixTuningConfig {
    /// `prefix_tuning`: 30 positions through an MLP of width 512.
    pub fn prefix_tuning() -> Self {
        Self {
            encoder_prefix: true,
            cross_prefix: true,
            leave_out: Vec::new(),
            flat: false,
            prefix_length: 30,
            bottleneck_size: 512,
            non_linearity: Activation::Tanh,
            dropout: 0.0,
            use_gating: false,
            shared_gating: true,
            init_weights_seed: None,
        }
    }

    /// `prefix_tuning_flat`: [`prefix_tuning`](Self::prefix_tuning) without the MLP.
    pub fn prefix_tuning_flat() -> Self {
        Self { flat: true, ..Self::prefix_tuning() }
    }
}

builders!(PrefixTuningConfig {
    with_encoder_prefix encoder_prefix: plain (bool);
    with_cross_prefix cross_prefix: plain (bool);
    with_leave_out leave_out: into (Vec<usize>);
    with_flat flat: plain (bool);
    with_prefix_length prefix_length: plain (usize);
    with_bottleneck_size bottleneck_size: plain (usize);
    with_non_linearity non_linearity: plain (Activation);
    with_dropout dropout: plain (f64);
    with_use_gating use_gating: plain (bool);
    with_shared_gating shared_gating: plain (bool);
    with_init_weights_seed init_weights_seed: into (Option<u64>);
});

impl Default for PromptTuningConfig {
    /// [`PromptTuningConfig::prompt_tuning`].
    fn default() -> Self {
        Self::prompt_tuning()
    }
}

impl PromptTuningConfig {
    /// `prompt_tuning`: 10 positions before the text, uniformly initialized.
    pub fn prompt_tuning() -> Self {
        Self {
            prompt_length: 10,
            prompt_init: PromptInit::RandomUniform,
            prompt_init_text: None,
            random_uniform_scale: 0.5,
            combine: PromptCombine::Prefix,
            init_weights_seed: None,
        }
    }

    /// Sets [`prompt_init_text`](Self#structfield.prompt_init_text).
    #[must_use]
    pub fn with_prompt_init_text(mut self, text: impl Into<String>) -> Self {
        self.prompt_init_text = Some(text.into());
        self
    }
}

builders!(PromptTuningConfig {
    with_prompt_length prompt_length: plain (usize);
    with_prompt_init prompt_init: plain (PromptInit);
    with_random_uniform_scale random_uniform_scale: plain (f64);
    with_combine combine: plain (PromptCombine);
    with_init_weights_seed init_weights_seed: into (Option<u64>);
});
