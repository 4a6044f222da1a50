//! What a fusion *is*.

use crate::{FusionConfigError, FusionProblem};

/// AdapterFusion (Pfeiffer et al., 2021), configured. The fields are the reference's `AdapterFusionConfig`, name for
/// name.
///
/// ```
/// use burn_adapters_fusion::FusionConfig;
///
/// let config: FusionConfig = "dynamic[temperature=True,dropout_prob=0.2]".parse()?;
/// assert_eq!(config, FusionConfig::dynamic().with_temperature(true).with_dropout_prob(0.2));
/// assert_eq!(FusionConfig::from_json_value(&config.to_json_value())?, config);
/// # Ok::<(), burn_adapters_fusion::FusionConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FusionConfig {
    /// Project the adapters' outputs to keys.
    pub key: bool,
    /// Project the hidden states to queries.
    pub query: bool,
    /// Project the attended output to values.
    pub value: bool,
    /// Take the query before the layer norm (and the residual that is added there) rather than after it. A matter for
    /// whoever calls [`Fusion::forward`](crate::Fusion::forward).
    pub query_before_ln: bool,
    /// Pull the value matrix towards the identity, see [`Fusion::regularisation_loss`](crate::Fusion::regularisation_loss).
    pub regularization: bool,
    /// Add the residual to each adapter's output before the attention, not to the attention's outcome.
    pub residual_before: bool,
    /// Start with a softmax of a high temperature, and cool it down in training.
    pub temperature: bool,
    /// Project the values before they are summed. Both orders give the same numbers, as the projection is linear and
    /// has no bias; it is always done after the sum, on one tensor rather than one per adapter.
    pub value_before_softmax: bool,
    /// Start the value matrix near the identity, so that a new fusion passes on what the adapters say.
    pub value_initialized: bool,
    /// Dropout on the attention's scores; `None` for that of the model's own attention.
    pub dropout_prob: Option<f64>,
}

macro_rules! fields {
    ($($field:ident $with:ident,)*) => {
        impl FusionConfig {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $with(mut self, value: bool) -> Self {
                    self.$field = value;
                    self
                }
            )*

            /// The keys, in the reference's order.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field),)* "dropout_prob"];

            pub(crate) fn flag_mut(&mut self, key: &str) -> Option<&mut bool> {
                match key {
                    $(stringify!($field) => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            /// Every key that is true or false, with its value.
            pub(crate) fn flags(&self) -> Vec<(&'static str, bool)> {
                vec![$((stringify!($field), self.$field)),*]
            }
        }
    };
}

fields! {
    key with_key,
    query with_query,
    value with_value,
    query_before_ln with_query_before_ln,
    regularization with_regularization,
    residual_before with_residual_before,
    temperature with_temperature,
    value_before_softmax with_value_before_softmax,
    value_initialized with_value_initialized,
}

impl Default for FusionConfig {
    /// [`FusionConfig::dynamic`], as in the reference.
    fn default() -> Self {
        Self::dynamic()
    }
}

impl FusionConfig {
    /// The names of the configurations that have one.
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

    /// `dynamic`: keys, queries and a value matrix near the identity, which a regulariser keeps there.
    pub fn dynamic() -> Self {
        Self { value: true, regularization: true, value_initialized: true, ..Self::r#static() }
    }

    /// The configuration of a name, without attributes.
    ///
    /// # Errors
    /// [`FusionProblem::UnknownIdentifier`], with the nearest known name.
    pub fn from_identifier(name: &str) -> Result<Self, FusionConfigError> {
        match name {
            "static" => Ok(Self::r#static()),
            "dynamic" => Ok(Self::dynamic()),
            _ => {
                let nearest = crate::nearest::nearest(name, Self::IDENTIFIERS.iter().copied());
                let kind = FusionProblem::UnknownIdentifier { name: crate::literal::shortened(name), nearest };
                Err(FusionConfigError::new(name, 0..name.len(), kind))
            }
        }
    }

    /// Sets [`dropout_prob`](Self#structfield.dropout_prob).
    #[must_use]
    pub fn with_dropout_prob(mut self, value: impl Into<Option<f64>>) -> Self {
        self.dropout_prob = value.into();
        self
    }

    /// Whether there is anything to train: without key, query and value the attention is fixed.
    pub fn trains(&self) -> bool {
        self.key || self.query || self.value
    }

    /// Whether every attribute is in its range. A configuration that was read has passed; one that was made in Rust
    /// may not have.
    ///
    /// # Errors
    /// If `dropout_prob` is no probability below 1.
    pub fn validate(&self) -> Result<(), FusionConfigError> {
        let Some(kind) = self.problem() else {
            return Ok(());
        };
        let text = self.to_string();
        let start = text.find("dropout_prob").unwrap_or(0);
        Err(FusionConfigError::new(&text, start..text.len().saturating_sub(1), kind))
    }

    pub(crate) fn problem(&self) -> Option<FusionProblem> {
        let p = self.dropout_prob.filter(|p| !(0.0..1.0).contains(p))?;
        let (value, allowed) = (p.to_string(), "at least 0 and below 1");
        Some(FusionProblem::OutOfRange { key: "dropout_prob", value, allowed })
    }
}
