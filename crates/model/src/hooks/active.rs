//! The hooks that a forward pass calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use burn::nn::Linear;
use burn::tensor::Tensor;
use burn_adapters_composition::{Composition, Route};
use burn_adapters_core::{Mode, ModelSpec, Norm, Site, StackKind, SublayerEnd, TokenSpan, project};
use burn_adapters_prefix_tuning::{Attended, Prefixes};

use super::attention::{Attending, AttentionPoint};
use super::linear::{Adapted, LinearPoint};
use super::lock;
use super::parts::{first_at, only_first};
use super::sequence::{InvertiblePoint, LayerPoint, PromptPoint, Sequence};
use super::sublayer::{AroundProjection, End, Sublayer, SublayerPoint};
use super::walk::{HookPoint, run};
use crate::{Adapter, AdapterBank, BankError, FusionLayers, Observed, Setup, merge};

/// The hooks of one pass, which [`Hooks::run`](super::Hooks::run) passes to a forward pass.
///
/// No hook fails in the middle of a pass. If an adapter does not fit the model or the batch, the hook leaves the states
/// unchanged and records the error, and the pass ends with it.
#[derive(Debug, Clone)]
pub struct ActiveHooks<'a> {
    pub(super) composition: Option<Composition>,
    pub(super) active: BTreeMap<&'a str, &'a Adapter>,
    pub(super) prefixes: BTreeMap<&'a str, Vec<Prefixes<'a>>>,
    pub(super) bank: Option<&'a AdapterBank>,
    pub(super) mode: Mode,
    pub(super) base_dropout: bool,
    pub(super) skip_layers: Vec<usize>,
    pub(super) replicated: Replicated,
    /// Whether the batch of this pass has been repeated.
    pub(super) repeated: Arc<AtomicBool>,
    pub(super) observe_gates: bool,
    pub(super) observe_fusions: bool,
    pub(super) observed: Arc<Mutex<Observed>>,
    pub(super) failure: Arc<Mutex<Option<BankError>>>,
}

/// Where a batch is repeated for the branches of a `Parallel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replicated {
    /// Nowhere.
    Never,
    /// After the embeddings.
    AtEmbeddings(usize),
    /// At the start of this layer.
    AtLayer(StackKind, usize, usize),
}

