//! LoRA, DoRA, VeRA, DVoRA and (IA)³ on the weights of *any* Burn module, left as it is: an encoder of
//! [`burn::nn::transformer`], somebody's model of linear layers. The matrices are chosen by the paths of their
//! parameters; the adapters are named, several can hang at one matrix, and which of them acts is switched at run time.
//!
//! ```
//! use burn::nn::transformer::{TransformerEncoderConfig, TransformerEncoderInput};
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_config::LoraConfig;
//! use burn_adapters_reparameterize::{Targets, WeightAdapters};
//!
//! let device = Device::default();
//! let mut model = TransformerEncoderConfig::new(16, 32, 4, 2).init(&device);
//!
//! let attention = Targets::regex(r"mha\.(query|value)\.weight$")?;
//! let report = model.add_adapter("reviews", &attention, &LoraConfig::new(4))?;
//! assert_eq!(report.adapted.len(), 4); // two layers
//! assert_eq!(report.parameters(), 4 * (16 * 4 + 4 * 16));
//! model.add_adapter("tickets", &Targets::regex(r"pwff\..*\.weight$")?, &LoraConfig::ia3())?;
//!
//! model.activate_adapter("reviews")?; // train it, run it
//! let input = TransformerEncoderInput::new(Tensor::ones([1, 5, 16], &device));
//! assert_eq!(model.forward(input).dims(), [1, 5, 16]);
//!
//! let folder = tempfile::tempdir()?;
//! model.save_adapter("reviews", folder.path().join("reviews.safetensors"))?;
//! let mut other = model.without_adapters()?;
//! other.load_adapter("reviews", folder.path().join("reviews.safetensors"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//! Burn can attach a [`Reparameterization`](burn::module::Reparameterization) to a parameter: reading the parameter
//! then gives a function of the stored value and of the reparameterization's own, trained parameters. With `W` a weight of
//! `[d_input, d_output]` and `c` the bias beside it, a layer reads, for
//!
//! | method | the weight | the bias | paper |
//! | --- | --- | --- | --- |
//! | LoRA | `W + s·A B` | `c` | <https://arxiv.org/abs/2106.09685> |
//! | DoRA | `(W + s·A B) ⊙ f`, `f = m / ‖W + A B‖` | `c ⊙ f` | <https://arxiv.org/abs/2402.09353> |
//! | VeRA, DVoRA | as LoRA, DoRA, with `A ⊙ d` and `B ⊙ b` of frozen `A`, `B` | the same | <https://arxiv.org/abs/2310.11454> |
//! | (IA)³ | `W ⊙ alpha·l` | `c ⊙ alpha·l` | <https://arxiv.org/abs/2205.05638> |
//!
//! `A: [d_input, r]`, `B: [r, d_output]`, `s = alpha / r`; `m`, `l`, `b: [d_output]`, `d: [r]`. This is, to rounding, what
//! `burn-adapters-model` computes on the activations with the same configuration and numbers. The bias is the parameter
//! `bias` beside a parameter `weight`; a matrix of another name, or without one, is adapted alone.
//!
//! # Dropout
//! A weight does not see the inputs, so each element of each token's input cannot be dropped by itself, as LoRA does on
//! the activations. What is dropped here are rows of `A`: an input feature of the update, *for the whole batch*. The
//! expectation is the same, the noise is coarser. It is on only after
//! [`set_adapter_mode(Mode::Training)`](WeightAdapters::set_adapter_mode), never by the presence of a graph, and off
//! in what [`valid`](burn::module::Module::valid) gives. A parameter that is read twice in a pass draws twice.
//!
//! # What it costs, and when to use which
//! Burn builds the effective weight, dense, at *every* read of the parameter, keeps it for the backward pass, and gives it a
//! dense gradient. Beside the layer itself that is `r · d_input · d_output` multiplications and `d_input · d_output`
//! numbers forward, about twice that backward, however few tokens there are; on the activations it is
//! `r · (d_input + d_output)` a token. Forward and backward of a stack of square layers with LoRA, `r = 8`, on flex and two
//! cores that other work shared, as parts of the time that full fine-tuning takes (lowest and highest of two runs of
//! `cargo run -p burn-adapters-reparameterize --features flex --example cost`):
//!
//! | layers × width, tokens | the weight's side | the activations' side |
//! | --- | --- | --- |
//! | 12 × 768, 64 | 1.1–1.2 | 0.6 |
//! | 12 × 768, 2048 | 1.0 | 0.6 |
//! | 4 × 4096, 64 | 1.3–1.4 | 0.5–0.6 |
//!
//! - **The weight's side** (this crate) where the model's code is not yours to change, and for all that is run merged:
//!   [`merged_adapter`](WeightAdapters::merged_adapter) costs what the base does.
//! - **The activations' side** (`burn-adapters-model`, or the modules of `burn-adapters-lora` and `burn-adapters-ia3` in a
//!   module of your own) for everything else: it is faster to train, takes less memory, and has dropout by token, gates,
//!   MTL-LoRA and methods that are no function of a weight (bottlenecks, prefixes, prompts, ReFT).
//!
//! # Traps
//! - A pass of a module on an autodiff device records a graph, at inference too, and Burn keeps it in memory until some
//!   later backward. To serve a model, take [`valid`](burn::module::Module::valid) of it once and run that.
//! - [`unfreeze`](burn::module::Module::unfreeze) and `set_require_grad(true)` on the module train the base again.
//! - Burn's own `apply_lora` on a module with adapters puts LoRA *inside* them. (The other way round is an error here.)
//! - A record of the module holds the base and all adapters; [`save_adapter`](WeightAdapters::save_adapter) writes one.
//! - `quantize_weights` without a group quantizes the adapters' parameters too: quantize before adding them. A quantized
//!   base is unpacked at each read. Take the scheme from `device.settings().quantization.scheme`, changed where you need
//!   to: with a store that the backend lacks (`QuantStore::Native` on wgpu without 8-bit integers) Burn panics.
//! - On wgpu, CUDA and the other CubeCL backends `into_data` copies when the bytes are first looked at, and an optimizer
//!   steps in place. To compare a parameter before and after a step, look at it before:
//!   `let before = weight.into_data(); before.as_bytes();`.

mod adapters;
mod attach;
mod error;
mod exchange;
mod file;
mod frozen;
mod link;
mod plan;
mod report;
mod slot;
mod survey;
mod targets;
mod tensors;
mod update;

pub use adapters::WeightAdapters;
pub use error::WeightAdapterError;
pub use report::{AdaptedParameter, AdapterSaveReport, AddReport, SkipReason, Skipped};
pub use slot::ParamAdapters;
pub use targets::Targets;
pub use update::Update;
