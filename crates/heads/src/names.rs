//! The names under which the reference stores a head's parameters.
//!
//! The reference builds a head as one sequence of modules and names parameters by position: dropout, linear and
//! activation of each layer count, whether they have parameters or not.

use crate::{Head, HeadConfig};

/// One parameter of a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadParameter {
    /// The path in [`Head`]: `hidden_layers.0.weight`, `output.bias`.
    pub path: String,
    /// The reference's name: `heads.NAME.1.weight`.
    pub reference: String,
}

/// Every parameter of a head of this name, in the reference's order.
///
/// ```
/// use burn_adapters_heads::{HeadConfig, reference_names};
///
/// let names = reference_names(&HeadConfig::classification(2), "reviews");
/// assert_eq!(names[2].reference, "heads.reviews.4.weight");
/// assert_eq!(names[2].path, "output.weight");
/// ```
pub fn reference_names(config: &HeadConfig, name: &str) -> Vec<HeadParameter> {
    let step = if config.activation_function.is_some() { 3 } else { 2 };
    let mut names = Vec::with_capacity(2 * config.layers);
    for layer in 0..config.layers {
        let last = layer + 1 == config.layers;
        let path = if last { "output".to_owned() } else { format!("hidden_layers.{layer}") };
        let index = layer * step + 1;
        let kinds: &[&str] = if last && !config.bias { &["weight"] } else { &["weight", "bias"] };
        for kind in kinds {
            names.push(HeadParameter {
                path: format!("{path}.{kind}"),
                reference: format!("heads.{name}.{index}.{kind}"),
            });
        }
    }
    names
}

impl Head {
    /// Every parameter of this head, with the reference's names for a head called `name`.
    pub fn reference_names(&self, name: &str) -> Vec<HeadParameter> {
        reference_names(self.config(), name)
    }
}
