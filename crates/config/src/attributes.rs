//! The table of attributes: every key of every method, its field, and how its value is read and written.

use serde_json::{Map, Value};

use crate::codec::*;
use crate::literal::Node;
use crate::problem::Problem;
use crate::{
    BottleneckConfig, LoraBias, LoraConfig, MethodConfig, MtlLora, PrefixTuningConfig, PromptTuningConfig, ReftConfig,
};

/// A struct whose fields have keys.
pub(crate) trait Attributes {
    /// The keys, in the reference's order.
    const KEYS: &'static [&'static str];
    /// Sets the field of a key; `false` if there is no such key.
    fn set(&mut self, key: &str, value: &Node, problems: &mut Vec<Problem>) -> bool;
    /// Every key with its value.
    fn list(&self) -> Vec<(&'static str, Value)>;
}

macro_rules! attributes {
    ($owner:ty { $($key:literal = $field:ident : $codec:ty),* $(,)? }) => {
        impl Attributes for $owner {
            const KEYS: &'static [&'static str] = &[$($key),*];

            fn set(&mut self, key: &str, value: &Node, problems: &mut Vec<Problem>) -> bool {
                match key {
                    $($key => {
                        let context = &mut Context { key, problems };
                        if let Some(value) = <$codec>::read(value, context) {
                            self.$field = value;
                        }
                    })*
                    _ => return false,
                }
                true
            }

            fn list(&self) -> Vec<(&'static str, Value)> {
                vec![$(($key, <$codec>::write(&self.$field))),*]
            }
        }
    };
}

pub(crate) use attributes;

attributes!(BottleneckConfig {
    "mh_adapter" = mh_adapter: Flag,
    "output_adapter" = output_adapter: Flag,
    "reduction_factor" = reduction_factor: Factor,
    "non_linearity" = non_linearity: Name,
    "original_ln_before" = original_ln_before: Flag,
    "original_ln_after" = original_ln_after: Flag,
    "ln_before" = ln_before: Flag,
    "ln_after" = ln_after: Flag,
    "init_weights" = init_weights: Name,
    "init_weights_seed" = init_weights_seed: Optional<Count>,
    "is_parallel" = is_parallel: Flag,
    "scaling" = scaling: Scale,
    "use_gating" = use_gating: Flag,
    "residual_before_ln" = residual_before_ln: Residual,
    "adapter_residual_before_ln" = adapter_residual_before_ln: Flag,
    "inv_adapter" = inv_adapter: Optional<Name>,
    "inv_adapter_reduction_factor" = inv_adapter_reduction_factor: Optional<Numeric>,
    "cross_adapter" = cross_adapter: Flag,
    "leave_out" = leave_out: ListOf<Count>,
    "dropout" = dropout: Float,
    "phm_layer" = phm_layer: Flag,
    "phm_dim" = phm_dim: Count,
    "factorized_phm_W" = factorized_phm_w: Flag,
    "shared_W_phm" = shared_w_phm: Flag,
    "shared_phm_rule" = shared_phm_rule: Flag,
    "factorized_phm_rule" = factorized_phm_rule: Flag,
    "phm_c_init" = phm_c_init: Name,
    "phm_init_range" = phm_init_range: Float,
    "learn_phm" = learn_phm: Flag,
    "hypercomplex_nonlinearity" = hypercomplex_nonlinearity: Name,
    "phm_rank" = phm_rank: Count,
    "phm_bias" = phm_bias: Flag,
    "stochastic_depth" = stochastic_depth: Float,
});

attributes!(PrefixTuningConfig {
    "encoder_prefix" = encoder_prefix: Flag,
    "cross_prefix" = cross_prefix: Flag,
    "leave_out" = leave_out: ListOf<Count>,
    "flat" = flat: Flag,
    "prefix_length" = prefix_length: Count,
    "bottleneck_size" = bottleneck_size: Count,
    "non_linearity" = non_linearity: Name,
    "dropout" = dropout: Float,
    "use_gating" = use_gating: Flag,
    "shared_gating" = shared_gating: Flag,
    "init_weights_seed" = init_weights_seed: Optional<Count>,
});

attributes!(PromptTuningConfig {
    "prompt_length" = prompt_length: Count,
    "prompt_init" = prompt_init: Name,
    "prompt_init_text" = prompt_init_text: Optional<Text>,
    "random_uniform_scale" = random_uniform_scale: Float,
    "combine" = combine: Name,
    "init_weights_seed" = init_weights_seed: Optional<Count>,
});

