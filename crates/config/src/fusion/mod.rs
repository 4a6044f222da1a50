//! The configuration of an AdapterFusion.

mod read;

use burn_adapters_diagnostics::{nearest, shortened};
use serde_json::Value;

use crate::attributes::{Attributes, attributes};
use crate::codec::{Codec, Context, Flag, Float, Optional};
use crate::literal::Node;
use crate::macros::builders;
use crate::problem::Problem;
use crate::{ConfigError, ProblemKind};

/// The configuration of an AdapterFusion (Pfeiffer et al., 2021). The fields have the names of the reference's
/// `AdapterFusionConfig`.
///
/// ```
/// use burn_adapters_config::FusionConfig;
///
/// let config: FusionConfig = "dynamic[temperature=True,dropout_prob=0.2]".parse()?;
/// assert_eq!(config, FusionConfig::dynamic().with_temperature(true).with_dropout_prob(0.2));
/// assert_eq!(FusionConfig::from_json_value(&config.to_json_value())?, config);
/// # Ok::<(), burn_adapters_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FusionConfig {
    /// Project the adapters' outputs to keys.
    pub key: bool,
    /// Project the hidden states to queries.
    pub query: bool,
    /// Project the attended output to values.
    pub value: bool,
    /// Take the query from before the layer norm (and the residual that is added there) instead of after it. The caller
    /// of `burn_adapters_fusion::Fusion::forward` chooses which one to pass.
    pub query_before_ln: bool,
    /// Regularize the value matrix towards the identity (`burn_adapters_fusion::Fusion::regularization_loss`).
    pub regularization: bool,
    /// Add the residual to each adapter's output before the attention instead of to the result of the attention.
    pub residual_before: bool,
    /// Start with a high softmax temperature, and lower it during training.
    pub temperature: bool,
    /// Project the values before they are summed. Both orders give the same results, because the projection is linear
    /// and has no bias. It is always applied after the sum, to one tensor instead of one per adapter.
    pub value_before_softmax: bool,
    /// Start the value matrix near the identity, so that a new fusion returns the average of the adapters' outputs.
    pub value_initialized: bool,
    /// Dropout on the attention probabilities; `None` uses the dropout of the model's own attention.
    pub dropout_prob: Option<f64>,
}

builders!(FusionConfig {
    with_key key: plain (bool);
    with_query query: plain (bool);
    with_value value: plain (bool);
    with_query_before_ln query_before_ln: plain (bool);
    with_regularization regularization: plain (bool);
    with_residual_before residual_before: plain (bool);
    with_temperature temperature: plain (bool);
    with_value_before_softmax value_before_softmax: plain (bool);
    with_value_initialized value_initialized: plain (bool);
    with_dropout_prob dropout_prob: into (Option<f64>);
});

attributes!(FusionConfig {
    "key" = key: Flag,
    "query" = query: Flag,
    "value" = value: Flag,
    "query_before_ln" = query_before_ln: Flag,
    "regularization" = regularization: Flag,
    "residual_before" = residual_before: Flag,
    "temperature" = temperature: Flag,
    "value_before_softmax" = value_before_softmax: Flag,
    "value_initialized" = value_initialized: Flag,
    "dropout_prob" = dropout_prob: Optional<Float>,
});

impl Default for FusionConfig {
    /// [`FusionConfig::dynamic`], as in the reference.
    fn default() -> Self {
        Self::dynamic()
    }
}

impl FusionConfig {
    /// The names of the predefined configurations.
    pub const IDENTIFIERS: &'static [&'static str] = &["static", "dynamic"];

    /// `static`: keys and queries, no value matrix.
    pub fn r#static() -> Self {
        Self {
            key: true,
            query: true,
            value: false,
            query_before_ln: false,
            regularization: false,
            residual_before: false,
            temperature: false,
            value_before_softmax: true,
            value_initialized: false,
            dropout_prob: None,
        }
    }

    /// `dynamic`: keys, queries and a value matrix near the identity, with a regularizer that keeps it there.
    pub fn dynamic() -> Self {
        Self { value: true, regularization: true, value_initialized: true, ..Self::r#static() }
    }

    /// The keys, in the reference's order.
    pub const KEYS: &'static [&'static str] = <Self as Attributes>::KEYS;

    /// The configuration with this name, without attributes.
    ///
    /// # Errors
    /// [`ProblemKind::UnknownFusion`], with the nearest known name.
    pub fn from_identifier(name: &str) -> Result<Self, ConfigError> {
        Self::named(name).map_err(|kind| ConfigError::new(name, vec![Problem::new(0..name.len(), kind)]))
    }

    fn named(name: &str) -> Result<Self, ProblemKind> {
        match name {
            "static" => Ok(Self::r#static()),
            "dynamic" => Ok(Self::dynamic()),
            _ => {
                let nearest = nearest(name, Self::IDENTIFIERS.iter().copied());
                Err(ProblemKind::UnknownFusion { name: shortened(name), nearest })
            }
        }
    }

    /// Whether there is anything to train: without key, query and value the attention is fixed.
    pub fn trains(&self) -> bool {
        self.key || self.query || self.value
    }

    /// Checks that every attribute is in its range. A configuration that was read has passed this check; one that was
    /// built in Rust may not.
    ///
    /// # Errors
    /// If `dropout_prob` is not a probability below 1.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Some(kind) = self.range_problem() else {
            return Ok(());
        };
        let text = self.to_string();
        let start = text.find("dropout_prob").unwrap_or(0);
        let span = start..text.len().saturating_sub(1);
        Err(ConfigError::new(text, vec![Problem::new(span, kind)]))
    }

    fn range_problem(&self) -> Option<ProblemKind> {
        let p = self.dropout_prob.filter(|p| !(0.0..1.0).contains(p))?;
        let (value, allowed) = (p.to_string(), "at least 0 and below 1");
        Some(ProblemKind::OutOfRange { key: "dropout_prob".into(), value, allowed })
    }
}
