//! LoRA, DoRA, VeRA, DVoRA and (IA)³ on the weights of *any* Burn module, without changing its code: an encoder of
//! [`burn::nn::transformer`], or any model with linear layers. Matrices are selected by the paths of their parameters.
//! Adapters are named, a matrix can have several, and the active one can be switched at run time.
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
//! model.activate_adapter("reviews")?; // train it or run it
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
//! Burn can attach a [`Reparameterization`](burn::module::Reparameterization) to a parameter. Reading the parameter
//! then returns a function of the stored value and of the reparameterization's own trained parameters. Let `W` be a
//! weight of `[d_input, d_output]` and `c` the bias beside it. Then a layer reads:
//!
//! | method | the weight | the bias | paper |
//! | --- | --- | --- | --- |
//! | LoRA | `W + s·A B` | `c` | <https://arxiv.org/abs/2106.09685> |
//! | DoRA | `(W + s·A B) ⊙ f`, `f = m / ‖W + A B‖` | `c ⊙ f` | <https://arxiv.org/abs/2402.09353> |
//! | VeRA, DVoRA | as LoRA, DoRA, with `A ⊙ d` and `B ⊙ b` for frozen `A`, `B` | the same |
//! <https://arxiv.org/abs/2310.11454> |
//! | (IA)³ | `W ⊙ alpha·l` | `c ⊙ alpha·l` | <https://arxiv.org/abs/2205.05638> |
//!
//! Here `A: [d_input, r]`, `B: [r, d_output]`, `s = alpha / r`; `m`, `l`, `b: [d_output]`, `d: [r]`. Apart from
//! rounding, the results equal those of `burn-adapters-model` on the activations, with the same configuration and
//! parameters. The bias is the parameter `bias` beside a parameter `weight`; a matrix with another name, or without a
//! bias, is adapted alone.
//!
//! # Dropout
//! A weight does not depend on the input, so elements of each token's input cannot be dropped independently, as LoRA
//! does on activations. Instead, rows of `A` are dropped: an input feature of the update, *for the whole batch*. The
//! expectation is the same, but the noise is coarser. Dropout is on only after
//! [`set_adapter_mode(Mode::Training)`](WeightAdapters::set_adapter_mode), whether or not there is a graph, and off in
//! the result of [`valid`](burn::module::Module::valid). A parameter that is read twice in a pass draws twice.
//!
//! # Cost, and when to use which
//! Burn builds the dense effective weight at *every* read of the parameter, keeps it for the backward pass, and
//! computes a dense gradient for it. In addition to the layer itself this takes `r · d_input · d_output`
//! multiplications and `d_input · d_output` elements in the forward pass, and about twice that in the backward pass,
//! for any number of tokens. On activations it takes `r · (d_input + d_output)` per token. The table shows a forward
//! and backward pass of a stack of square layers with LoRA, `r = 8`, on flex and two cores shared with other work, as a
//! fraction of the time of full fine-tuning (lowest and highest of two runs of `cargo run -p
//! burn-adapters-reparameterize --features flex --example cost`):
//!
//! | layers × width, tokens | on weights | on activations |
//! | --- | --- | --- |
//! | 12 × 768, 64 | 1.1–1.2 | 0.6 |
//! | 12 × 768, 2048 | 1.0 | 0.6 |
//! | 4 × 4096, 64 | 1.3–1.4 | 0.5–0.6 |
//!
//! - **On weights** (this crate) if you cannot change the model's code, and for adapters that run merged:
//!   [`merged_adapter`](WeightAdapters::merged_adapter) costs the same as the base.
//! - **On activations** (`burn-adapters-model`, or the modules of `burn-adapters-lora` and `burn-adapters-ia3` in your
//!   own module) in all other cases: it trains faster, takes less memory, and supports dropout per token, gates,
//!   MTL-LoRA and methods that are not functions of a weight (bottlenecks, prefixes, prompts, ReFT).
//!
//! # Pitfalls
//! - A pass of a module on an autodiff device records a graph even at inference, and Burn keeps it in memory until some
//!   later backward pass. To serve a model, call [`valid`](burn::module::Module::valid) once and run the result.
//! - [`unfreeze`](burn::module::Module::unfreeze) and `set_require_grad(true)` on the module make the base trainable
//!   again.
//! - Burn's own `apply_lora` on a module with adapters puts LoRA *inside* them. (The opposite order is an error here.)
//! - A record of the module holds the base and all adapters; [`save_adapter`](WeightAdapters::save_adapter) writes one.
//! - `quantize_weights` without a group quantizes the adapters' parameters too: quantize before adding them. A
//!   quantized base is dequantized at each read. Start from the scheme in `device.settings().quantization.scheme`: if
//!   the backend does not support a scheme's store (`QuantStore::Native` on wgpu without 8-bit integers), Burn panics.
//! - On wgpu, CUDA and the other CubeCL backends, `into_data` copies only when the bytes are first read, and an
//!   optimizer steps in place. To compare a parameter before and after a step, read it before: `let before =
//!   weight.into_data(); before.as_bytes();`.

mod adapters;
mod attach;
mod error;
mod exchange;
mod file;
mod link;
mod plan;
mod report;
mod slot;
mod survey;
mod targets;
mod update;

pub use adapters::WeightAdapters;
pub use error::WeightAdapterError;
pub use report::{AdaptedParameter, AdapterSaveReport, AddReport, SkipReason, Skipped};
pub use slot::ParamAdapters;
pub use targets::Targets;
pub use update::Update;
