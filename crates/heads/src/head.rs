//! The module.

use burn::module::{Module, Param};
use burn::nn::{LayerNorm, Linear};
use burn::tensor::{Device, Tensor};
use burn_adapters_core::{
    Demand, Fill, Init, Mode, Norm, NormWithEpsilon, Output, OutputLayer, Reads, RowPosition, activate, project,
};

use crate::{Biaffine, HeadConfig, HeadError, Logits, Targets};

/// Whether the last layer's matrix is the model's table of word embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tied {
    No,
    /// It is, but it is not there yet.
    Awaits,
    Yes,
    /// The whole head is the model's own output layer, which the model computes.
    OfModel,
}

/// A prediction head. Its [task](HeadConfig::task) says which positions it reads.
///
/// `layers` linear layers, each with dropout before it, all but the last followed by the activation. A
/// [`Transform`](crate::Transform) has a norm after its activation, and no dropout before it.
#[derive(Module, Debug)]
pub struct Head {
    /// The layers before the last: `[hidden] → [hidden]` each; of a language-model head, to the width of its embeddings.
    pub hidden_layers: Vec<Linear>,
    /// The norms after the activations of these layers, in language-model heads and after a [`Transform`](crate::Transform).
    pub norms: Vec<LayerNorm>,
    /// The last layer: `[hidden] → [outputs]`, where [`HeadConfig::outputs`] is the number of labels of most heads.
    pub output: Linear,
    /// The scores of pairs, in heads for dependency parsing. Their `output` is not used.
    pub biaffine: Option<Biaffine>,
    /// Dropout before each layer.
    pub dropout: f64,
    norm_epsilon: f64,
    scale: f64,
    #[module(skip)]
    inverts: bool,
    #[module(skip)]
    is_drawn: bool,
    #[module(skip)]
    tied: Tied,
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
        let width = config.embedding_size.unwrap_or(hidden_size);
        if config.layers == 1 && width != hidden_size {
            let expected = format!("an `embedding_size` of {hidden_size}, the hidden size, as it has one layer");
            return Err(HeadError::Shape { expected, found: width.to_string() });
        }
        demand.add_times(&[hidden_size.max(width), width.saturating_add(1)], config.layers - 1);
        let is_biaffine = config.head_type.is_biaffine();
        if is_biaffine {
            demand.add_times(&[hidden_size.saturating_add(1), hidden_size.saturating_add(1)], config.outputs());
        } else {
            demand.add(&[width, config.outputs()]);
        }
        demand.check("lower the number of labels (`num_labels`) or of `layers`").map_err(Box::new)?;
        let weight = Fill::Normal { std };
        let size = |layer| [if layer == 1 { hidden_size } else { width }, width];
        let hidden_bias = config.transform.is_none_or(|transform| transform.bias).then_some(Fill::ZEROS);
        let hidden_layers =
            (1..config.layers).map(|layer| init.linear(size(layer), weight, hidden_bias, device)).collect();
        let norms = if config.layer_norm || config.transform.is_some() { config.layers - 1 } else { 0 };
        let has_beta = config.transform.is_none_or(|transform| transform.norm_bias);
        let mut norm = || {
            let mut norm = init.layer_norm(width, device);
            norm.beta = norm.beta.filter(|_| has_beta);
            norm
        };
        let norms = (0..norms).map(|_| norm()).collect();
        let bias = (config.bias && !is_biaffine).then_some(Fill::ZEROS);
        let output = init.linear([width, if is_biaffine { 1 } else { config.outputs() }], weight, bias, device);
        Ok(Self {
            biaffine: is_biaffine.then(|| Biaffine::new(hidden_size, config.num_labels, init, device)),
            hidden_layers,
            norms,
            output: if is_biaffine { output.set_require_grad(false) } else { output },
            norm_epsilon: 1e-12,
            scale: 1.0,
            inverts: true,
            is_drawn: true,
            tied: Tied::No,
            dropout: config.dropout_prob.unwrap_or(0.0),
            config: config.clone(),
        })
    }

    /// A language-model head that is the model's own output layer, frozen: it has no parameters, and files hold nothing of
    /// it. The model computes it (`AdapterBank::token_logits`).
    ///
    /// # Errors
    /// If the configuration is not that of a language-model head, or does not pass [`HeadConfig::check`].
    pub fn of_model(config: &HeadConfig, hidden_size: usize, device: &Device) -> Result<Self, HeadError> {
        if !config.head_type.is_language_model() {
            let (expected, found) = ("that of a language model", config.head_type.name().to_owned());
            return Err(HeadError::BadValue { key: "head_type", expected, found });
        }
        // It stands for the model's, and is never computed.
        let stand_in = HeadConfig { layers: 1, embedding_size: None, bias: false, num_labels: 1, ..config.clone() };
        let head = Self::new(&stand_in, hidden_size, &mut Init::from_seed(0), device)?;
        config.check()?;
        let output = head.output.set_require_grad(false);
        Ok(Self { output, is_drawn: false, tied: Tied::OfModel, config: config.clone(), ..head })
    }

    /// Takes over the model's dropout (`classifier_dropout`, or else `hidden_dropout_prob`) if the configuration leaves
    /// it to the model.
    pub fn with_model_dropout(mut self, probability: f64) -> Self {
        self.dropout = self.config.dropout_prob.unwrap_or(probability);
        self
    }

    /// Takes over what a head has of its model: the epsilon of its norms, and where the model's output layer is its table of
    /// word embeddings, a language-model head's matrix and the factor on hidden states. A new head of such a model has no
    /// matrix until [`tie`](Self::tie); a [filled](Self::filled) one keeps its own, frozen.
    pub fn with_output_layer(mut self, layer: OutputLayer) -> Self {
        if self.config.transform.is_some() {
            self.norm_epsilon = layer.norm_epsilon;
        }
        if self.config.head_type.is_language_model() && !self.is_of_model() {
            self.norm_epsilon = layer.norm_epsilon;
            if layer.is_tied {
                self.scale = layer.scale;
                self.tied = if self.is_drawn { Tied::Awaits } else { Tied::Yes };
                self.output.weight = self.output.weight.set_require_grad(false);
            }
        }
        self
    }

    /// Marks the parameters as those of a trained head instead of freshly drawn ones.
    pub fn filled(mut self) -> Self {
        self.is_drawn = false;
        self
    }

    /// The head without the inverse of an invertible adapter before its last layer, as in Hugging Face's own classes.
    pub fn without_inverse(self) -> Self {
        Self { inverts: false, ..self }
    }

    /// Whether the inverse of an invertible adapter acts before its last layer.
    pub fn inverts(&self) -> bool {
        self.inverts
    }

    /// Whether the last layer's matrix is the model's table of word embeddings.
    pub fn is_tied(&self) -> bool {
        matches!(self.tied, Tied::Awaits | Tied::Yes)
    }

    /// Whether the head is the model's own output layer: see [`of_model`](Self::of_model).
    pub fn is_of_model(&self) -> bool {
        self.tied == Tied::OfModel
    }

    /// Takes the table of word embeddings, `[vocabulary, embedding]`, for the last layer's matrix, if it is tied. The two
    /// share their memory.
    ///
    /// # Errors
    /// If the table is of another shape.
    pub fn tie(&mut self, words: &Tensor<2>) -> Result<(), HeadError> {
        if !self.is_tied() {
            return Ok(());
        }
        let ([tokens, width], [d_input, d_output]) = (words.dims(), self.output.weight.lazy_shape().dims());
        if [width, tokens] != [d_input, d_output] {
            let expected = format!("word embeddings of [{d_output}, {d_input}]");
            return Err(HeadError::Shape { expected, found: format!("[{tokens}, {width}]") });
        }
        let device = self.output.weight.lazy_device();
        let matrix = words.clone().without_autodiff().transpose();
        let matrix = if device.is_autodiff() { matrix.autodiff() } else { matrix };
        self.output.weight = Param::from_tensor(matrix).set_require_grad(false);
        self.is_drawn = false;
        self.tied = Tied::Yes;
        Ok(())
    }

    /// Freezes or trains the head. A matrix that is the model's stays frozen.
    pub fn set_trained(self, trained: bool) -> Self {
        let is_own = self.has_own_output();
        let mut head = self.set_require_grad(trained);
        if !is_own {
            head.output.weight = head.output.weight.set_require_grad(false);
        }
        head
    }

    /// The head's configuration.
    pub fn config(&self) -> &HeadConfig {
        &self.config
    }

    /// The width of the hidden states that the head reads.
    pub fn hidden_size(&self) -> usize {
        let first = self.hidden_layers.first().unwrap_or(&self.output);
        let [hidden, _] = first.weight.lazy_shape().dims();
        hidden
    }

    /// Whether the last layer's matrix is a parameter of the head: it is neither the model's nor unused.
    fn has_own_output(&self) -> bool {
        self.tied == Tied::No && self.biaffine.is_none()
    }

    /// The number of its parameters, without a matrix that is the model's or that is not used.
    pub fn parameters(&self) -> usize {
        let others = if self.has_own_output() { 0 } else { self.output.weight.lazy_shape().num_elements() };
        Module::num_params(self) - others
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
        if positions > 1 && output.row_position != RowPosition::First && output.tokens.len() != rows {
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
        let states = self.before_output(states, mode)?;
        self.at_output(states, mode)
    }

    /// The states that the last layer reads, from those of a model: `[vectors, hidden]` to `[vectors, embedding]`.
    ///
    /// # Errors
    /// If the hidden states have another width.
    pub fn before_output(&self, mut states: Tensor<2>, mode: Mode) -> Result<Tensor<2>, HeadError> {
        let [batch, width] = states.dims();
        if width != self.hidden_size() {
            return Err(HeadError::Shape {
                expected: format!("hidden states of {}", self.hidden_size()),
                found: format!("[{batch}, {width}]"),
            });
        }
        // A pass at inference records no graph: nothing would ever free it.
        if self.would_record(mode) {
            return self.valid().before_output(states, mode);
        }
        if self.scale != 1.0 {
            states = states * self.scale;
        }
        for (index, layer) in self.hidden_layers.iter().enumerate() {
            let input = if self.config.transform.is_some() { states } else { self.drop(mode, states) };
            states = project(layer, input);
            if let Some(activation) = self.config.activation_function {
                states = activate(activation, states);
            }
            if let Some(norm) = self.norms.get(index) {
                let norm = NormWithEpsilon { norm, epsilon: self.norm_epsilon };
                states = norm.norm(states.unsqueeze()).squeeze_dim(0);
            }
        }
        Ok(states)
    }

    /// The states that scores of pairs are made of.
    pub(crate) fn before_pairs(&self, states: Tensor<2>, mode: Mode) -> Result<Tensor<2>, HeadError> {
        let [batch, width] = states.dims();
        if width != self.hidden_size() {
            let expected = format!("hidden states of {}", self.hidden_size());
            return Err(HeadError::Shape { expected, found: format!("[{batch}, {width}]") });
        }
        Ok(self.drop(mode, states))
    }

    /// The scores of pairs; without a graph at inference.
    pub(crate) fn biaffine_for(&self, mode: Mode) -> Option<Biaffine> {
        let biaffine = self.biaffine.clone()?;
        Some(if self.would_record(mode) { biaffine.valid() } else { biaffine })
    }

    /// The last layer.
    ///
    /// # Shapes
    /// - states: `[vectors, embedding]`; for most heads the embedding is as wide as the hidden states
    /// - output: `[vectors, num_labels]`
    ///
    /// # Errors
    /// If the states have another width, or the matrix is that of a model and not there yet, or the head is the model's
    /// own.
    pub fn at_output(&self, states: Tensor<2>, mode: Mode) -> Result<Tensor<2>, HeadError> {
        if self.is_of_model() {
            return Err(HeadError::OfModel);
        }
        let ([batch, width], [expected, _]) = (states.dims(), self.output.weight.lazy_shape().dims());
        if width != expected {
            let expected = format!("states of {expected} before its last layer");
            return Err(HeadError::Shape { expected, found: format!("[{batch}, {width}]") });
        }
        if self.tied == Tied::Awaits {
            return Err(HeadError::NotTied);
        }
        if self.would_record(mode) {
            return self.valid().at_output(states, mode);
        }
        Ok(project(&self.output, self.drop(mode, states)))
    }

    fn would_record(&self, mode: Mode) -> bool {
        !mode.is_training() && self.output.weight.lazy_device().is_autodiff()
    }

    fn drop(&self, mode: Mode, states: Tensor<2>) -> Tensor<2> {
        if self.config.head_type.is_language_model() { states } else { mode.dropout(self.dropout, states) }
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
