//! Prediction heads: what turns an encoder's hidden states into logits, and logits into a loss.
//!
//! A head is a Burn module of its own beside the model, as an adapter is. Its layers, names and losses are those of the
//! reference's classification heads; [`HeadConfig`] is the reference's dictionary, key for key.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_core::{Init, Mode};
//! use burn_adapters_heads::{Head, HeadConfig, Labels};
//!
//! let device = Device::default();
//! let config = HeadConfig::classification(2).with_labels(["negative", "positive"]);
//! let head = Head::new(&config, 8, &mut Init::from_seed(1), &device)?;
//!
//! let hidden = Tensor::ones([4, 5, 8], &device); // four texts of five tokens
//! let logits = head.forward(hidden, None, Mode::Inference)?;
//! assert_eq!(logits.dims(), [4, 2]);
//! let loss = head.loss(logits, &Labels::Classes(vec![0, 1, 1, 0]))?;
//! assert_eq!(loss.dims(), [1]);
//! assert_eq!(head.config().label_of(1), "positive");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod error;
mod head;
mod loss;
mod names;

pub use config::{HeadConfig, HeadType, Task};
pub use error::HeadError;
pub use head::Head;
pub use loss::{Labels, binary_cross_entropy, cross_entropy, mean_squared_error};
pub use names::{HeadParameter, reference_names};
