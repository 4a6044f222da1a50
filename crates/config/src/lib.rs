//! Adapter configurations: a struct per method, the identifier table, configuration strings, JSON, unions.
//!
//! This crate has no tensors and does not depend on burn. A configuration describes which small modules to add to a
//! pre-trained model, and where; it does not know the model. The methods, their names, attributes and defaults are
//! those of AdapterHub's Python library `adapters`, so that its users and its files find everything unchanged.
//!
//! # Creating a configuration
//!
//! From a configuration string: a name, attributes in brackets, and `|` between the methods of a union.
//!
//! ```
//! use burn_adapters_config::AdapterConfig;
//!
//! let config: AdapterConfig = "double_seq_bn[reduction_factor={'0': 2, 'default': 16}] | lora[r=4]".parse()?;
//! assert_eq!(config.methods().len(), 2);
//! # Ok::<(), burn_adapters_config::ConfigError>(())
//! ```
//!
//! As a value, built from an entry of the table and changed with `with_*`:
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
//! From JSON, bare or in an `adapter_config.json`, including old files ([`AdapterConfig::from_json_str`]), or with
//! serde:
//!
//! ```
//! # use burn_adapters_config::AdapterConfig;
//! let config: AdapterConfig = serde_json::from_str(r#"{"architecture": "lora", "r": 4, "alpha": 16}"#)?;
//! assert_eq!(config.to_string(), "lora[r=4,alpha=16]");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # Writing a configuration
//!
//! `Display` writes the shortest equivalent string. [`AdapterConfig::to_json_value`] (and serde) writes the reference's
//! dictionary, key for key. Reading either gives an equal configuration.
//!
//! # Errors
//!
//! A [`ConfigError`] holds the text and every [`Problem`] in it: the position, the kind as a value to match on
//! ([`ProblemKind`]), and the texts: a message, a label for the marked position, help. Problems on every model (a rank
//! of 0, two methods that compete for one site) are reported when reading; [`AdapterConfig::check_layers`] finds those
//! that depend on the model's depth.
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
pub use fusion::FusionConfig;
pub use lora::{CompositionMode, LoraBias, LoraConfig, LoraInit, MtlLora, TaskMatrix};
pub use prefix::{PrefixTuningConfig, PromptCombine, PromptInit, PromptTuningConfig};
pub use problem::{ConfigError, Problem, ProblemKind};
pub use reft::{ReftConfig, ReftLayers};
pub use registry::{Identifier, MethodKind, identifiers};
pub use union::AdapterConfig;

/// The configuration of one adaptation method.
#[derive(Debug, Clone, PartialEq)]
pub enum MethodConfig {
    /// Bottleneck adapters.
    Bottleneck(BottleneckConfig),
    /// LoRA and derived methods.
    Lora(LoraConfig),
    /// Prefix tuning.
    PrefixTuning(PrefixTuningConfig),
    /// Prompt tuning.
    PromptTuning(PromptTuningConfig),
    /// Representation fine-tuning.
    Reft(ReftConfig),
}

/// The allowed names of `dtype`: PyTorch's, as in the reference.
pub const DTYPES: &[&str] = &["float32", "float16", "bfloat16", "float64", "float", "half", "double"];
