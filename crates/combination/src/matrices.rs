//! Access to a model's matrices, for methods that start from weights.

use burn::nn::Linear;
use burn_adapters_core::Site;

/// A model that gives access to the matrix at a site.
pub trait Matrices {
    /// The matrix at a site; `None` if the model has none there.
    fn linear(&self, site: Site) -> Option<&Linear>;
}
