//! The parts that all adapter methods share: sites and model specifications, initializers, activations, the gate, the
//! mode of a pass, and maps of modules.
//!
//! This crate knows no method and no model.

mod activation;
mod bf16;
mod floor_div;
mod init;
mod kept_gates;
mod memory;
mod mode;
mod module_map;
mod names;
mod norm;
mod output;
mod quantized;
mod rows;
mod site;
mod spec;

pub use activation::{activate, activate_gate};
pub use bf16::{Bf16Error, check_bf16, is_bf16, linear_weights_in_bf16};
pub use burn_adapters_config::Activation;
pub use burn_adapters_ops::{Rotary, linear};
pub use floor_div::floor_div;
pub use init::{Fill, Init};
pub use kept_gates::{Gate, KeptGates};
pub use memory::{Demand, TooLarge};
pub use mode::{Mode, draw_seed, has_own_kernels};
pub use module_map::ModuleMap;
pub use names::{AttentionNames, SiteName, SiteNames, StackNames, join_path};
pub use norm::{Norm, NormWithEpsilon};
pub use output::{Output, Reads, RowPosition, TokenSpan, mean_of_tokens};
pub use quantized::{
    BlockRows, QuantizedWeightError, dense_weight, is_quantized, look_up, project, quantized_matrix, quantized_weight,
};
pub use rows::{repeated_rows, row_indices};
pub use site::{ModuleKey, NameMap, Place, Site, SiteMap, SiteReport, StackKind};
pub use spec::{LlamaCpp, ModelSpec, OutputLayer, StackSpec, SublayerEnd};
