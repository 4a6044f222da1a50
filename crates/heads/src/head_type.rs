//! The types of heads: the keys of their dictionaries, and their defaults.

use burn_adapters_config::Activation;

use crate::TASKS;

/// The type of a head, under the reference's name, with the keys of its dictionary.
///
/// Types are the tasks' own: see [`Task::head_type`](crate::Task::head_type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadType {
    name: &'static str,
    pub(crate) layers: usize,
    keys: &'static [&'static str],
    /// The key of the number of labels, choices or tokens.
    pub(crate) count: &'static str,
    /// The width of the last layer, where it is not that number.
    pub(crate) outputs: Option<usize>,
    pub(crate) language: Option<Language>,
    /// Whether it scores pairs by matrices alone, so that its dictionary has labels only.
    pub(crate) biaffine: bool,
}

/// The defaults of a language-model head: whether it has norms, and whether labels are those of the next positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Language {
    pub(crate) activation: Option<Activation>,
    pub(crate) layer_norm: bool,
    pub(crate) shift_labels: bool,
    pub(crate) bias: bool,
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

    pub(crate) fn has(self, key: &str) -> bool {
        self.keys.contains(&key)
    }
}
