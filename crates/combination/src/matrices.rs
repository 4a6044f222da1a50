//! What a method that starts from weights needs of a model.

use burn::nn::Linear;
use burn_adapters_core::Site;

/// A model that shows the matrix at a site.
pub trait Matrices {
    /// The matrix at a site, if the model has one there.
    fn linear(&self, site: Site) -> Option<&Linear>;
}
