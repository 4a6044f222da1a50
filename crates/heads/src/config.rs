//! Head configuration: the reference's head dictionary.

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn_adapters_config::Activation;
use burn_adapters_files::{deserialize_unique, shorten};
use serde_json::{Map, Value, json};

use crate::{HeadError, TASKS, Task};

/// The type of a head, under the reference's name, with the keys of its dictionary.
///
/// Types are the tasks' own: see [`Task::head_type`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadType {
    name: &'static str,
    layers: usize,
    keys: &'static [&'static str],
    /// The key of the number of labels, choices or tokens.
    count: &'static str,
    /// The width of the last layer, where it is not that number.
    outputs: Option<usize>,
    language: Option<Language>,
    /// Whether it scores pairs by matrices alone, so that its dictionary has labels only.
    biaffine: bool,
}

/// The defaults of a language-model head: whether it has norms, and whether labels are those of the next positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Language {
    activation: Option<Activation>,
    layer_norm: bool,
    shift_labels: bool,
    bias: bool,
}

impl HeadType {
    /// A type: its name, the default number of layers, and those of `use_pooler` and `bias` that its dictionary has.
    pub(crate) const fn new(name: &'static str, layers: usize, keys: &'static [&'static str]) -> Self {
        Self { name, layers, keys, count: "num_labels", outputs: None, language: None, biaffine: false }
    }

    /// This type with another key of the number of labels, and a last layer of `outputs` whatever that number is.
    pub(crate) const fn with_outputs(self, count: &'static str, outputs: usize) -> Self {
        Self { count, outputs: Some(outputs), ..self }
    }

    /// The type of a language-model head, whose dictionary has the number of tokens instead of labels. `shifts` is
    /// whether each position is for the token after it.
    pub(crate) const fn of_language(name: &'static str, keys: &'static [&'static str], shifts: bool) -> Self {
        let language = Language { activation: None, layer_norm: false, shift_labels: shifts, bias: false };
        Self { name, layers: 1, keys, count: "vocab_size", outputs: None, language: Some(language), biaffine: false }
    }

    /// With a further layer, GELU, a norm and a bias by default, as heads for masked language modeling have them.
    pub(crate) const fn transformed(self) -> Self {
        let language =
            Language { activation: Some(Activation::Gelu), layer_norm: true, shift_labels: false, bias: true };
        Self { layers: 2, language: Some(language), ..self }
    }

    /// A type that scores pairs of tokens, without layers.
    pub(crate) const fn biaffine(self) -> Self {
        Self { biaffine: true, ..self }
    }

    /// Whether heads of this type score pairs of tokens.
    pub(crate) fn is_biaffine(self) -> bool {
        self.biaffine
    }

    /// Whether heads of this type give a logit for each token of a vocabulary.
    pub fn is_language_model(self) -> bool {
        self.language.is_some()
    }

    /// The type of this name.
    pub fn named(name: &str) -> Option<Self> {
        TASKS.iter().map(|task| task.head_type()).find(|head_type| head_type.name == name)
    }

    /// The reference's name.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The names of all types.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<&'static str> = Vec::new();
        for head_type in TASKS.iter().map(|task| task.head_type()) {
            if !names.contains(&head_type.name) {
                names.push(head_type.name);
            }
        }
        names
    }

    fn has(self, key: &str) -> bool {
        self.keys.contains(&key)
    }
}

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

