//! The attention over adapters at one place of a model.
//!
//! As the paper writes it, each adapter's output `u_i` gets a key and a value of its own, `n` matrix products each. Both
//! projections are linear, so one product each does:
//!
//! - `q · (K u_i + b) = (Kᵀ q) · u_i + q · b`: project the query back, rather than every output to a key;
//! - `Σ a_i (V u_i) = V (Σ a_i u_i)`: project the sum, rather than every output.
//!
//! Terms that are equal for all adapters, `q · b` (and with `residual_before` the residual's `(Kᵀ q) · r`), do not change
//! the softmax. They only matter with dropout, which sets single scores to 0, and are only added then. The adapters'
//! outputs are read in place; nothing is stacked.

use burn::module::{Module, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Shape, Tensor, TensorData};
use burn_adapters_config::{ConfigError, FusionConfig};
use burn_adapters_core::{Fill, Init, Mode, linear, project};

/// The temperature that a softmax with `temperature` starts with.
const HOT: f64 = 50.0;
/// The final temperature, and that of a softmax without `temperature`.
const COLD: f64 = 1.0;
/// The decrease of the temperature in a step.
const COOLING: f64 = 0.05;
/// The weight of the regularizer, in the paper and the reference.
const REGULARIZATION: f64 = 0.01;
/// The elements of a new value matrix outside of its diagonal of ones.
const NEARLY_ZERO: f32 = 1e-6;

/// AdapterFusion at one place: attention over the outputs of several adapters. See the [crate] for an example.
#[derive(Module, Debug)]
pub struct Fusion {
    /// The query's projection `[hidden] → [hidden]`, with `query`.
    pub query: Option<Linear>,
    /// The keys' projection `[hidden] → [hidden]`, with `key`.
    pub key: Option<Linear>,
    /// The values' projection `[hidden] → [hidden]`, no bias, with `value`.
    pub value: Option<Linear>,
    /// `[hidden] → [1]`, if there is no query, key and value. The reference creates and saves it but never uses it; it
    /// exists here so that such files can be read and written.
    pub dense: Option<Linear>,
    /// The divisor of the scores in the softmax: 1, or with `temperature` initially 50, see [`cool`](Self::cool).
    pub temperature: f64,
    /// Dropout on the scores, before the softmax.
    pub dropout: f64,
    /// The configuration of the fusion.
    #[module(skip)]
    pub config: FusionConfig,
}

/// The result of [`Fusion::forward`].
#[derive(Debug, Clone)]
pub struct FusionOutput {
    /// The fused hidden states, residual included: `[batch, sequence, hidden]`.
    pub hidden: Tensor<3>,
    /// The attention probabilities of the adapters, which sum to 1 at each position: `[batch, sequence, adapters]`.
    pub attention: Tensor<3>,
}

impl Fusion {
    /// A new fusion of outputs of `hidden_size`, for any number of adapters. `attention_dropout` is that of the model's
    /// attention, used if the configuration has none. (The reference also uses it for `dropout_prob=0.0`, which here
    /// means no dropout.)
    ///
    /// # Errors
    /// If the configuration is not [valid](FusionConfig::validate).
    pub fn new(
        config: &FusionConfig,
        hidden_size: usize,
        attention_dropout: f64,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let square = [hidden_size, hidden_size];
        let normal = Fill::Normal { std: 0.02 };
        let query = config.query.then(|| init.linear(square, normal, Some(Fill::ZEROS), device));
        let key = config.key.then(|| init.linear(square, normal, Some(Fill::ZEROS), device));
        let mut value = config.value.then(|| init.linear(square, normal, None, device));
        if let Some(value) = value.as_mut().filter(|_| config.value_initialized) {
            init.count(&square);
            value.weight = near_identity(hidden_size, device);
        }
        // As PyTorch draws linear layers.
        let fill = Fill::kaiming_uniform_sqrt5(hidden_size);
        let dense = (!config.trains()).then(|| init.linear([hidden_size, 1], fill, Some(fill), device));
        Ok(Self {
            query,
            key,
            value,
            dense,
            temperature: if config.temperature { HOT } else { COLD },
            dropout: config.dropout_prob.unwrap_or(attention_dropout),
            config: config.clone(),
        })
    }

    /// Whether the query is the input of the layer norm (before the residual is added) instead of its output.
    pub fn query_before_ln(&self) -> bool {
        self.config.query_before_ln
    }

