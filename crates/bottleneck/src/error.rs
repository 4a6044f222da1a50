//! Errors of bottleneck adapters.

use burn_adapters_compacter::CompacterError;
use burn_adapters_config::BottleneckInit;
use thiserror::Error;

/// A bottleneck that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BottleneckError {
    /// A map of reduction factors lacks a layer.
    #[error(
        "reduction_factor has no factor for layer {layer} and no default; it has factors for layers {named:?}: add a \
         'default', as in {{'0': 2, 'default': 16}}"
    )]
    NoReductionFactor {
        /// The layer without a factor.
        layer: usize,
        /// The layers that have one.
        named: Vec<usize>,
    },
    /// A factor that does not give a valid width.
    #[error("reduction_factor must be a finite number above 0, found {found} for layer {layer}")]
    BadReductionFactor {
        /// The layer.
        layer: usize,
        /// Its factor.
        found: f64,
    },
    /// `residual_before_ln = 'post_add'` without `original_ln_before`.
    #[error(
        "residual_before_ln='post_add' takes the residual after the model's own addition, which happens before the \
         adapter only with original_ln_before=True: set it, or use residual_before_ln=True or False"
    )]
    PostAddWithoutLayerNormBefore,
    /// An initialization that does not apply to PHM layers.
    #[error(
        "init_weights='{found}' applies to linear layers, but PHM layers (phm_layer=True) are initialized by \
         hypercomplex_nonlinearity: set init_weights='bert'"
    )]
    InitOfPhm {
        /// The initialization.
        found: BottleneckInit,
    },
    /// Weights shared between layers of different widths.
    #[error(
        "shared_W_phm=True gives all PHM layers the same weights, but reduction_factor differs by layer: \
         give one factor for all layers, or set shared_W_phm=False"
    )]
    SharedWidths,
    /// A PHM layer that cannot be built.
    #[error(transparent)]
    Phm(#[from] CompacterError),
}
