//! Head configuration: the reference's head dictionary.

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn_adapters_config::Activation;
use burn_adapters_files::shorten;

use crate::{HeadError, HeadType, TASKS, Task};

/// A head's configuration. The fields are the reference's keys, name for name.
///
/// ```
/// use burn_adapters_heads::HeadConfig;
///
/// let config = HeadConfig::classification(3).with_layers(1);
/// assert_eq!(HeadConfig::from_json_value(&config.to_json_value())?, config);
/// # Ok::<(), burn_adapters_heads::HeadError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HeadConfig {
    /// The kind of head.
    pub head_type: HeadType,
    /// The number of labels; in multiple choice, that of choices (`num_choices`); of a language-model head, that of tokens
    /// (`vocab_size`).
    pub num_labels: usize,
    /// The number of linear layers, at least 1; all but the last keep the hidden size.
    pub layers: usize,
    /// The activation between layers, if any.
    pub activation_function: Option<Activation>,
    /// The names of the labels, with their numbers. Labels without a name are called `LABEL_0`, `LABEL_1`, ….
    pub label2id: Option<BTreeMap<String, usize>>,
    /// Read the model's pooled output instead of the first token's hidden state.
    pub use_pooler: bool,
    /// Whether the last layer has a bias.
    pub bias: bool,
    /// Dropout before each layer; `None` uses the model's. Language-model heads have no dropout.
    pub dropout_prob: Option<f64>,
    /// For a language-model head, the width before the last layer; `None` is the model's hidden size.
    pub embedding_size: Option<usize>,
    /// For a language-model head, whether a layer norm follows each layer except the last.
    pub layer_norm: bool,
    /// For a language-model head, whether the logits of a position are for the next token.
    pub shift_labels: bool,
    /// For other heads of two layers, whether the first one is a [`Transform`]. This key is not the reference's.
    pub transform: Option<Transform>,
}

/// A first layer as in masked language models: linear, activation and layer norm, without dropout before it. The heads of
/// ModernBERT's own classes begin with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transform {
    /// Whether the linear layer has a bias.
    pub bias: bool,
    /// Whether the norm has one.
    pub norm_bias: bool,
}

impl HeadConfig {
    /// A head of this type with the reference's defaults.
    pub(crate) fn new(head_type: HeadType, num_labels: usize) -> Self {
        let language = head_type.language;
        Self {
            head_type,
            num_labels,
            layers: head_type.layers,
            activation_function: language.map_or(Some(Activation::Tanh), |language| language.activation),
            label2id: language
                .is_none()
                .then(|| (0..num_labels.min(MAX_DEFAULT_LABELS)).map(|id| (default_label(id), id)).collect()),
            use_pooler: false,
            bias: language.is_none_or(|language| language.bias),
            dropout_prob: None,
            embedding_size: None,
            layer_norm: language.is_some_and(|language| language.layer_norm),
            shift_labels: language.is_some_and(|language| language.shift_labels),
            transform: None,
        }
    }

    /// Sets the number of layers.
    pub fn with_layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// Sets the activation between layers.
    pub fn with_activation_function(mut self, activation_function: Option<Activation>) -> Self {
        self.activation_function = activation_function;
        self
    }

    /// Names the labels, in the order of their numbers.
    pub fn with_labels<L: Into<String>>(mut self, labels: impl IntoIterator<Item = L>) -> Self {
        self.label2id = Some(labels.into_iter().enumerate().map(|(id, label)| (label.into(), id)).collect());
        self
    }

    /// Sets whether the head reads the pooled output.
    pub fn with_use_pooler(mut self, use_pooler: bool) -> Self {
        self.use_pooler = use_pooler;
        self
    }

    /// Sets whether the last layer has a bias.
    pub fn with_bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Sets the width before the last layer of a language-model head.
    pub fn with_embedding_size(mut self, embedding_size: Option<usize>) -> Self {
        self.embedding_size = embedding_size;
        self
    }

    /// Sets whether a layer norm follows each layer but the last of a language-model head.
    pub fn with_layer_norm(mut self, layer_norm: bool) -> Self {
        self.layer_norm = layer_norm;
        self
    }

    /// Sets whether the first of two layers is a [`Transform`].
    pub fn with_transform(mut self, transform: Option<Transform>) -> Self {
        self.transform = transform;
        self
    }

    /// Sets the dropout before each layer.
    pub fn with_dropout_prob(mut self, dropout_prob: Option<f64>) -> Self {
        self.dropout_prob = dropout_prob;
        self
    }

    /// The number of logits of each vector: the width of the last layer.
    ///
    /// ```
    /// use burn_adapters_heads::HeadConfig;
    ///
    /// assert_eq!(HeadConfig::classification(3).outputs(), 3);
    /// assert_eq!(HeadConfig::multiple_choice(4).outputs(), 1); // one for each choice, which is a row of its own
    /// ```
    pub fn outputs(&self) -> usize {
        let pairs = usize::from(self.head_type.biaffine);
        self.head_type.outputs.unwrap_or(self.num_labels + pairs)
    }

