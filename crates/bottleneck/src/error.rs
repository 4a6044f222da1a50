//! What can be wrong with a bottleneck configuration once the sizes are known.

use burn_adapters_compacter::CompacterError;
use burn_adapters_config::BottleneckInit;
use thiserror::Error;

/// A bottleneck that cannot be built.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum BottleneckError {
    /// A map of reduction factors says nothing of a layer.
    #[error(
        "reduction_factor names no factor for layer {layer} and no default; it names layers {named:?}: add a \
         'default', as in {{'0': 2, 'default': 16}}"
    )]
    NoReductionFactor {
        /// The layer without a factor.
        layer: usize,
        /// The layers that have one.
        named: Vec<usize>,
    },
    /// A factor that gives no width.
    #[error("reduction_factor must be a finite number above 0, found {found} for layer {layer}")]
    BadReductionFactor {
        /// The layer.
        layer: usize,
        /// Its factor.
        found: f64,
    },
    /// `residual_before_ln = 'post_add'` without what it refers to.
    #[error(
        "residual_before_ln='post_add' takes the residual after the model's own addition, which happens before the \
         adapter only with original_ln_before=True: set it, or use residual_before_ln=True or False"
    )]
    PostAddWithoutLayerNormBefore,
    /// An initialization that says nothing of PHM layers.
    #[error(
        "init_weights='{found}' draws the weights of linear layers; those of PHM layers (phm_layer=True) are drawn as \
         hypercomplex_nonlinearity says: set init_weights='bert'"
    )]
    InitOfPhm {
        /// The initialization.
        found: BottleneckInit,
    },
    /// Weights shared among layers of different widths.
    #[error(
        "shared_W_phm=True gives the PHM layers of all layers the same weights, and reduction_factor names factors per \
         layer: give one factor for all layers, or set shared_W_phm=False"
    )]
    SharedWidths,
    /// A PHM layer that cannot be built.
    #[error(transparent)]
    Phm(#[from] CompacterError),
}
