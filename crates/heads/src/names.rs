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
    if config.head_type.is_language_model() || config.transform.is_some() {
        return normed_names(config, name);
    }
    if config.head_type.is_biaffine() {
        let names = [("arcs", "biaffine_arcs"), ("relations", "biaffine_rels")];
        let parameter = |(path, reference)| HeadParameter {
            path: format!("biaffine.{path}"),
            reference: format!("heads.{name}.{reference}.weight"),
        };
        return names.into_iter().map(parameter).collect();
    }
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

/// The parameters of a linear layer and of a norm: ours, and the reference's.
static LINEAR: [[&str; 2]; 2] = [["weight", "weight"], ["bias", "bias"]];
static NORM: [[&str; 2]; 2] = [["gamma", "weight"], ["beta", "bias"]];

/// The names of a head whose modules begin with a linear layer: of a language-model head, which has no dropout, or one with
/// a [`Transform`](crate::Transform), which has it before the last layer.
fn normed_names(config: &HeadConfig, name: &str) -> Vec<HeadParameter> {
    let mut names = Vec::new();
    let mut index = 0;
    let mut module = |path: &str, kinds: &[[&str; 2]]| {
        let parameter = |[own, reference]: &[&str; 2]| HeadParameter {
            path: format!("{path}.{own}"),
            reference: format!("heads.{name}.{index}.{reference}"),
        };
        names.extend(kinds.iter().map(parameter));
        index += 1;
    };
    let kinds = |kinds: &'static [[&'static str; 2]; 2], has_bias: bool| &kinds[..if has_bias { 2 } else { 1 }];
    let transform = config.transform;
    for layer in 0..config.layers.saturating_sub(1) {
        module(&format!("hidden_layers.{layer}"), kinds(&LINEAR, transform.is_none_or(|transform| transform.bias)));
        if config.activation_function.is_some() {
            module("", &[]);
        }
        if config.layer_norm || transform.is_some() {
            module(&format!("norms.{layer}"), kinds(&NORM, transform.is_none_or(|transform| transform.norm_bias)));
        }
    }
    if transform.is_some() {
        module("", &[]);
    }
    module("output", kinds(&LINEAR, config.bias));
    names
}

impl Head {
    /// Every parameter of this head, with the reference's names for a head called `name`.
    pub fn reference_names(&self, name: &str) -> Vec<HeadParameter> {
        reference_names(self.config(), name)
    }
}
