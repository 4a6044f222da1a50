//! What an adapter *is*: a struct per method, the identifier table, configuration strings, JSON, unions.
//!
//! No tensors here, and no burn. A configuration says which small modules are to be added to a pre-trained model, and
//! where; it does not know the model. The methods, their names, attributes and defaults are those of AdapterHub's
//! Python library `adapters`, so that its users and its files find everything unchanged.
//!
//! # Four ways in
//!
//! A configuration string: a name, attributes in brackets, `|` between the methods of a union.
//!
//! ```
//! use burn_adapters_config::AdapterConfig;
//!
//! let config: AdapterConfig = "double_seq_bn[reduction_factor={'0': 2, 'default': 16}] | lora[r=4]".parse()?;
//! assert_eq!(config.methods().len(), 2);
//! # Ok::<(), burn_adapters_config::ConfigError>(())
//! ```
//!
//! A value, made from an entry of the table and changed by `with_*`:
//!
//! ```
//! use burn_adapters_config::{Activation, AdapterConfig, BottleneckConfig, LoraConfig};
//!
//! let bottleneck = BottleneckConfig::seq_bn().with_reduction_factor(8).with_non_linearity(Activation::Gelu);
//! let config = AdapterConfig::from(bottleneck);
//! assert_eq!(config, "seq_bn[reduction_factor=8,non_linearity='gelu']".parse()?);
//! config.validate()?;
//! # Ok::<(), burn_adapters_config::ConfigError>(())
//! ```
//!
//! JSON, bare or in an `adapter_config.json`, old files too ([`AdapterConfig::from_json_str`]); and serde:
//!
//! ```
//! # use burn_adapters_config::AdapterConfig;
//! let config: AdapterConfig = serde_json::from_str(r#"{"architecture": "lora", "r": 4, "alpha": 16}"#)?;
//! assert_eq!(config.to_string(), "lora[r=4,alpha=16]");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # Two ways out
//!
//! `Display` gives the shortest string that means the same, [`AdapterConfig::to_json_value`] (and serde) the
//! reference's dictionary, key for key. Reading either gives an equal configuration.
//!
//! # Errors
//!
//! A [`ConfigError`] holds the text and every [`Problem`] in it: the place, the kind as a value to match on
//! ([`ProblemKind`]), and words: a message, a label for the caret, help. What is wrong for every model (a rank of 0, two
//! methods that fight for one site) is an error of reading; what depends on the model's depth is found by
//! [`AdapterConfig::check_layers`].
//!
//! ```
//! # use burn_adapters_config::AdapterConfig;
//! let error = "lora[r=0]|seqbn".parse::<AdapterConfig>().unwrap_err();
//! assert_eq!(error.problems()[0].message(), "`r` is 0, but must be 1 or greater");
//! assert_eq!(error.problems()[1].label(), "did you mean `seq_bn`?");
//! ```

mod activation;
mod attributes;
mod bottleneck;
mod check;
mod clash;
mod codec;
mod display;
mod error;
mod fusion;
mod grammar;
mod json;
mod literal;
mod lora;
mod macros;
mod prefix;
mod problem;
mod read;
mod reft;
mod registry;
mod union;

pub use activation::Activation;
pub use bottleneck::{
    BottleneckConfig, BottleneckInit, HypercomplexInit, InvertibleKind, PhmRuleInit, ReductionFactor, ResidualBeforeLn,
    Scaling,
};
pub use error::{ConfigError, Problem};
pub use fusion::FusionConfig;
pub use lora::{CompositionMode, LoraConfig, LoraInit, MtlLora, TaskMatrix};
pub use prefix::{PrefixTuningConfig, PromptCombine, PromptInit, PromptTuningConfig};
pub use problem::ProblemKind;
pub use reft::{ReftConfig, ReftLayers};
pub use registry::{Identifier, MethodKind, identifiers};
pub use union::AdapterConfig;

/// One adaptation method, configured.
#[derive(Debug, Clone, PartialEq)]
pub enum MethodConfig {
    /// Bottleneck adapters.
    Bottleneck(BottleneckConfig),
    /// LoRA and its relatives.
    Lora(LoraConfig),
    /// Prefix tuning.
    PrefixTuning(PrefixTuningConfig),
    /// Prompt tuning.
    PromptTuning(PromptTuningConfig),
    /// Representation fine-tuning.
    Reft(ReftConfig),
}

/// The names that `dtype` may have: PyTorch's, as in the reference.
pub const DTYPES: &[&str] = &["float32", "float16", "bfloat16", "float64", "float", "half", "double"];
