//! [`AdapterConfig`]: one method, or a union of several.

use crate::{BottleneckConfig, LoraConfig, MethodConfig, PrefixTuningConfig, PromptTuningConfig, ReftConfig};

/// The configuration of an adapter: one method, or a union of several.
///
/// It is parsed from a configuration string with [`str::parse`], read from JSON with
/// [`from_json_str`](Self::from_json_str), or built from the methods' structs.
///
/// ```
/// use burn_adapters_config::{AdapterConfig, BottleneckConfig};
///
/// let parsed: AdapterConfig = "seq_bn[reduction_factor=8]".parse()?;
/// let built = AdapterConfig::from(BottleneckConfig::seq_bn().with_reduction_factor(8));
/// assert_eq!(parsed, built);
/// assert_eq!(built.to_string(), "seq_bn[reduction_factor=8]");
/// # Ok::<(), burn_adapters_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    pub(crate) methods: Vec<MethodConfig>,
}

impl AdapterConfig {
    /// The methods of the union, in order; a single method is a union of one.
    pub fn methods(&self) -> &[MethodConfig] {
        &self.methods
    }

    /// The same configuration with directly trained prefixes, without an MLP: the configuration of an adapter whose
    /// prefixes were ejected. Without prefix tuning nothing changes.
    ///
    /// ```
    /// use burn_adapters_config::AdapterConfig;
    ///
    /// let ejected = "prefix_tuning[prefix_length=5]".parse::<AdapterConfig>()?.with_flat_prefixes();
    /// assert_eq!(ejected, "prefix_tuning_flat[prefix_length=5]".parse()?);
    /// # Ok::<(), burn_adapters_config::ConfigError>(())
    /// ```
    pub fn with_flat_prefixes(mut self) -> Self {
        for method in &mut self.methods {
            if let MethodConfig::PrefixTuning(config) = method {
                config.flat = true;
            }
        }
        self
    }

    /// The same configuration without invertible adapters. Without a bottleneck nothing changes.
    ///
    /// ```
    /// use burn_adapters_config::AdapterConfig;
    ///
    /// let task = "seq_bn_inv".parse::<AdapterConfig>()?.without_invertible();
    /// assert_eq!(task, "seq_bn".parse()?);
    /// # Ok::<(), burn_adapters_config::ConfigError>(())
    /// ```
    pub fn without_invertible(mut self) -> Self {
        for method in &mut self.methods {
            if let MethodConfig::Bottleneck(config) = method {
                config.inv_adapter = None;
                config.inv_adapter_reduction_factor = None;
            }
        }
        self
    }

    /// `mam`: prefix tuning and a parallel bottleneck (He et al., 2021).
    pub fn mam() -> Self {
        Self {
            methods: vec![
                PrefixTuningConfig::prefix_tuning().with_bottleneck_size(800).into(),
                BottleneckConfig::par_bn().into(),
            ],
        }
    }

    /// `unipelt`: prefix tuning, a sequential bottleneck and LoRA, each with a trained gate (Mao et al., 2022).
    pub fn unipelt() -> Self {
        Self {
            methods: vec![
                PrefixTuningConfig::prefix_tuning().with_prefix_length(10).with_use_gating(true).into(),
                BottleneckConfig::seq_bn().with_use_gating(true).into(),
                LoraConfig::lora().with_alpha(2.0).with_use_gating(true).into(),
            ],
        }
    }
}

macro_rules! conversions {
    ($($variant:ident($config:ty)),*) => {$(
        impl From<$config> for MethodConfig {
            fn from(config: $config) -> Self {
                Self::$variant(config)
            }
        }

        impl From<$config> for AdapterConfig {
            fn from(config: $config) -> Self {
                Self { methods: vec![config.into()] }
            }
        }
    )*};
}
conversions!(
    Bottleneck(BottleneckConfig),
    Lora(LoraConfig),
    PrefixTuning(PrefixTuningConfig),
    PromptTuning(PromptTuningConfig),
    Reft(ReftConfig)
);

impl From<MethodConfig> for AdapterConfig {
    fn from(method: MethodConfig) -> Self {
        Self { methods: vec![method] }
    }
}