    /// The reference's dictionary.
    pub fn to_json_value(&self) -> Value {
        if self.head_type.is_language_model() {
            return self.language_json();
        }
        let mut value = json!({
            "head_type": self.head_type.name(),
            (self.head_type.count): self.num_labels,
            "layers": self.layers,
            "activation_function": self.activation_function.map(Activation::name),
            "label2id": self.label2id,
            "use_pooler": self.use_pooler,
            "bias": self.bias,
            "dropout_prob": self.dropout_prob,
        });
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, _| match key.as_str() {
                "use_pooler" | "bias" => self.head_type.has(key),
                "layers" | "activation_function" | "dropout_prob" => !self.head_type.biaffine,
                _ => true,
            });
        }
        value
    }

    fn language_json(&self) -> Value {
        let mut value = json!({
            "head_type": self.head_type.name(),
            "vocab_size": self.num_labels,
            "embedding_size": self.embedding_size,
            "layers": self.layers,
            "activation_function": self.activation_function.map(Activation::name),
            "layer_norm": self.layer_norm,
            "bias": self.bias,
            "shift_labels": self.shift_labels,
            "label2id": self.label2id,
            "dropout_prob": self.dropout_prob,
        });
        if let Some(object) = value.as_object_mut() {
            object.retain(|key, value| match key.as_str() {
                "dropout_prob" => self.head_type.has(key),
                "embedding_size" => self.head_type.has(key) && !value.is_null(),
                _ => true,
            });
        }
        value
    }

    /// Reads the reference's dictionary. Keys that older versions did not write get the reference's defaults;
    /// `id2label` takes precedence over `label2id`.
    ///
    /// # Errors
    /// If a key is unknown or has a value of the wrong type, the head type is not one of ours, or
    /// [`check`](Self::check) fails.
    pub fn from_json_value(value: &Value) -> Result<Self, HeadError> {
        let object = value.as_object().ok_or_else(|| json_error("expected an object"))?;
        let mut read = Reader(object.clone());
        let name = read.required("head_type", |v| v.as_str().map(str::to_owned), "a string")?;
        let unknown = || HeadError::UnknownType { found: shorten(&name).into_owned() };
        let head_type = HeadType::named(&name).ok_or_else(unknown)?;
        if head_type.biaffine
            && let Some(key) =
                ["layers", "activation_function", "dropout_prob"].iter().find(|key| read.0.contains_key(**key))
        {
            return Err(json_error(format!("unknown key `{key}`")));
        }
        let flag = |read: &mut Reader, key: &'static str, default: bool| -> Result<bool, HeadError> {
            if !head_type.has(key) {
                return Ok(default);
            }
            Ok(read.optional(key, Value::as_bool, "true or false")?.unwrap_or(default))
        };
        let language_flag = |read: &mut Reader, key: &'static str, default: bool| match head_type.language {
            Some(_) => Ok(read.optional(key, Value::as_bool, "true or false")?.unwrap_or(default)),
            None => Ok::<bool, HeadError>(false),
        };
        let default = Self::new(head_type, 1);
        let count = |v: &Value| v.as_u64().and_then(|n| usize::try_from(n).ok());
        let mut config = Self {
            head_type,
            num_labels: match head_type.language {
                Some(_) => read.required(head_type.count, count, "a count")?,
                None => read.optional(head_type.count, count, "a count")?.unwrap_or(2),
            },
            layers: read.optional("layers", count, "a count")?.unwrap_or(head_type.layers),
            activation_function: default.activation_function,
            label2id: read.optional("label2id", label2id, "an object from names to numbers")?,
            use_pooler: flag(&mut read, "use_pooler", false)?,
            bias: flag(&mut read, "bias", default.bias)?,
            dropout_prob: read.optional("dropout_prob", Value::as_f64, "a number")?,
            embedding_size: match head_type.has("embedding_size") {
                true => read.optional("embedding_size", count, "a count")?,
                false => None,
            },
            layer_norm: language_flag(&mut read, "layer_norm", false)?,
            shift_labels: language_flag(&mut read, "shift_labels", default.shift_labels)?,
        };
        if let Some(map) = read.optional("id2label", id2label, "an object from numbers to names")? {
            config.label2id = Some(map);
        }
        // Here null does not mean the default, but no activation.
        match read.0.remove("activation_function") {
            None => {}
            Some(Value::Null) => config.activation_function = None,
            Some(value) => {
                let activation = value.as_str().and_then(Activation::from_name);
                config.activation_function = Some(activation.ok_or_else(|| HeadError::BadValue {
                    key: "activation_function",
                    expected: "null or the name of an activation",
                    found: shorten(&value.to_string()).into_owned(),
                })?);
            }
        }
        if let Some(key) = read.0.keys().next() {
            return Err(json_error(format!("unknown key `{}`", shorten(key))));
        }
        config.check()?;
        Ok(config)
    }
}

impl serde::Serialize for HeadConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for HeadConfig {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserialize_unique(deserializer)?;
        Self::from_json_value(&value).map_err(serde::de::Error::custom)
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

fn json_error(reason: impl Into<String>) -> HeadError {
    HeadError::Json { reason: reason.into() }
}

struct Reader(Map<String, Value>);

impl Reader {
    /// The value of a key; none if it is absent or null.
    fn optional<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Value) -> Option<T>,
        expected: &str,
    ) -> Result<Option<T>, HeadError> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => {
                    let value = value.to_string();
                    Err(json_error(format!("`{key}` must be {expected}, found {}", shorten(&value))))
                }
            },
        }
    }

    fn required<T>(&mut self, key: &str, read: impl Fn(&Value) -> Option<T>, expected: &str) -> Result<T, HeadError> {
        self.optional(key, read, expected)?.ok_or_else(|| json_error(format!("the key `{key}` is missing")))
    }
}

fn label2id(value: &Value) -> Option<BTreeMap<String, usize>> {
    // Some files quote the numbers.
    let number = |v: &Value| match v {
        Value::String(digits) => digits.parse().ok(),
        v => v.as_u64().and_then(|n| usize::try_from(n).ok()),
    };
    value.as_object()?.iter().map(|(label, id)| Some((label.clone(), number(id)?))).collect()
}

fn id2label(value: &Value) -> Option<BTreeMap<String, usize>> {
    value.as_object()?.iter().map(|(id, label)| Some((label.as_str()?.to_owned(), id.parse().ok()?))).collect()
}
