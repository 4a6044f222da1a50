//! What a model's forward pass calls.

mod attention;
mod fit;
mod linear;
mod parts;
mod sequence;
mod sublayer;
mod walk;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use burn::nn::Linear;
use burn::tensor::{Bool, Tensor};
use burn_adapters_bottleneck::Bottleneck;
use burn_adapters_composition::{Composition, Route};
use burn_adapters_core::{Mode, ModelSpec, Norm, Site, StackKind, project};
use burn_adapters_prefix_tuning::{Attended, Prefixes};

use self::attention::{Attending, AttentionPlace};
use self::linear::{Adapted, LinearPlace};
use self::parts::{by_position, only_first};
use self::sequence::{InvertiblePlace, LayerPlace, PromptPlace, Sequence};
use self::sublayer::{Sublayer, SublayerPlace};
use self::walk::{Place, run};
use crate::{Adapter, AdapterBank, BankError, FusionLayers, Observed, Setup, merge};

/// The hooks of a pass: borrowed from an [`AdapterBank`](crate::AdapterBank), handed down the model's forward by
/// reference. See the [crate] for an example.
///
/// In training take new hooks for each backward: what all layers share (prefixes) is computed when they are made, and a
/// graph can be gone through once.
#[derive(Debug, Clone)]
pub struct Hooks<'a> {
    composition: Option<Composition>,
    active: BTreeMap<&'a str, &'a Adapter>,
    prefixes: BTreeMap<&'a str, Vec<Prefixes<'a>>>,
    bank: Option<&'a AdapterBank>,
    mode: Mode,
    base_dropout: bool,
    skip_layers: Vec<usize>,
    replicated: Replicated,
    /// Whether the model has called the hook that repeats a batch.
    repeated: Arc<AtomicBool>,
    observe_gates: bool,
    observe_fusions: bool,
    observed: Arc<Mutex<Observed>>,
    failure: Arc<Mutex<Option<BankError>>>,
}

/// The rows of a batch in the order of their adapters; see [`Hooks::gathered`].
#[derive(Debug, Clone)]
pub struct Gathered<'a> {
    /// `gathered[i] = batch[order[i]]`.
    pub order: Vec<usize>,
    /// `batch[i] = gathered[restore[i]]`.
    pub restore: Vec<usize>,
    /// The hooks for the gathered batch.
    pub hooks: Hooks<'a>,
}

/// Where a batch is repeated for the branches of a `Parallel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replicated {
    /// Nowhere.
    Never,
    /// After the embeddings.
    AtEmbeddings(usize),
    /// At the start of this layer.
    AtLayer(StackKind, usize, usize),
}

impl Hooks<'static> {
    /// No adapters, inference: every hook does what the plain model would.
    pub fn none() -> Self {
        Self {
            composition: None,
            active: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            bank: None,
            mode: Mode::Inference,
            base_dropout: false,
            skip_layers: Vec::new(),
            replicated: Replicated::Never,
            repeated: Arc::default(),
            observe_gates: false,
            observe_fusions: false,
            observed: Arc::default(),
            failure: Arc::default(),
        }
    }
}

impl<'a> Hooks<'a> {
    pub(crate) fn new(bank: &'a AdapterBank, active: BTreeMap<&'a str, &'a Adapter>, setup: &Setup) -> Self {
        let prefixes = active
            .iter()
            .map(|(name, adapter)| (*name, adapter.prefix.values().map(|prefix| prefix.compute(setup.mode)).collect()))
            .collect();
        let mut hooks = Self {
            composition: setup.composition.clone(),
            active,
            prefixes,
            bank: Some(bank),
            mode: setup.mode,
            base_dropout: setup.mode.is_training() && !setup.without_base_dropout,
            skip_layers: setup.skip_layers.clone(),
            replicated: Replicated::Never,
            repeated: Arc::default(),
            observe_gates: setup.observe_gates,
            observe_fusions: setup.observe_fusions,
            observed: Arc::default(),
            failure: Arc::default(),
        };
        hooks.replicated = hooks.replication(bank.spec());
        hooks
    }

    /// A batch is repeated as late as can be: below the first site of any branch all branches share it.
    fn replication(&self, spec: &ModelSpec) -> Replicated {
        let channels = self.composition.as_ref().map_or(1, Composition::parallel_channels);
        if channels <= 1 {
            return Replicated::Never;
        }
        if self.active.values().any(|adapter| adapter.prompt.is_some() || adapter.invertible.is_some()) {
            return Replicated::AtEmbeddings(channels);
        }
        let sites = self.active.values().flat_map(|adapter| adapter.sites());
        let first = sites
            .filter(|site| !self.skip_layers.contains(&spec.layer_number(*site)))
            .min_by_key(|site| spec.layer_number(*site));
        match first {
            Some(site) => Replicated::AtLayer(site.stack, site.layer, channels),
            None => Replicated::AtEmbeddings(channels),
        }
    }

