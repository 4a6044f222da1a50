//! The attention over adapters, at one place of a model.
//!
//! As the paper writes it, each adapter's output `u_i` gets a key and a value of its own, `n` matrix products each. Both
//! projections are linear, so one product each does:
//!
//! - `q · (K u_i + b) = (Kᵀ q) · u_i + q · b`: project the query back, rather than every output to a key;
//! - `Σ a_i (V u_i) = V (Σ a_i u_i)`: project the sum, rather than every output.
//!
//! What is the same for all adapters, `q · b` (and with `residual_before` the residual's `(Kᵀ q) · r`), is invisible
//! to the softmax. Only dropout, which sets single scores to 0, can tell: so it is added where dropout acts. The
//! adapters' outputs are read where they lie; nothing is stacked.

use burn::module::{Module, Param, ParamId};
use burn::nn::Linear;
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Shape, Tensor, TensorData};
use burn_adapters_config::{ConfigError, FusionConfig};
use burn_adapters_core::{Fill, Init, Mode, linear, project};

/// The temperature that a softmax with `temperature` starts with.
const HOT: f64 = 50.0;
/// The temperature that it cools down to, and that of a softmax without.
const COLD: f64 = 1.0;
/// By how much it cools in a step.
const COOLING: f64 = 0.05;
/// The weight of the regularizer, in the paper and the reference.
const REGULARIZATION: f64 = 0.01;
/// Besides the ones on its diagonal, a new value matrix holds this.
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
    /// `[hidden] → [1]`, if there is no query, key and value. The reference makes it, saves it, and never uses it; it
    /// is here so that such files can be read and written.
    pub dense: Option<Linear>,
    /// What the softmax divides the scores by: 1, or with `temperature` 50 at first, see [`cool`](Self::cool).
    pub temperature: f64,
    /// Dropout on the scores, before the softmax.
    pub dropout: f64,
    /// What the fusion was made from.
    #[module(skip)]
    pub config: FusionConfig,
}

/// What [`Fusion::forward`] gives.
#[derive(Debug, Clone)]
pub struct FusionOutput {
    /// The fused hidden states, residual included: `[batch, sequence, hidden]`.
    pub hidden: Tensor<3>,
    /// How much each adapter was attended to, summing to 1 at each position: `[batch, sequence, adapters]`.
    pub attention: Tensor<3>,
}

impl Fusion {
    /// A new fusion of outputs of `hidden_size`, for any number of adapters. `attention_dropout` is that of the model's
    /// attention, taken where the configuration has none. (The reference takes it for `dropout_prob=0.0` too; here
    /// that is no dropout.)
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

    /// Whether the query is to be what enters the layer norm (before the residual is added) rather than what leaves it.
    pub fn query_before_ln(&self) -> bool {
        self.config.query_before_ln
    }

    /// Attends over the adapters' outputs, and adds the residual.
    ///
    /// `ups` are the outputs of the adapters' up-projections: scaled, but without dropout, gate, layer norm and
    /// residual, which the fusion replaces. Without any, the residual alone is left (projected, with
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

    /// Cools the softmax by a step, for a configuration with `temperature`: from 50 by 0.05 a step down to 1. To be
    /// called after each training step, so that the outcome does not depend on how often a model was asked; the
    /// reference cools at every pass, evaluations too.
    ///
    /// No file of the reference holds the temperature: what is loaded starts hot. Set
    /// [`temperature`](Self#structfield.temperature) to go on where training ended.
    pub fn cool(&mut self) {
        self.temperature = (self.temperature - COOLING).max(COLD);
    }

    /// What is to be added to the loss, so that the value matrix stays near the identity: `0.01 · Σ (I − V)²`. `None`
    /// without a value matrix or without `regularization`. (The reference regularizes every value matrix in training,
    /// whatever `regularization` says.)
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
