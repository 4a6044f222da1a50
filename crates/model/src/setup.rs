//! The setup of a pass: the active adapters, training or inference, and observed values.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_core::{Mode, Site};

/// The setup of a forward pass: which adapters and heads are active, and whether they are trained. It is a value that is
/// passed to [`AdapterBank::hooks`](crate::AdapterBank::hooks), so there is no global state to switch on or off.
///
/// ```
/// use burn_adapters_model::Setup;
///
/// let training = Setup::adapter("reviews").training();
/// let serving = Setup::adapter("reviews").skip_layers([0, 1]);
/// let plain = Setup::base();
/// let several = Setup::compose("Stack(language, Fuse(a, b))".parse()?);
/// assert_eq!(training.adapter_name(), Some("reviews"));
/// assert_eq!(plain.adapter_name(), None);
/// assert_eq!(several.adapter_names(), ["language", "a", "b"]);
/// # Ok::<(), burn_adapters_composition::CompositionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Setup {
    pub(crate) composition: Option<Composition>,
    pub(crate) mode: Mode,
    pub(crate) without_base_dropout: bool,
    pub(crate) skip_layers: Vec<usize>,
    pub(crate) observe_gates: bool,
    pub(crate) observe_fusions: bool,
    pub(crate) heads: Option<HeadSetup>,
    pub(crate) train_fusions: bool,
    pub(crate) trained: Option<Vec<String>>,
}

impl Setup {
    /// The base model alone.
    pub fn base() -> Self {
        Self::default()
    }

    /// One adapter, at inference.
    pub fn adapter(name: impl Into<String>) -> Self {
        Self::compose(Composition::Adapter(name.into()))
    }

    /// Several adapters together, at inference.
    pub fn compose(composition: Composition) -> Self {
        Self { composition: Some(composition), ..Self::default() }
    }

    /// The same setup in training mode: dropout is on, in the adapters and in the base model, and a graph is recorded for
    /// the backward pass. At inference no graph is recorded, because Burn would keep every graph in memory.
    pub fn training(mut self) -> Self {
        self.mode = Mode::Training;
        self
    }

    /// Turns the base model's own dropout off in training (the reference leaves it on).
    pub fn without_base_dropout(mut self) -> Self {
        self.without_base_dropout = true;
        self
    }

    /// Runs these layers without adapters (AdapterDrop, Rücklé et al., 2021). Layers are numbered from 0 across all stacks.
    pub fn skip_layers(mut self, layers: impl IntoIterator<Item = usize>) -> Self {
        self.skip_layers.extend(layers);
        self
    }

    /// Records the values of all gates; see [`Hooks::observed`](crate::Hooks::observed).
    pub fn observe_gates(mut self) -> Self {
        self.observe_gates = true;
        self
    }

    /// Records the attention of all fusions; see [`Hooks::observed`](crate::Hooks::observed).
    pub fn observe_fusions(mut self) -> Self {
        self.observe_fusions = true;
        self
    }

    /// Trains the fusion layers of the setup over frozen adapters.
    pub fn train_fusions(mut self) -> Self {
        self.train_fusions = true;
        self
    }

    /// Trains only these adapters of the setup; the others stay frozen.
    pub fn training_only<S: Into<String>>(mut self, adapters: impl IntoIterator<Item = S>) -> Self {
        self.trained = Some(adapters.into_iter().map(Into::into).collect());
        self
    }

    /// The names of the fusions of the setup.
    pub fn fusion_names(&self) -> Vec<String> {
        self.composition.as_ref().map(Composition::fusions).unwrap_or_default()
    }

    /// Sets the heads. By default they are the heads with the names of the adapters that determine the output.
    pub fn with_head(mut self, heads: impl Into<HeadSetup>) -> Self {
        self.heads = Some(heads.into());
        self
    }

    /// The heads: those that were set, otherwise those that belong to the adapters.
    pub fn heads(&self) -> Option<HeadSetup> {
        self.heads.clone().or_else(|| HeadSetup::of_adapters(self.composition.as_ref()?))
    }

    /// The head, if there is exactly one.
    pub fn head_name(&self) -> Option<String> {
        match self.heads()? {
            HeadSetup::One(name) => Some(name),
            _ => None,
        }
    }

    /// The number of rows that a batch must have; `None` if every batch fits.
    pub fn rows(&self) -> Option<usize> {
        let of_adapters = self.composition.as_ref().and_then(Composition::rows);
        of_adapters.or_else(|| self.heads.as_ref()?.rows())
    }

    /// The setup for a batch in which each row stands `times` times, one after the other.
    pub fn with_repeated_rows(&self, times: usize) -> Self {
        Self {
            composition: self.composition.as_ref().map(|composition| composition.with_repeated_rows(times)),
            heads: self.heads.as_ref().map(|heads| heads.with_repeated_rows(times)),
            ..self.clone()
        }
    }

    /// The composition of adapters.
    pub fn composition(&self) -> Option<&Composition> {
        self.composition.as_ref()
    }

    /// The names of all adapters of the setup.
    pub fn adapter_names(&self) -> Vec<&str> {
        self.composition.as_ref().map(Composition::names).unwrap_or_default()
    }

    /// The active adapter, if there is exactly one.
    pub fn adapter_name(&self) -> Option<&str> {
        match self.composition.as_ref()? {
            Composition::Adapter(name) => Some(name),
            _ => None,
        }
    }

    /// Training or inference.
    pub fn mode(&self) -> Mode {
        self.mode
    }
}

// Values observed inside a pass.

/// Gate values by adapter and site; each tensor is `[batch, 1, gates]`.
pub type GateScores = BTreeMap<String, BTreeMap<Site, Tensor<3>>>;

/// Attention of AdapterFusion by fusion and site; each tensor is `[batch, sequence, fused adapters]`.
pub type FusionAttention = BTreeMap<String, BTreeMap<Site, Tensor<3>>>;

/// The values that passes observed, if the [`Setup`](crate::Setup) requested them.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The gate values.
    pub gates: GateScores,
    /// The attention of the fusions over their adapters.
    pub fusions: FusionAttention,
}
