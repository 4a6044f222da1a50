//! Reading and writing AdapterHub's folders of adapters, heads, fusions and whole setups.
//!
//! A folder holds `adapter_config.json` and `adapter.safetensors` or `pytorch_adapter.bin`, and for a head
//! `head_config.json` and `model_head.safetensors` or `pytorch_model_head.bin`. The folder of an AdapterFusion is similar
//! ([`load_fusion`]). A whole setup has `adapter_setup.json` and a subfolder for each of its parts ([`load_setup`]). This
//! crate reads the files of the Python library `adapters`, and that library reads the files of this crate. Reading a
//! `.bin` never executes anything in it.
//!
//! Saves are atomic: after a failure or a kill, a folder holds either all of the old files or all of the new ones. Parts
//! that belong together, such as an adapter and its head, are saved together with the `stage` functions:
//!
//! ```
//! # use burn_adapters_checkpoint::{SaveOptions, load_adapter, load_head};
//! use burn_adapters_checkpoint::{FolderSave, stage_adapter, stage_head};
//! # use burn_adapters_core::{ModelSpec, StackSpec};
//! # use burn_adapters_heads::HeadConfig;
//! # use burn_adapters_model::AdapterBank;
//! # let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
//! # let mut bank = AdapterBank::new(spec, &burn::tensor::Device::default());
//! # bank.add("reviews", "seq_bn[reduction_factor=2]".parse()?)?;
//! # bank.add_head("reviews", &HeadConfig::classification(2))?;
//! # let (folder, options) = (tempfile::tempdir()?, SaveOptions::default());
//!
//! let mut save = FolderSave::new(folder.path())?;
//! stage_adapter(&mut save, &bank, "reviews", &options)?;
//! stage_head(&mut save, &bank, "reviews", &options)?;
//! save.write("notes.txt", b"trained on reviews")?;
//! save.commit()?;
//! # load_adapter(folder.path(), &mut bank, Some("copy"))?;
//! # load_head(folder.path(), &mut bank, Some("copy"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Loading is strict: a tensor that is missing, left over or of another shape is an error that names the tensor.
//!
//! ```
//! use burn_adapters_checkpoint::{SaveOptions, load_adapter, save_adapter};
//! use burn_adapters_core::{ModelSpec, StackSpec};
//! use burn_adapters_model::AdapterBank;
//!
//! let device = burn::tensor::Device::default();
//! let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16));
//! let mut bank = AdapterBank::new(spec, &device);
//! bank.add("reviews", "seq_bn[reduction_factor=2]".parse()?)?;
//!
//! let folder = tempfile::tempdir()?;
//! let saved = save_adapter(folder.path(), &bank, "reviews", &SaveOptions::default())?;
//! let loaded = load_adapter(folder.path(), &mut bank, Some("copy"))?;
//! assert_eq!(saved.tensors, loaded.applied.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Adapters of PEFT, mlx-lm and llama.cpp are read as well ([`AdapterFormat`]), and written ([`stage_peft`], [`stage_mlx`],
//! [`save_gguf_adapter`]).
//!
//! The names in a file come from a table for each method (in `names`) and from the model's own names
//! ([`SiteNames`](burn_adapters_core::SiteNames)).

mod adapter;
mod card;
mod convert;
mod error;
mod files;
mod format;
mod fused;
mod fusion;
mod gguf;
mod head;
mod interface;
mod layout;
mod legacy;
mod meta;
mod mlx;
mod names;
mod peft;
mod python;
mod report;
mod setup;
mod static_head;
mod strict;
mod updates;
mod write;

pub use adapter::{AdapterFolder, load_adapter, save_adapter, stage_adapter};
pub use burn_adapters_files::{FolderClaim, FolderSave, SaveError};
pub use burn_adapters_tensors::{Mismatch, RawTensor, Tensors};
pub use card::model_card;
pub use error::CheckpointError;
pub use format::{AdapterFormat, adapter_name, read_adapter};
pub use fusion::{FusionFolder, load_fusion, save_fusion, stage_fusion};
pub use gguf::save_gguf_adapter;
pub use head::{HeadFolder, load_head, save_head, stage_head};
pub use meta::FolderMeta;
pub use mlx::stage_mlx;
pub use peft::{ExportOptions, stage_peft};
pub use report::{LoadReport, SaveOptions, SaveReport};
pub use setup::{load_setup, save_setup, stage_setup};
