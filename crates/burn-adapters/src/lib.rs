//! Parameter-efficient fine-tuning for [Burn](https://burn.dev): the adapter methods of AdapterHub's Python library
//! `adapters`, on any Burn model, on the CPU or a GPU, with files that can be exchanged with Python in both directions.
//!
//! One idea carries it: **adapters live beside the model, never inside it.** A pre-trained model is frozen and shared;
//! an adapter is a Burn module of its own; the model's forward pass calls it at a handful of hooks.
//!
//! This crate is a facade over the workspace's crates; if you need only one method, depend on its crate instead.
//!
//! ```
//! use burn_adapters::prelude::*;
//!
//! let config: AdapterConfig = "par_bn[reduction_factor=4]".parse()?;
//! let spec = ModelSpec::new("bert", 64).with_stack(StackSpec::encoder(2, 64, 4, 256));
//! let mut bank = AdapterBank::new(spec, &burn::tensor::Device::default().autodiff());
//! println!("{}", bank.add("reviews", config)?);
//! bank.train_only(&Setup::adapter("reviews"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use burn_adapters_bottleneck as bottleneck;
pub use burn_adapters_chat as chat;
pub use burn_adapters_checkpoint as checkpoint;
pub use burn_adapters_combination as combination;
pub use burn_adapters_compacter as compacter;
pub use burn_adapters_composition as composition;
pub use burn_adapters_config as config;
pub use burn_adapters_core as core;
pub use burn_adapters_fusion as fusion;
pub use burn_adapters_generate as generate;
pub use burn_adapters_heads as heads;
pub use burn_adapters_ia3 as ia3;
pub use burn_adapters_invertible as invertible;
pub use burn_adapters_lora as lora;
pub use burn_adapters_merging as merging;
pub use burn_adapters_model as model;
pub use burn_adapters_ops as ops;
pub use burn_adapters_prefix_tuning as prefix_tuning;
pub use burn_adapters_prompt_tuning as prompt_tuning;
pub use burn_adapters_reft as reft;
pub use burn_adapters_reparameterize as reparameterize;
pub use burn_adapters_train as train;
pub use burn_adapters_transformers as transformers;

/// The items that most programs need.
pub mod prelude {
    pub use burn_adapters_composition::{Composition, HeadSetup};
    pub use burn_adapters_config::{AdapterConfig, BottleneckConfig, LoraConfig, MethodConfig};
    pub use burn_adapters_core::{Mode, ModelSpec, Norm, Output, Place, Reads, Site, StackKind, StackSpec};
    pub use burn_adapters_model::{
        ActiveHooks, Adapter, AdapterBank, AddReport, Attention, BankError, BaseError, BaseModel, Forward, Hooks,
        LayerPass, Limits, Matrices, Mergeable, MergedModel, Pass, Rotary, Setup, TokenBatch,
    };
}
