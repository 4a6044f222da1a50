//! The module.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Demand, Fill, Init, Mode, Output, Reads, RowPosition, activate, project};

use crate::{HeadConfig, HeadError, Logits, Targets};

/// A prediction head. Its [task](HeadConfig::task) says which positions it reads.
///
/// `layers` linear layers, each with dropout before it, all but the last followed by the activation.
#[derive(Module, Debug)]
pub struct Head {
    /// The layers before the last: `[hidden] → [hidden]` each.
    pub hidden_layers: Vec<Linear>,
    /// The last layer: `[hidden] → [outputs]`, where [`HeadConfig::outputs`] is the number of labels of most heads.
    pub output: Linear,
    /// Dropout before each layer.
    pub dropout: f64,
    #[module(skip)]
    config: HeadConfig,
}

impl Head {
    /// A new head for a model with hidden states of `hidden_size`. Weights are drawn as in BERT: normal with standard
    /// deviation 0.02; biases are 0.
    ///
    /// Where the configuration leaves the dropout to the model, it is 0 until
    /// [`with_model_dropout`](Self::with_model_dropout).
    ///
    /// # Errors
    /// If the configuration does not pass [`HeadConfig::check`].
    pub fn new(config: &HeadConfig, hidden_size: usize, init: &mut Init, device: &Device) -> Result<Self, HeadError> {
        Self::with_initializer_range(config, hidden_size, 0.02, init, device)
    }

    /// As [`new`](Self::new), for a model with another `initializer_range`.
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
        demand.add(&[hidden_size, config.outputs()]);
        demand.check("lower the number of labels (`num_labels`) or of `layers`").map_err(Box::new)?;
        let weight = Fill::Normal { std };
        let square = [hidden_size, hidden_size];
        let hidden_layers =
            (1..config.layers).map(|_| init.linear(square, weight, Some(Fill::ZEROS), device)).collect();
        let bias = config.bias.then_some(Fill::ZEROS);
        Ok(Self {
            hidden_layers,
            output: init.linear([hidden_size, config.outputs()], weight, bias, device),
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

    /// The head's configuration.
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

    /// The positions that the head reads: a base model may leave the others uncomputed.
    pub fn reads(&self) -> Reads {
        self.config.task().reads(&self.config)
    }

    /// The logits of a base model's output. At inference no graph is recorded.
    ///
    /// # Errors
    /// If the pooled output is missing and the head reads it, or the hidden states have another width.
    pub fn forward(&self, output: &Output, mode: Mode) -> Result<Logits, HeadError> {
        self.config.task().logits(self, output, mode)
    }

    /// The logits of heads that read one vector a row: the hidden state of the position that stands for the row, or with
    /// `use_pooler` the pooled output. The reference reads the first position also where prompt tuning has put the prompt
    /// there.
    pub(crate) fn forward_first(&self, output: &Output, mode: Mode) -> Result<Logits, HeadError> {
        if self.config.use_pooler {
            let pooled = output.pooled.clone().ok_or(HeadError::NoPooledOutput)?;
            return Ok(Logits::of_rows(self.forward_vector(pooled, mode)?));
        }
        let [rows, positions, _] = output.hidden.dims();
        if positions == 0 {
            return Err(HeadError::Shape { expected: "at least one position".into(), found: "none".into() });
        }
        if positions > 1 && output.row_position == RowPosition::LastToken && output.tokens.len() != rows {
            let (expected, found) = (format!("the tokens of {rows} rows"), output.tokens.len().to_string());
            return Err(HeadError::Shape { expected, found });
        }
        Ok(Logits::of_rows(self.forward_vector(output.row_states(), mode)?))
    }

    /// The logits of single vectors.
    ///
    /// # Shapes
    /// - states: `[vectors, hidden]`
    /// - output: `[vectors, outputs]`
    ///
    /// # Errors
    /// If the hidden states have another width.
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

    /// The mean loss of a batch: `[1]`. The head's [task](HeadConfig::task) determines the loss.
    ///
    /// # Errors
    /// If the targets are of another kind, number or range than the head's.
    pub fn loss(&self, logits: &Logits, targets: &Targets) -> Result<Tensor<1>, HeadError> {
        self.config.task().loss(&self.config, logits, targets, None)
    }

    /// As [`loss`](Self::loss), with a weight for each label, as PyTorch has it. In classification, each text (in
    /// tagging, each token) has the weight of its class, and the loss is the weighted mean
    /// (`CrossEntropyLoss(weight=…)`); in multilabel classification, a label's weight applies to its positive texts
    /// (`BCEWithLogitsLoss(pos_weight=…)`). A regression has no labels.
    ///
    /// # Errors
    /// Those of [`loss`](Self::loss), and if there is not one weight above 0 for each label, or the head is a regression.
    pub fn weighted_loss(&self, logits: &Logits, targets: &Targets, weights: &[f32]) -> Result<Tensor<1>, HeadError> {
        self.config.task().loss(&self.config, logits, targets, Some(weights))
    }
}