attributes!(LoraConfig {
    "selfattn_lora" = selfattn_lora: Flag,
    "intermediate_lora" = intermediate_lora: Flag,
    "output_lora" = output_lora: Flag,
    "leave_out" = leave_out: ListOf<Count>,
    "r" = r: Count,
    "alpha" = alpha: Numeric,
    "dropout" = dropout: Float,
    "attn_matrices" = attn_matrices: ListOf<Text>,
    "composition_mode" = composition_mode: Name,
    "init_weights" = init_weights: Name,
    "init_weights_seed" = init_weights_seed: Optional<Count>,
    "use_gating" = use_gating: Flag,
    "use_dora" = use_dora: Flag,
    "vera_d" = vera_d: Optional<Float>,
    "vera_b" = vera_b: Optional<Float>,
    "dtype" = dtype: Optional<DType>,
    "gate_lora" = gate_lora: Flag,
    "bias" = bias: Name,
});

attributes!(MtlLora {
    "n_up_projection" = n_up_projection: Count,
    "task_specific_matrix_type" = task_specific_matrix_type: Name,
    "weights_sharpness" = weights_sharpness: Float,
});

attributes!(ReftConfig {
    "layers" = layers: Layers,
    "prefix_positions" = prefix_positions: Count,
    "suffix_positions" = suffix_positions: Count,
    "r" = r: Count,
    "orthogonality" = orthogonality: Flag,
    "tied_weights" = tied_weights: Flag,
    "subtract_projection" = subtract_projection: Flag,
    "dropout" = dropout: Float,
    "non_linearity" = non_linearity: Optional<Name>,
    "dtype" = dtype: Optional<DType>,
    "output_reft" = output_reft: Flag,
    "init_weights_seed" = init_weights_seed: Optional<Count>,
});

impl MethodConfig {
    /// The reference's name for the class of methods; bottleneck adapters have none.
    pub fn architecture(&self) -> Option<&'static str> {
        match self {
            Self::Bottleneck(_) => None,
            Self::Lora(config) if config.mtl.is_some() => Some("mtl_lora"),
            Self::Lora(_) => Some("lora"),
            Self::PrefixTuning(_) => Some("prefix_tuning"),
            Self::PromptTuning(_) => Some("prompt_tuning"),
            Self::Reft(_) => Some("reft"),
        }
    }

    /// The keys of this method, in the reference's order.
    pub fn keys(&self) -> Vec<&'static str> {
        match self {
            Self::Bottleneck(_) => BottleneckConfig::KEYS.to_vec(),
            Self::Lora(config) => {
                let mtl = config.mtl.as_ref().map_or(&[][..], |_| MtlLora::KEYS);
                [LoraConfig::KEYS, mtl].concat()
            }
            Self::PrefixTuning(_) => PrefixTuningConfig::KEYS.to_vec(),
            Self::PromptTuning(_) => PromptTuningConfig::KEYS.to_vec(),
            Self::Reft(_) => ReftConfig::KEYS.to_vec(),
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: &Node, problems: &mut Vec<Problem>) -> bool {
        match self {
            Self::Bottleneck(config) => config.set(key, value, problems),
            Self::Lora(config) => {
                config.set(key, value, problems) || config.mtl.as_mut().is_some_and(|mtl| mtl.set(key, value, problems))
            }
            Self::PrefixTuning(config) => config.set(key, value, problems),
            Self::PromptTuning(config) => config.set(key, value, problems),
            Self::Reft(config) => config.set(key, value, problems),
        }
    }

    /// Every key with its value.
    pub(crate) fn list(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Bottleneck(config) => config.list(),
            Self::Lora(config) => {
                let mut list = config.list();
                list.extend(config.mtl.iter().flat_map(MtlLora::list));
                list
            }
            Self::PrefixTuning(config) => config.list(),
            Self::PromptTuning(config) => config.list(),
            Self::Reft(config) => config.list(),
        }
    }

    /// The reference's dictionary of this method.
    pub fn to_json_value(&self) -> Value {
        let mut dictionary: Map<String, Value> = self
            .list()
            .into_iter()
            .filter(|(key, value)| !unwritten(key, value))
            .map(|(k, v)| (k.to_owned(), v))
            .collect();
        if let Some(architecture) = self.architecture() {
            dictionary.insert("architecture".to_owned(), architecture.into());
        }
        Value::Object(dictionary)
    }
}

/// Two attributes are not dataclass fields in the reference, which therefore never writes them, and it lacks `gate_lora`
/// and `bias`.
/// Here they are written if they are not the default; the reference keeps unknown keys as attributes, so it reads them back.
fn unwritten(key: &str, value: &Value) -> bool {
    match key {
        "subtract_projection" => *value == Value::Bool(true),
        "gate_lora" => *value == Value::Bool(false),
        "bias" => value.as_str() == Some(LoraBias::None.name()),
        "random_uniform_scale" => value.as_f64() == Some(0.5),
        _ => false,
    }
}