    /// The head's task.
    pub fn task(&self) -> &'static dyn Task {
        let mut tasks = TASKS.iter().copied();
        tasks.find(|task| task.head_type() == self.head_type && task.is_task_of(self)).unwrap_or(TASKS[0])
    }

    /// The name of the label with this number.
    pub fn label_of(&self, index: usize) -> Cow<'_, str> {
        let names = self.label2id.iter().flatten();
        match names.into_iter().find(|(_, id)| **id == index) {
            Some((label, _)) => Cow::Borrowed(label),
            None => Cow::Owned(default_label(index)),
        }
    }

    /// The number of the label with this name.
    pub fn id_of(&self, label: &str) -> Option<usize> {
        let named = self.label2id.as_ref().and_then(|names| names.get(label).copied());
        let unnamed = || label.strip_prefix("LABEL_")?.parse().ok();
        named.or_else(unnamed).filter(|id| *id < self.num_labels && self.label_of(*id) == label)
    }

    /// The names of all labels, in the order of their numbers; none for a language-model head.
    pub fn labels(&self) -> Vec<String> {
        if self.head_type.is_language_model() {
            return Vec::new();
        }
        let mut labels: Vec<Option<&str>> = vec![None; self.num_labels];
        for (label, id) in self.label2id.iter().flatten() {
            if let Some(place @ None) = labels.get_mut(*id) {
                *place = Some(label);
            }
        }
        let named = |(id, label): (usize, Option<&str>)| label.map_or_else(|| default_label(id), str::to_owned);
        labels.into_iter().enumerate().map(named).collect()
    }

    /// Checks that a head can be built from this configuration.
    ///
    /// # Errors
    /// If a value is out of range, or the label names do not match the number of labels.
    pub fn check(&self) -> Result<(), HeadError> {
        let bad = |key, expected, found: String| Err(HeadError::BadValue { key, expected, found });
        if self.num_labels == 0 || self.num_labels > MAX_LABELS {
            return bad(self.head_type.count, "from 1 to 16777216", self.num_labels.to_string());
        }
        if self.head_type.count == "num_labels" && !self.head_type.biaffine && self.outputs() != self.num_labels {
            return bad("num_labels", "2 (where an answer starts and where it ends)", self.num_labels.to_string());
        }
        if self.layers == 0 || self.layers > MAX_LAYERS {
            return bad("layers", "from 1 to 1024", self.layers.to_string());
        }
        if let Some(p) = self.dropout_prob.filter(|p| !(0.0..=1.0).contains(p)) {
            return bad("dropout_prob", "from 0 to 1", p.to_string());
        }
        for (key, usual) in [("use_pooler", !self.use_pooler), ("bias", self.bias)] {
            if !usual && !self.head_type.has(key) {
                return bad(key, "left out: a head of this type does not have it", (key != "bias").to_string());
            }
        }
        if self.embedding_size.is_some_and(|size| size == 0 || size > MAX_LABELS) {
            let found = self.embedding_size.unwrap_or_default().to_string();
            return bad("embedding_size", "from 1 to 16777216", found);
        }
        let is_language_model = self.head_type.is_language_model();
        let of_language = [
            ("embedding_size", self.embedding_size.is_some() && !self.head_type.has("embedding_size")),
            ("layer_norm", self.layer_norm && !is_language_model),
            ("shift_labels", self.shift_labels && !is_language_model),
            ("use_pooler", self.use_pooler && is_language_model),
        ];
        if let Some((key, _)) = of_language.into_iter().find(|(_, is_unknown)| *is_unknown) {
            return bad(key, "left out: a head of this type does not have it", "a value".into());
        }
        if self.transform.is_some() && (is_language_model || self.head_type.biaffine) {
            return bad("transform", "left out: a head of this type does not have it", "a value".into());
        }
        if self.transform.is_some() && self.layers != 2 {
            return bad("layers", "2, as there is a `transform` before the last layer", self.layers.to_string());
        }
        let mut seen: BTreeMap<usize, &str> = BTreeMap::new();
        for (label, &id) in self.label2id.iter().flatten() {
            let bad = |reason| Err(HeadError::BadLabel { label: shorten(label).into_owned(), id, reason });
            if id >= self.num_labels {
                return bad(format!("num_labels is {}", self.num_labels));
            }
            if let Some(other) = seen.insert(id, label) {
                return bad(format!("so has `{}`", shorten(other)));
            }
        }
        Ok(())
    }
}

/// A head of more labels than this is a damaged file.
const MAX_LABELS: usize = 1 << 24;
/// Likewise for layers.
const MAX_LAYERS: usize = 1 << 10;
/// Labels beyond this get their names on request.
const MAX_DEFAULT_LABELS: usize = 1 << 16;

fn default_label(id: usize) -> String {
    format!("LABEL_{id}")
}
