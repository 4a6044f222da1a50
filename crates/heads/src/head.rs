//! The module.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Demand, Fill, Init, Mode, activate, project};

use crate::{HeadConfig, HeadError, Labels};

/// A classification, multi-label or regression head.
///
/// `layers` linear layers, each with dropout before it, all but the last followed by the activation.
#[derive(Module, Debug)]
pub struct Head {
    /// The layers before the last: `[hidden] → [hidden]` each.
    pub hidden_layers: Vec<Linear>,
    /// The last layer: `[hidden] → [num_labels]`.
    pub output: Linear,
    /// Dropout before each layer.
    pub dropout: f64,
    #[module(skip)]
    config: HeadConfig,
}

impl Head {
    /// A new head for a model with hidden states of `hidden_size`, its weights drawn as BERT's are: normal with standard
    /// deviation 0.02, biases 0.
    ///
    /// Where the configuration leaves the dropout to the model, it is 0 until
    /// [`with_model_dropout`](Self::with_model_dropout).
    ///
    /// # Errors
    /// If the configuration does not pass [`HeadConfig::check`].
    pub fn new(config: &HeadConfig, hidden_size: usize, init: &mut Init, device: &Device) -> Result<Self, HeadError> {
        Self::with_initializer_range(config, hidden_size, 0.02, init, device)
    }

    /// As [`new`](Self::new), for a model whose `initializer_range` is another.
    pub fn with_initializer_range(
        config: &HeadConfig,
        hidden_size: usize,
        std: f64,
        init: &mut Init,
        device: &Device,
    ) -> Result<Self, HeadError> {
        config.check()?;
        let mut demand = Demand::default();
        demand.add_times(&[hidden_size, hidden_size.saturating_add(1)], config.layers - 1);
        demand.add(&[hidden_size, config.num_labels]);
        demand.check("lower the number of labels (`num_labels`) or of `layers`").map_err(Box::new)?;
        let weight = Fill::Normal { std };
        let square = [hidden_size, hidden_size];
        let hidden_layers =
            (1..config.layers).map(|_| init.linear(square, weight, Some(Fill::ZEROS), device)).collect();
        let bias = config.bias.then_some(Fill::ZEROS);
        Ok(Self {
            hidden_layers,
            output: init.linear([hidden_size, config.num_labels], weight, bias, device),
            dropout: config.dropout_prob.unwrap_or(0.0),
            config: config.clone(),
        })
    }

    /// Takes over the model's dropout (`classifier_dropout`, or else `hidden_dropout_prob`) if the configuration leaves
    /// it to the model.
    pub fn with_model_dropout(mut self, probability: f64) -> Self {
        self.dropout = self.config.dropout_prob.unwrap_or(probability);
        self
    }

    /// What the head is.
    pub fn config(&self) -> &HeadConfig {
        &self.config
    }

    /// The width of the hidden states that the head reads.
    pub fn hidden_size(&self) -> usize {
        let [hidden, _] = self.output.weight.lazy_shape().dims();
        hidden
    }

    /// The number of its parameters.
    pub fn parameters(&self) -> usize {
        Module::num_params(self)
    }

    /// The logits, from the first position of the hidden states, or with `use_pooler` from the model's pooled output. At
    /// inference no graph is recorded.
    ///
    /// # Shapes
    /// - hidden: `[batch, sequence, hidden]`
    /// - pooled: `[batch, hidden]`
    /// - output: `[batch, num_labels]`
    ///
    /// # Errors
    /// If the pooled output is missing, or the hidden states have another width.
    pub fn forward(&self, hidden: Tensor<3>, pooled: Option<Tensor<2>>, mode: Mode) -> Result<Tensor<2>, HeadError> {
        self.forward_at(0, hidden, pooled, mode)
    }

    /// As [`forward`](Self::forward), from another position than the first.
    ///
    /// The reference always reads the first, also where prompt tuning has put the prompt there.
    pub fn forward_at(
        &self,
        position: usize,
        hidden: Tensor<3>,
        pooled: Option<Tensor<2>>,
        mode: Mode,
    ) -> Result<Tensor<2>, HeadError> {
        if self.config.use_pooler {
            return self.forward_vector(pooled.ok_or(HeadError::NoPooledOutput)?, mode);
        }
        let [batch, sequence, width] = hidden.dims();
        if position >= sequence {
            return Err(HeadError::Shape {
                expected: format!("sequences of more than {position} positions"),
                found: format!("{sequence}"),
            });
        }
        let states = hidden.slice([0..batch, position..position + 1, 0..width]).reshape([batch, width]);
        self.forward_vector(states, mode)
    }

    /// The logits, from one vector a text.
    ///
    /// # Shapes
    /// - states: `[batch, hidden]`
    /// - output: `[batch, num_labels]`
    pub fn forward_vector(&self, states: Tensor<2>, mode: Mode) -> Result<Tensor<2>, HeadError> {
        let [batch, width] = states.dims();
        if width != self.hidden_size() {
            return Err(HeadError::Shape {
                expected: format!("hidden states of {}", self.hidden_size()),
                found: format!("[{batch}, {width}]"),
            });
        }
        // A pass at inference records no graph: nothing would ever free it.
        if !mode.is_training() && self.output.weight.lazy_device().is_autodiff() {
            return Ok(self.valid().project(states, mode));
        }
        Ok(self.project(states, mode))
    }

    fn project(&self, mut states: Tensor<2>, mode: Mode) -> Tensor<2> {
        for layer in &self.hidden_layers {
            states = project(layer, mode.dropout(self.dropout, states));
            if let Some(activation) = self.config.activation_function {
                states = activate(activation, states);
            }
        }
        project(&self.output, mode.dropout(self.dropout, states))
    }

    /// The mean loss of a batch: cross-entropy, binary cross-entropy on every logit, or squared error, by the head's
    /// [task](HeadConfig::task).
    ///
    /// # Shapes
    /// - logits: `[batch, num_labels]`
    /// - output: `[1]`
    ///
    /// # Errors
    /// If the labels are of another kind, number or range than the head's.
    pub fn loss(&self, logits: Tensor<2>, labels: &Labels) -> Result<Tensor<1>, HeadError> {
        labels.loss(&self.config, logits, None)
    }

    /// As [`loss`](Self::loss), with a weight for each label, as PyTorch has it. In a classification each text weighs as
    /// much as its class, and the loss is the weighted mean (`CrossEntropyLoss(weight=…)`); with any number of labels, a
    /// label's weight is that of its positive texts (`BCEWithLogitsLoss(pos_weight=…)`). A regression has no labels.
    ///
    /// # Shapes
    /// - logits: `[batch, num_labels]`
    /// - output: `[1]`
    ///
    /// # Errors
    /// Those of [`loss`](Self::loss), and if there is not one weight above 0 for each label, or the head is a regression.
    pub fn weighted_loss(&self, logits: Tensor<2>, labels: &Labels, weights: &[f32]) -> Result<Tensor<1>, HeadError> {
        labels.loss(&self.config, logits, Some(weights))
    }
}