    /// Attends over the adapters' outputs, and adds the residual.
    ///
    /// `ups` are the outputs of the adapters' up-projections: scaled, but without dropout, gate, layer norm and
    /// residual, which the fusion replaces. Without any adapter, the result is the residual (projected, with
    /// `residual_before`).
    ///
    /// # Shapes
    /// - query, each of ups, residual, hidden: `[batch, sequence, hidden]`
    /// - attention: `[batch, sequence, adapters]`
    pub fn forward(&self, query: Tensor<3>, ups: &[Tensor<3>], residual: Tensor<3>, mode: Mode) -> FusionOutput {
        let attention = self.attention(query, ups, &residual, mode);
        let weighed = ups.iter().enumerate().map(|(index, up)| attention.clone().narrow(2, index, 1) * up.clone());
        let attended = weighed.reduce(|sum, next| sum + next);
        let mut hidden = attended.unwrap_or_else(|| residual.zeros_like());
        if self.config.residual_before {
            // The attention sums to 1, so of the residual in each output one is left.
            hidden = hidden + residual.clone();
        }
        if let Some(value) = &self.value {
            hidden = project(value, hidden);
        }
        if !self.config.residual_before {
            hidden = hidden + residual;
        }
        FusionOutput { hidden, attention }
    }

    /// `softmax(dropout(scores) / T)`: `[batch, sequence, adapters]`.
    fn attention(&self, query: Tensor<3>, ups: &[Tensor<3>], residual: &Tensor<3>, mode: Mode) -> Tensor<3> {
        if ups.is_empty() {
            let [batch, sequence, _] = query.dims();
            return Tensor::zeros([batch, sequence, 0], &query.device());
        }
        let query = match &self.query {
            Some(projection) => project(projection, query),
            None => query,
        };
        let probe = match &self.key {
            Some(key) => linear(query.clone(), key.weight.val().transpose(), None),
            None => query.clone(),
        };
        let score = |up: &Tensor<3>| (probe.clone() * up.clone()).sum_dim(2);
        let mut scores = Tensor::cat(ups.iter().map(score).collect(), 2);
        if mode.is_training() && self.dropout > 0.0 {
            if let Some(bias) = self.key.as_ref().and_then(|key| key.bias.as_ref()) {
                scores = scores + (query * bias.val().unsqueeze()).sum_dim(2);
            }
            if self.config.residual_before {
                scores = scores + score(residual);
            }
            scores = mode.dropout(self.dropout, scores);
        }
        softmax(scores / self.temperature, 2)
    }

    /// Cools the softmax by one step, for a configuration with `temperature`: from 50 by 0.05 per step down to 1. Call it
    /// after each training step, so that the result does not depend on the number of passes. The reference cools in every
    /// pass, including evaluation.
    ///
    /// Files of the reference do not hold the temperature: a loaded fusion starts hot. Set
    /// [`temperature`](Self#structfield.temperature) to continue where training ended.
    pub fn cool(&mut self) {
        self.temperature = (self.temperature - COOLING).max(COLD);
    }

    /// The regularizer to be added to the loss, which keeps the value matrix near the identity: `0.01 · Σ (I − V)²`.
    /// `None` without a value matrix or without `regularization`. (The reference regularizes every value matrix in
    /// training, whatever `regularization` is.)
    pub fn regularization_loss(&self) -> Option<Tensor<1>> {
        let value = self.value.as_ref().filter(|_| self.config.regularization)?;
        let weight = value.weight.val();
        let [size, _] = weight.dims();
        let difference = weight.clone() - Tensor::eye(size, &weight.device().without_autodiff());
        Some((difference.clone() * difference).sum() * REGULARIZATION)
    }
}

/// Ones on the diagonal, nearly zero beside it.
fn near_identity(size: usize, device: &Device) -> Param<Tensor<2>> {
    let shape = [size, size];
    Param::uninitialized(
        ParamId::new(),
        move |device: &Device, require_grad: bool| {
            let mut values = vec![NEARLY_ZERO; size * size];
            values.iter_mut().step_by(size + 1).for_each(|diagonal| *diagonal = 1.0);
            let tensor = Tensor::from_data(TensorData::new(values, shape), device);
            if require_grad { tensor.require_grad() } else { tensor }
        },
        device.clone(),
        true,
        Shape::from(shape),
    )
}

// The names of a saved fusion's files and parameters, as in the reference.

/// The file that describes a saved fusion: `name`, `adapter_names`, `model_type`, `model_class`, `hidden_size`,
/// `version`, and the dictionary of the configuration under `config`.
pub const CONFIG_FILE: &str = "adapter_fusion_config.json";

/// The file of the weights, as safetensors.
pub const SAFETENSORS_FILE: &str = "model_adapter_fusion.safetensors";

/// The file of the weights, as PyTorch writes them.
pub const PYTORCH_FILE: &str = "pytorch_model_adapter_fusion.bin";

/// The module before a fusion's name in the names of its parameters:
/// `bert.encoder.layer.0.output.adapter_fusion_layer.a,b.query.weight`.
pub const LAYER: &str = "adapter_fusion_layer";

/// The name of a parameter: `place` is that of the bottleneck adapters (`bert.encoder.layer.0.output`), `fusion` the
/// name of the fusion (`a,b`), `parameter` the path in the [`Fusion`](crate::Fusion) (`query.weight`).
///
/// Weights are stored as PyTorch's linear layers have them, `[out, in]`; Burn's are `[in, out]`.
pub fn parameter_name(place: &str, fusion: &str, parameter: &str) -> String {
    format!("{place}.{LAYER}.{fusion}.{parameter}")
}
