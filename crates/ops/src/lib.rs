//! Linear layers, layer norm, attention, softmax, dropout and GELU with custom backward passes.
//!
//! Under autodiff, Burn composes layer norm, softmax and attention of elementary operations. Each of them allocates its
//! result and keeps what its gradient needs. The functions here are single operations: they keep as little as the
//! gradient allows, and read each element once.
//!
//! The kernels run for f32 tensors on the flex backend (feature `flex`), with or without a graph. In every other case
//! (another backend, another type, a graph with gradient checkpointing) Burn's own operations give the same result.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use burn_adapters_ops::{dropout, layer_norm};
//!
//! let device = Device::default();
//! let x = Tensor::<2>::from_data([[1.0, 2.0, 3.0, 6.0]], &device.clone().autodiff()).require_grad();
//! // Frozen weights can stay on a device without a graph.
//! let (gamma, beta) = (Tensor::<1>::ones([4], &device), Tensor::<1>::zeros([4], &device));
//! let y = dropout(layer_norm(x.clone(), gamma, Some(beta), 1e-5), 0.1, 7);
//! let gradients = y.sum().backward();
//! assert_eq!(x.grad(&gradients).map(|gradient| gradient.dims()), Some([1, 4]));
//! ```

mod activation;
mod allocator;
mod attention;
mod dropout;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod heads;
#[cfg(feature = "flex")]
mod kernel;
mod layer_norm;
mod linear;
mod pool;
mod quantized;
mod rms_norm;
mod rotary;
mod rows;
mod softmax;
mod token_loss;

pub use activation::{Nonlinearity, gated, gelu, nonlinear};
pub use allocator::keep_freed_memory;
pub use attention::{
    AttentionOptions, Dropout, ScoreChanges, Sight, attention, changed_attention, packed_attention,
    packed_sighted_attention, sighted_attention,
};
pub use dropout::dropout;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use pool::{on_working_thread, on_working_thread_of};
pub use quantized::{QuantizedMatrix, QuantizedMatrixError, quantized_linear};
pub use rms_norm::rms_norm;
pub use rotary::{Rotary, RotaryScaling, RotaryTable};
pub use rows::{Rows, take_rows};
pub use softmax::softmax;
pub use token_loss::token_losses;