    /// Training or inference.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the passes so far observed; empty unless the setup asked for it.
    pub fn observed(&self) -> Observed {
        lock(&self.observed).clone()
    }

    /// For a model that can put the rows of its batch in another order: that in which the rows of each routed adapter lie
    /// together, and hooks for a batch in that order. With these, rows are gathered once a pass; without, at every hook.
    /// None where the rows lie together already, or nothing is routed.
    pub fn gathered(&self) -> Option<Gathered<'a>> {
        let gather = |route: &Route| {
            let order = route.gather_order();
            let rows = order.iter().map(|row| route.rows()[*row].clone());
            (Route::new(rows), order)
        };
        let (composition, order) = match self.composition.as_ref()? {
            Composition::Route(route) => {
                let (route, order) = gather(route);
                (Composition::Route(route), order)
            }
            // Other adapters of the stack do not care about the order of the rows.
            Composition::Stack(children) => {
                let plain = |child: &Composition| matches!(child, Composition::Adapter(_) | Composition::Route(_));
                let mut routes = children.iter().filter_map(|child| match child {
                    Composition::Route(route) => Some(route),
                    _ => None,
                });
                let (Some(route), None, true) = (routes.next(), routes.next(), children.iter().all(plain)) else {
                    return None;
                };
                let (route, order) = gather(route);
                let children = children.iter().map(|child| match child {
                    Composition::Route(_) => Composition::Route(route.clone()),
                    child => child.clone(),
                });
                (Composition::Stack(children.collect()), order)
            }
            _ => return None,
        };
        if order.iter().enumerate().all(|(place, row)| place == *row) {
            return None;
        }
        let mut restore = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, row)| restore[*row] = place);
        Some(Gathered { order, restore, hooks: Self { composition: Some(composition), ..self.clone() } })
    }

    /// What did not fit together in the passes so far. A hook cannot fail in the middle of a pass: where an adapter and
    /// the model do not fit (other heads, another width), it leaves the states as they are and keeps the error for the
    /// model's forward to give at its end.
    ///
    /// # Errors
    /// The first misfit.
    pub fn check(&self) -> Result<(), BankError> {
        match lock(&self.failure).clone() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Whether the base model's own dropout is on in this pass.
    pub fn has_base_dropout(&self) -> bool {
        self.base_dropout
    }

    /// Whether all adapters of the pass treat each position of a sequence by itself, once keys and values are there: a
    /// model of which only some positions are read may then compute only these from the last attention on. Gates, which
    /// are means over the sequence, interventions at chosen positions, and blocks that split the sequence do not.
    pub fn treats_positions_alone(&self) -> bool {
        let mut split = false;
        if let Some(composition) = &self.composition {
            composition.visit(&mut |part| split |= matches!(part, Composition::Split { .. }));
        }
        let observed = self.observe_gates || self.observe_fusions;
        !split && !observed && self.active.values().all(|adapter| adapter.treats_positions_alone())
    }

    /// Hooks for the same batch without its padding: each position that is none becomes a row of its own, one after the
    /// other, `[Σ lengths, 1, hidden]`, for the hooks at matrices and at the ends of sublayers. Attention sees whole sequences,
    /// and so its hook stays that of the hooks for the batch, called with padding. None where an adapter needs more than one
    /// position at a time, or the row as a whole: see [`treats_positions_alone`](Self::treats_positions_alone).
    ///
    /// `lengths` has for each row of the batch the number of its positions that are no padding.
    pub fn packed(&self, lengths: &[usize]) -> Option<Self> {
        let whole_rows = |adapter: &Adapter| {
            let gated = adapter.prefix.values().any(|prefix| !prefix.gates.is_empty());
            let deep = |bottleneck: &Bottleneck| self.mode.is_training() && bottleneck.form.stochastic_depth > 0.0;
            gated || adapter.bottleneck.values().any(deep)
        };
        if !self.treats_positions_alone() || self.active.values().any(|adapter| whole_rows(adapter)) {
            return None;
        }
        let composition = match &self.composition {
            Some(composition) => Some(by_position(composition, lengths)?),
            None => None,
        };
        Some(Self { composition, ..self.clone() })
    }

    /// Whether anything acts on the keys and values of an attention block.
    pub fn extends_attention(&self, site: Site) -> bool {
        self.composition_at(site, &AttentionPlace { hooks: self, site }).is_some()
    }

    /// The base model's own dropout: on in training, unless the setup leaves it off.
    pub fn dropout<const D: usize>(&self, probability: f64, x: Tensor<D>) -> Tensor<D> {
        if self.base_dropout { Mode::Training.dropout(probability, x) } else { x }
    }

    /// In the place of `linear.forward(input)` at a matrix.
    ///
    /// # Shapes
    /// - input: `[batch, sequence, d_input]`
    /// - output: `[batch, sequence, d_output]`
    pub fn linear(&self, site: Site, linear: &Linear, input: Tensor<3>) -> Tensor<3> {
        let [d_input, d_output] = linear.weight.lazy_shape().dims();
        let [batch, sequence, width] = input.dims();
        if !self.equal(&site, "an input", [d_input], [width]) {
            return Tensor::zeros([batch, sequence, d_output], &input.device());
        }
        let output = project(linear, input.clone());
        if !self.fits_matrix(site, [d_input, d_output]) {
            return output;
        }
        let place = LinearPlace { hooks: self, site, linear };
        match self.composition_at(site, &place) {
            Some(_) if self.is_merged_already(site, linear) => output,
            Some(composition) => run(&place, composition, Adapted::new(input, output)).output,
            None => output,
        }
    }

    /// In the place of `norm(hidden + residual)` at the end of a sublayer.
    ///
    /// # Shapes
    /// - hidden (the sublayer's output), residual (its input), output: `[batch, sequence, hidden]`
    pub fn sublayer(&self, site: Site, hidden: Tensor<3>, residual: Tensor<3>, norm: Option<&dyn Norm>) -> Tensor<3> {
        let (found, expected) = (residual.dims(), hidden.dims());
        if !self.equal(&site, "a residual", expected, found) {
            return hidden;
        }
        if !self.fits_sublayer(site, &hidden, norm) {
            return hidden + residual;
        }
        let place = SublayerPlace { hooks: self, site, norm };
        if let Some(composition) = self.composition_at(site, &place) {
            return run(&place, composition, Sublayer::new(hidden, residual)).hidden;
        }
        let added = hidden + residual;
        match norm {
            Some(norm) => norm.norm(added),
            None => added,
        }
    }

    /// Before the scores of an attention block: may put trained keys and values before the others.
    ///
    /// # Shapes
    /// - input: the hidden states that the block was called with, `[batch, sequence, hidden]`
    pub fn attention(&self, site: Site, attended: Attended, input: &Tensor<3>) -> Attended {
        let place = AttentionPlace { hooks: self, site };
        if !self.fits_attention(site, &attended, input) {
            return attended;
        }
        match self.composition_at(site, &place) {
            Some(composition) => run(&place, composition, Attending::new(attended, input.clone())).attended,
            None => attended,
        }
    }

    /// After the embeddings: may transform them, and may put a prompt into the sequence.
    ///
    /// # Shapes
    /// - embeddings: `[batch, sequence, embedding]`
    /// - padding: true where a position is padding, `[batch, sequence]`
    pub fn embeddings(&self, embeddings: Tensor<3>, padding: Tensor<2, Bool>) -> (Tensor<3>, Tensor<2, Bool>) {
        let Some(composition) = &self.composition else {
            return (embeddings, padding);
        };
        let [rows, _, _] = embeddings.dims();
        if !self.fits_embeddings(&embeddings, padding.dims()) || !self.fits_rows(rows) {
            return (embeddings, padding);
        }
        let mut state = Sequence { hidden: embeddings, padding };
        if let Replicated::AtEmbeddings(channels) = self.replicated {
            state = self.repeat(state, channels);
        }
        if self.active.values().any(|adapter| adapter.invertible.is_some()) {
            let place = InvertiblePlace { hooks: self, inverse: false };
            state = run(&place, &only_first(composition), state);
        }
        if self.active.values().any(|adapter| adapter.prompt.is_some()) {
            state = run(&PromptPlace(self), composition, state);
        }
        (state.hidden, state.padding)
    }

    /// At a layer's start: where the branches of a `Parallel` begin, the batch is repeated for each.
    ///
    /// # Shapes
    /// - hidden: `[batch, sequence, hidden]`; out: `[branches · batch, sequence, hidden]`
    /// - padding: true where a position is padding, `[batch, sequence]`; repeated likewise
    pub fn enter_layer(&self, site: Site, hidden: Tensor<3>, padding: Tensor<2, Bool>) -> (Tensor<3>, Tensor<2, Bool>) {
        match self.replicated {
            Replicated::AtLayer(stack, layer, channels)
                if site.stack == stack && site.layer == layer && self.fits_layer(site, &hidden, &padding) =>
            {
                let state = self.repeat(Sequence { hidden, padding }, channels);
                (state.hidden, state.padding)
            }
            _ => (hidden, padding),
        }
    }

    /// Before a language model's output embeddings: the inverse of what the invertible adapter did after the
    /// embeddings.
    ///
    /// # Shapes
    /// - hidden, output: `[batch, sequence, embedding]`
    pub fn before_output_embeddings(&self, hidden: Tensor<3>) -> Tensor<3> {
        let Some(composition) = &self.composition else { return hidden };
        if self.active.values().all(|adapter| adapter.invertible.is_none()) {
            return hidden;
        }
        let [batch, sequence, _] = hidden.dims();
        if !self.fits_embeddings(&hidden, [batch, sequence]) {
            return hidden;
        }
        let padding = Tensor::<2, Bool>::full([batch, sequence], false, &hidden.device().without_autodiff());
        let place = InvertiblePlace { hooks: self, inverse: true };
        run(&place, &only_first(composition), Sequence { hidden, padding }).hidden
    }

    /// At a layer's end.
    ///
    /// # Shapes
    /// - hidden, output: `[batch, sequence, hidden]`
    /// - padding: true where a position is padding, `[batch, sequence]`
    pub fn layer(&self, site: Site, hidden: Tensor<3>, padding: &Tensor<2, Bool>) -> Tensor<3> {
        let place = LayerPlace { hooks: self, site };
        if !self.fits_layer(site, &hidden, padding) {
            return hidden;
        }
        match self.composition_at(site, &place) {
            Some(composition) => run(&place, composition, Sequence { hidden, padding: padding.clone() }).hidden,
            None => hidden,
        }
    }

    /// Whether an adapter that acts here is part of the matrix already; an error is then kept.
    fn is_merged_already(&self, site: Site, linear: &Linear) -> bool {
        let id = linear.weight.id;
        if !merge::is_merged(id) {
            return false;
        }
        let merged = self.active.values().find(|adapter| merge::merged_id(adapter) == id);
        if let Some(adapter) = merged {
            self.fail(BankError::AlreadyMerged { name: adapter.name().to_owned(), site });
        }
        merged.is_some()
    }

    fn repeat(&self, state: Sequence, channels: usize) -> Sequence {
        self.repeated.store(true, Ordering::Relaxed);
        repeat(state, channels)
    }

    fn fail(&self, error: BankError) {
        lock(&self.failure).get_or_insert(error);
    }

    /// The composition, if it acts at a place.
    fn composition_at(&self, site: Site, place: &impl Place) -> Option<&Composition> {
        let composition = self.composition.as_ref()?;
        let skipped = !self.skip_layers.is_empty()
            && self.bank.is_some_and(|bank| self.skip_layers.contains(&bank.spec().layer_number(site)));
        (!skipped && self.active.keys().any(|name| place.acts(name))).then_some(composition)
    }

    fn fusion(&self, name: &str) -> Option<&'a FusionLayers> {
        self.bank?.fusion_for(name, self.mode).ok()
    }

    fn observe_gate(&self, adapter: &str, site: Site, gate: Option<Tensor<3>>) {
        if let Some(gate) = gate.filter(|_| self.observe_gates) {
            let mut observed = lock(&self.observed);
            observed.gates.entry(adapter.to_owned()).or_default().insert(site, gate.without_autodiff());
        }
    }

    fn observe_fusion(&self, fusion: &str, site: Site, attention: Tensor<3>) {
        if self.observe_fusions {
            let mut observed = lock(&self.observed);
            observed.fusions.entry(fusion.to_owned()).or_default().insert(site, attention.without_autodiff());
        }
    }
}

fn repeat(state: Sequence, channels: usize) -> Sequence {
    let [batch, sequence] = state.padding.dims();
    let padding = state.padding.unsqueeze_dim::<3>(0).expand([channels, batch, sequence]);
    Sequence { hidden: state.hidden.repeat_dim(0, channels), padding: padding.reshape([channels * batch, sequence]) }
}

/// What a panic of another thread left behind is a finished value: an observation or an error.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