impl ActiveHooks<'static> {
    pub(super) fn none() -> Self {
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

impl<'a> ActiveHooks<'a> {
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

    /// A batch is repeated as late as possible: below the first site of any branch, all branches share it.
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
            .min_by_key(|site| (site.stack, site.layer));
        match first {
            Some(site) => Replicated::AtLayer(site.stack, site.layer, channels),
            None => Replicated::AtEmbeddings(channels),
        }
    }

    /// Training or inference.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The same hooks for a new pass, without recorded values.
    pub(super) fn fresh(&self) -> Self {
        Self { repeated: Arc::default(), failure: Arc::default(), ..self.clone() }
    }

    /// The first misfit of the pass.
    pub(crate) fn failure(&self) -> Option<BankError> {
        lock(&self.failure).clone()
    }

    /// Whether the base model's own dropout is on in this pass.
    pub fn has_base_dropout(&self) -> bool {
        self.base_dropout
    }

    /// Whether an adapter acts on the keys and values of an attention block.
    pub(crate) fn extends_attention(&self, site: Site) -> bool {
        self.composition_at(site, &AttentionPoint { hooks: self, site }).is_some()
    }

    /// The base model's own dropout: on in training, unless the setup leaves it off.
    pub fn dropout<const D: usize>(&self, probability: f64, x: Tensor<D>) -> Tensor<D> {
        if self.base_dropout { Mode::Training.dropout(probability, x) } else { x }
    }

    /// Replaces `linear.forward(input)` at a matrix.
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
        let point = LinearPoint { hooks: self, site, linear };
        match self.composition_at(site, &point) {
            Some(_) if self.is_merged_already(site, linear) => output,
            Some(composition) => run(&point, composition, Adapted::new(input, output)).output,
            None => output,
        }
    }

    /// [`linear`](Self::linear) of states that all rows share: those of each row where the adapters of rows differ.
    ///
    /// # Shapes
    /// - states: `[1, sequence, d_input]`
    /// - output: `[1 or rows, sequence, d_output]`
    pub(crate) fn shared_linear(&self, site: Site, linear: &Linear, states: Tensor<3>, rows: usize) -> Tensor<3> {
        let mut differ = false;
        if let Some(composition) = self.composition_at(site, &LinearPoint { hooks: self, site, linear }) {
            composition.visit(&mut |part| {
                differ |=
                    matches!(part, Composition::BatchSplit { .. } | Composition::Parallel(_) | Composition::Route(_));
            });
        }
        let states = if differ { states.repeat_dim(0, rows) } else { states };
        // The gates of a site are those of the rows' own states.
        Self { observe_gates: false, ..self.clone() }.linear(site, linear, states)
    }

    /// Replaces `norm(hidden + residual)` at the end of a sublayer.
    ///
    /// # Shapes
    /// - hidden (the sublayer's output), residual (its input), output: `[batch, sequence, hidden]`
    pub fn sublayer(&self, site: Site, hidden: Tensor<3>, residual: Tensor<3>, norm: Option<&dyn Norm>) -> Tensor<3> {
        let (found, expected) = (residual.dims(), hidden.dims());
        if !self.equal(&site, "a residual", expected, found) {
            return hidden;
        }
        if !self.fits_sublayer(site, &hidden, norm, SublayerEnd::AfterResidual) {
            return hidden + residual;
        }
        let point = SublayerPoint { hooks: self, site, norm, end: End::Residual };
        if let Some(composition) = self.composition_at(site, &point) {
            return run(&point, composition, Sublayer::new(hidden, residual)).hidden;
        }
        let added = hidden + residual;
        match norm {
            Some(norm) => norm.norm(added),
            None => added,
        }
    }

    /// Adapts the output of a sublayer's last matrix, in models that add their residual themselves
    /// ([`SublayerEnd::AtProjection`]).
    ///
    /// # Shapes
    /// - hidden (the output of the matrix), output: `[batch, sequence, hidden]`
    pub fn projected(&self, site: Site, hidden: Tensor<3>, around: AroundProjection<'_>) -> Tensor<3> {
        let AroundProjection { input, adds_input, norm } = around;
        let (found, expected) = (input.dims(), hidden.dims());
        if !self.equal(&site, "an input of the sublayer", expected, found)
            || !self.fits_sublayer(site, &hidden, norm, SublayerEnd::AtProjection)
        {
            return hidden;
        }
        let point = SublayerPoint { hooks: self, site, norm, end: End::Projection { adds_input } };
        match self.composition_at(site, &point) {
            Some(composition) => run(&point, composition, Sublayer::new(hidden, input)).hidden,
            None => hidden,
        }
    }

    /// Before the scores of an attention block: may prepend trained keys and values.
    ///
    /// # Shapes
    /// - input: the hidden states that the block was called with, `[batch, sequence, hidden]`
    pub fn attention(&self, site: Site, attended: Attended, input: &Tensor<3>) -> Attended {
        self.counted_attention(site, attended, input).0
    }

    /// [`attention`](Self::attention), and the number of each row's own prefixes; empty if no row has any.
    pub(crate) fn counted_attention(
        &self,
        site: Site,
        attended: Attended,
        input: &Tensor<3>,
    ) -> (Attended, Vec<usize>) {
        let point = AttentionPoint { hooks: self, site };
        if !self.fits_attention(site, &attended, input) {
            return (attended, Vec::new());
        }
        match self.composition_at(site, &point) {
            Some(composition) => {
                let Attending { attended, prefixes, .. } =
                    run(&point, composition, Attending::new(attended, input.clone()));
                (attended, prefixes)
            }
            None => (attended, Vec::new()),
        }
    }

    /// After the embeddings: may transform them, and may insert a prompt into the sequences.
    ///
    /// # Shapes
    /// - embeddings: `[batch, sequence, embedding]`
    /// - tokens: the positions of each row's tokens, one entry per row; the positions after them are padding
    pub fn embeddings(&self, embeddings: Tensor<3>, tokens: Vec<TokenSpan>) -> (Tensor<3>, Vec<TokenSpan>) {
        self.adapted_embeddings(embeddings, tokens, false)
    }

    fn adapted_embeddings(
        &self,
        embeddings: Tensor<3>,
        tokens: Vec<TokenSpan>,
        continues: bool,
    ) -> (Tensor<3>, Vec<TokenSpan>) {
        let Some(composition) = &self.composition else {
            return (embeddings, tokens);
        };
        let [rows, _, _] = embeddings.dims();
        if !self.fits_embeddings(&embeddings, Some(&tokens)) || !self.fits_rows(rows) {
            return (embeddings, tokens);
        }
        let mut state = Sequence { hidden: embeddings, tokens };
        if let Replicated::AtEmbeddings(channels) = self.replicated {
            state = self.repeat(state, channels);
        }
        if self.active.values().any(|adapter| adapter.invertible.is_some()) {
            let point = InvertiblePoint { hooks: self, inverse: false };
            state = run(&point, &only_first(composition), state);
        }
        if !continues && self.active.values().any(|adapter| adapter.prompt.is_some()) {
            state = run(&PromptPoint(self), composition, state);
        }
        (state.hidden, state.tokens)
    }

    /// [`embeddings`](Self::embeddings) of tokens that follow others: prompts were inserted before those.
    pub(crate) fn continued_embeddings(
        &self,
        embeddings: Tensor<3>,
        tokens: Vec<TokenSpan>,
    ) -> (Tensor<3>, Vec<TokenSpan>) {
        self.adapted_embeddings(embeddings, tokens, true)
    }

    /// Records that the batch was repeated by an earlier pass.
    pub(crate) fn was_repeated(&self) {
        self.repeated.store(true, Ordering::Relaxed);
    }

    /// At a layer's start: where the branches of a `Parallel` begin, the batch is repeated for each branch, once per
    /// pass.
    ///
    /// # Shapes
    /// - hidden: `[batch, sequence, hidden]`; out: `[branches · batch, sequence, hidden]`
    /// - tokens: as [`embeddings`](Self::embeddings) returned them; repeated likewise
    pub fn enter_layer(&self, site: Site, hidden: Tensor<3>, tokens: Vec<TokenSpan>) -> (Tensor<3>, Vec<TokenSpan>) {
        match self.replicated {
            Replicated::AtLayer(stack, layer, channels)
                if site.stack == stack
                    && site.layer == layer
                    && !self.repeated.load(Ordering::Relaxed)
                    && self.fits_layer(site, &hidden, &tokens) =>
            {
                let state = self.repeat(Sequence { hidden, tokens }, channels);
                (state.hidden, state.tokens)
            }
            _ => (hidden, tokens),
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
        if !self.fits_embeddings(&hidden, None) {
            return hidden;
        }
        let tokens = vec![TokenSpan::new(sequence); batch];
        let point = InvertiblePoint { hooks: self, inverse: true };
        run(&point, &only_first(composition), Sequence { hidden, tokens }).hidden
    }

    /// [`before_output_embeddings`](Self::before_output_embeddings) for single vectors: `[vectors, embedding]`. For each row
    /// of the batch it is given the number of its vectors, which come row by row. `rows` are those of the batch that have
    /// any, of `batch` in all.
    pub(crate) fn before_output(
        &self,
        vectors: Tensor<2>,
        rows: &[usize],
        counts: &[usize],
        batch: usize,
    ) -> Tensor<2> {
        let Some(composition) = &self.composition else { return vectors };
        let named = rows.iter().zip(counts).flat_map(|(row, count)| {
            let name = first_at(composition, *row, batch);
            let name = name.filter(|name| self.active.get(name.as_str()).is_some_and(|one| one.invertible.is_some()));
            std::iter::repeat_n(name, *count)
        });
        let route = Route::new(named);
        if route.rows().iter().all(Option::is_none) {
            return vectors;
        }
        let hidden = vectors.unsqueeze_dim(1);
        if !self.fits_embeddings(&hidden, None) {
            return hidden.squeeze_dim(1);
        }
        let tokens = vec![TokenSpan::new(1); route.rows().len()];
        let composition = match route.rows().first() {
            Some(Some(first)) if route.rows().iter().all(|name| name.as_ref() == Some(first)) => {
                Composition::Adapter(first.clone())
            }
            _ => Composition::Route(route),
        };
        let point = InvertiblePoint { hooks: self, inverse: true };
        run(&point, &composition, Sequence { hidden, tokens }).hidden.squeeze_dim(1)
    }

    /// At a layer's end.
    ///
    /// # Shapes
    /// - hidden, output: `[batch, sequence, hidden]`
    /// - tokens: as [`enter_layer`](Self::enter_layer) returned them
    pub fn layer(&self, site: Site, hidden: Tensor<3>, tokens: &[TokenSpan]) -> Tensor<3> {
        let point = LayerPoint { hooks: self, site };
        if !self.fits_layer(site, &hidden, tokens) {
            return hidden;
        }
        match self.composition_at(site, &point) {
            Some(composition) => run(&point, composition, Sequence { hidden, tokens: tokens.to_vec() }).hidden,
            None => hidden,
        }
    }

    /// Whether an adapter that acts here has already been merged into the matrix, which is recorded as an error.
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

    pub(crate) fn fail(&self, error: BankError) {
        lock(&self.failure).get_or_insert(error);
    }

    /// The composition, if an adapter acts at this point.
    fn composition_at(&self, site: Site, point: &impl HookPoint) -> Option<&Composition> {
        let composition = self.composition.as_ref()?;
        let skipped = !self.skip_layers.is_empty()
            && self.bank.is_some_and(|bank| self.skip_layers.contains(&bank.spec().layer_number(site)));
        (!skipped && self.active.keys().any(|name| point.acts(name))).then_some(composition)
    }

    pub(super) fn fusion(&self, name: &str) -> Option<&'a FusionLayers> {
        self.bank?.fusion_for(name, self.mode).ok()
    }

    pub(super) fn observe_gate(&self, adapter: &str, site: Site, gate: Option<Tensor<3>>) {
        if let Some(gate) = gate.filter(|_| self.observe_gates) {
            let mut observed = lock(&self.observed);
            observed.gates.entry(adapter.to_owned()).or_default().insert(site, gate.without_autodiff());
        }
    }

    pub(super) fn observe_fusion(&self, fusion: &str, site: Site, attention: Tensor<3>) {
        if self.observe_fusions {
            let mut observed = lock(&self.observed);
            observed.fusions.entry(fusion.to_owned()).or_default().insert(site, attention.without_autodiff());
        }
    }
}

fn repeat(state: Sequence, channels: usize) -> Sequence {
    let rows = state.tokens.len();
    let tokens = state.tokens.into_iter().cycle().take(channels * rows).collect();
    Sequence { hidden: state.hidden.repeat_dim(0, channels), tokens }
}
