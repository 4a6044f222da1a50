//! One pass of a batch through a base model.
//!
//! Everything that may happen to a batch during a pass is implemented here, once: gathering the rows of a routed batch,
//! skipping padding, repeating the batch for the branches of a `Parallel`, skipping positions that are not read, and
//! collecting misfits. A layer is written against a [`LayerPass`] and does not know which of these is happening.

mod attention;
mod cached;
mod check;
mod extent;
mod layer;
mod mask;
mod memory;
mod packing;
mod states;

use std::cell::Cell;

use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_adapters_core::{
    Output, Place, Reads, RowPosition, Site, StackKind, TokenSpan, has_own_kernels, mean_of_tokens, row_indices,
};

pub use self::attention::{Attention, ScoreBias, ScoreShape};
use self::cached::{Cached, Separate};
use self::check::{check, check_decoder};
pub(crate) use self::extent::{Extent, OneStep, StepInput, StepOutput};
pub use self::layer::LayerPass;
pub(crate) use self::mask::padding_of;
use self::mask::{Mask, SharedByLayers};
pub(crate) use self::memory::Memory;
use self::packing::Packing;
use self::states::{Form, States};
use crate::{ActiveHooks, BankError, BaseError, BaseModel, DecoderStart, Hooks, KvCache, Limits, TokenBatch};

/// A pass: [`Forward`](crate::Forward) begins it, [`BaseModel::run`](crate::BaseModel::run) computes it, and `Forward`
/// finishes it.
pub struct Pass<'p> {
    hooks: ActiveHooks<'p>,
    /// The batch in the order of the pass.
    batch: TokenBatch,
    /// Of the batch; in the decoder of an encoder-decoder model, the decoder's.
    limits: Limits,
    decoder_limits: Limits,
    device: Device,
    reads: Reads,
    row_position: RowPosition,
    /// The states at every depth, where they are requested.
    observed: Option<&'p mut Vec<Tensor<3>>>,
    /// The original rows of the batch, if the pass has reordered them.
    restore: Option<Tensor<1, Int>>,
    order: Vec<usize>,
    states: Option<States<'p>>,
    /// What the decoder of an encoder-decoder model attends to.
    memory: Option<Memory>,
    /// The tokens that earlier passes read, and the contents of the cache until the decoder begins.
    cache: Option<KvCache>,
    cached: Option<Cached>,
    /// The same of batches whose rows have caches of their own.
    separate: Separate<'p>,
    /// Whether a decoder follows the encoder.
    has_decoder: bool,
    pooled: Option<Tensor<2>>,
    extent: Extent<'p>,
    /// The number of steps of earlier stacks.
    steps_before: usize,
}

impl<'p> Pass<'p> {
    pub(crate) fn begin(
        batch: &TokenBatch,
        hooks: &Hooks<'p>,
        reads: Reads,
        model: &(impl BaseModel + ?Sized),
        observed: Option<&'p mut Vec<Tensor<3>>>,
    ) -> Result<Self, BaseError> {
        let pass = Self::begin_in_order(batch, hooks.pass(), reads, model)?;
        let gathered = pass.hooks.gathered().filter(|gathered| gathered.order.len() == batch.len());
        Ok(match gathered {
            Some(gathered) => Self {
                restore: Some(row_indices(&gathered.restore, &pass.device)),
                order: gathered.restore,
                batch: batch.select(&gathered.order),
                hooks: gathered.hooks,
                observed,
                ..pass
            },
            None => Self { observed, ..pass },
        })
    }

    /// The pass with another extent.
    pub(crate) fn with_extent(self, extent: Extent<'p>) -> Self {
        extent.seed(0, &self.device);
        Self { extent, ..self }
    }

    /// Begins a pass whose rows stay in their order.
    fn begin_in_order(
        batch: &TokenBatch,
        hooks: ActiveHooks<'p>,
        reads: Reads,
        model: &(impl BaseModel + ?Sized),
    ) -> Result<Self, BaseError> {
        let (limits, device, spec) = (model.limits(), model.device(), model.spec());
        let has_decoder = [StackKind::Encoder, StackKind::Decoder].iter().all(|kind| spec.stack(*kind).is_some());
        check(batch, limits)?;
        let decoder_limits = model.decoder_limits();
        match batch.decoder() {
            Some(decoder) => check_decoder(batch, decoder, decoder_limits, has_decoder)?,
            // It reads the encoder's rows.
            None if has_decoder && decoder_limits != limits => check(batch, decoder_limits)?,
            None => {}
        }
        Ok(Self {
            hooks,
            batch: batch.clone(),
            limits,
            decoder_limits,
            device,
            reads,
            row_position: spec.row_position,
            observed: None,
            restore: None,
            order: Vec::new(),
            states: None,
            memory: None,
            cache: None,
            cached: None,
            separate: Separate::default(),
            has_decoder,
            pooled: None,
            extent: Extent::Whole,
            steps_before: 0,
        })
    }

    /// The batch, in the order in which its rows go through the layers; in the decoder of an encoder-decoder model, the
    /// decoder's.
    pub fn batch(&self) -> &TokenBatch {
        &self.batch
    }

    /// The tokens, padded: `[rows, sequence]`.
    pub fn ids(&self) -> Tensor<2, Int> {
        self.ints(self.batch.ids(), self.limits.pad_id)
    }

    /// The token types, padded with 0: `[rows, sequence]`; `None` if all are 0.
    pub fn token_types(&self) -> Option<Tensor<2, Int>> {
        Some(self.ints(self.batch.token_types()?, 0))
    }

    /// Token values, concatenated over the rows, as a padded tensor on the model's device: `[rows, sequence]`.
    ///
    /// # Panics
    /// If there are fewer values than tokens.
    pub fn ints(&self, values: &[u32], padding: u32) -> Tensor<2, Int> {
        let sequence = self.batch.sequence();
        let mut start = 0;
        let mut padded = Vec::with_capacity(self.batch.len() * sequence);
        for (index, length) in self.batch.lengths().iter().enumerate() {
            let row = &values[start..start + length];
            start += length;
            let end = padded.len() + sequence;
            padded.resize(padded.len() + self.batch.start(index), i64::from(padding));
            padded.extend(row.iter().copied().map(i64::from));
            padded.resize(end, i64::from(padding));
        }
        Tensor::from_data(TensorData::new(padded, [self.batch.len(), sequence]), &self.device)
    }

    /// The model's own dropout: on in training, unless the setup turns it off.
    pub fn dropout<const D: usize>(&self, probability: f64, x: Tensor<D>) -> Tensor<D> {
        self.hooks.dropout(probability, x)
    }

    /// Passes on the embeddings. Adapters may transform them, and may insert prompts.
    ///
    /// # Shapes
    /// - embeddings: `[rows, sequence, embedding]`
    pub fn embeddings(&mut self, embeddings: Tensor<3>) {
        if self.extent.begins_later() {
            return;
        }
        let tokens = spans(&self.batch);
        let continues = self.continues();
        let (hidden, tokens) = match continues {
            true => self.hooks.continued_embeddings(embeddings, tokens),
            false => self.hooks.embeddings(embeddings, tokens),
        };
        if !self.has_decoder {
            self.open_cache(&tokens, hidden.dims()[1]);
        }
        self.states = Some(States { hidden, tokens, form: Form::Padded });
    }

    /// Ends the encoder of an encoder-decoder model and begins its decoder: the states become what cross-attention sees,
    /// and the pass continues with the rows of the decoder, or, if the batch has none, with its own rows shifted behind
    /// `start`. `embeddings` computes their embeddings, on which no adapter acts.
    ///
    /// # Shapes
    /// - embeddings: `[rows, sequence, hidden]`
    pub fn decode(&mut self, start: DecoderStart, embeddings: impl FnOnce(&Self) -> Tensor<3>) {
        let (batch, tokens) = match self.batch.decoder() {
            Some(decoder) => (decoder.clone(), spans(decoder)),
            // A row has as many tokens as before.
            None => (self.batch.shifted(start), spans(&self.batch)),
        };
        self.batch = batch;
        self.limits = self.decoder_limits;
        if let (Extent::Step(only), Some(states)) = (&mut self.extent, &self.states) {
            only.output = Some(states.padded());
            self.states = None;
            return;
        }
        let hidden = embeddings(self);
        let memory = match (self.states.take(), self.cache.as_mut().and_then(|cache| cache.memory.take())) {
            (_, Some(memory)) => memory,
            (Some(states), None) => {
                if let Some(last) = self.observed.as_mut().and_then(|observed| observed.last_mut()) {
                    // With the norm after the last layer.
                    *last = in_order(states.padded(), self.restore.as_ref());
                }
                Memory::new(states.padded(), &states.tokens, &self.device)
            }
            (None, None) => return,
        };
        if let Some(cache) = &mut self.cache {
            cache.memory = Some(memory.clone());
        }
        self.open_cache(&tokens, hidden.dims()[1]);
        // The encoder's adapters may have repeated the batch.
        let copies = (memory.rows() / tokens.len().max(1)).max(1);
        let repeated = tokens.iter().cycle().take(copies * tokens.len()).cloned().collect();
        let hidden = if copies == 1 { hidden } else { hidden.repeat_dim(0, copies) };
        if copies > 1 {
            self.hooks.was_repeated();
        }
        self.memory = Some(memory);
        self.states = Some(States { hidden, tokens: repeated, form: Form::Padded });
    }

    /// Transforms the hidden states of each position independently: a projection after the embeddings, a norm after the
    /// last layer.
    ///
    /// # Shapes
    /// - in: `[rows, positions, width]`; out: `[rows, positions, any width]`
    pub fn map(&mut self, transform: impl FnOnce(Tensor<3>) -> Tensor<3>) {
        let states = self.states.take();
        self.states = states.map(|states| States { hidden: transform(states.hidden), ..states });
    }

    /// The model's own [dropout](Self::dropout) on the hidden states.
    pub fn dropout_states(&mut self, probability: f64) {
        let states = self.states.take();
        self.states = states.map(|states| States { hidden: self.dropout(probability, states.hidden), ..states });
    }

    /// Runs layers. `layers` has the layer of the specification for each step: `0..n`, unless layers share their
    /// weights. `layer` computes one of them from the hidden states, `[rows, positions, hidden]`.
    pub fn layers(
        &mut self,
        stack: StackKind,
        layers: impl IntoIterator<Item = usize>,
        layer: impl Fn(&LayerPass<'_>, Tensor<3>) -> Tensor<3>,
    ) {
        let layers: Vec<usize> = layers.into_iter().collect();
        let first_step = self.steps_before;
        self.steps_before += layers.len();
        let recorded = self.extent.take_input(first_step..self.steps_before);
        if recorded.is_some() {
            (self.states, self.memory) = self.restored(recorded);
        }
        let Some(States { mut hidden, mut tokens, mut form }) = self.states.take() else { return };
        let mut memory = self.memory.take();
        let is_read = stack == StackKind::Decoder || !self.has_decoder;
        self.observe(&hidden);
        let continues = self.continues();
        let packs = memory.is_none() && self.cached.is_none() && !continues && matches!(form, Form::Padded);
        if let Some(packing) = packs.then(|| self.packing(&tokens, hidden.dims()[1])).flatten() {
            hidden = packing.pack(hidden);
            form = Form::Packed(Box::new(packing));
        }
        let is_decoding = memory.is_some();
        let kept = self.cached.take();
        let cached = kept.as_ref().filter(|_| stack == StackKind::Decoder);
        let separate = std::mem::take(&mut self.separate);
        let device = self.device.clone();
        let mask_of = |tokens: &[TokenSpan], sequence: usize| match cached {
            Some(cached) if cached.is_filled => Mask::continued(&cached.continued, tokens.len(), &device),
            _ => Mask::new(tokens, sequence, is_decoding, &device),
        };
        let mut mask = mask_of(&tokens, form.sequence(&hidden));
        let mut shared = SharedByLayers::default();
        let first_is_read = is_read && self.reads == Reads::First && self.row_position == RowPosition::First;
        for (step, &index) in layers.iter().enumerate() {
            if !self.extent.has(first_step + step) {
                continue;
            }
            let site = Site::new(stack, index, Place::Layer);
            if first_step + step > 0 {
                self.extent.seed(first_step + step, &self.device);
            }
            self.extent.record(site, &hidden, &tokens, &form, memory.as_ref());
            let is_last = step + 1 == layers.len();
            let packing = match &form {
                Form::Packed(packing) => Some(packing.as_ref()),
                _ => None,
            };
            if packing.is_none() {
                let rows = tokens.len();
                (hidden, tokens) = self.hooks.enter_layer(site, hidden, tokens);
                if tokens.len() != rows {
                    mask = mask_of(&tokens, hidden.dims()[1]);
                    shared = SharedByLayers::default();
                    memory = memory.map(|memory| memory.repeated(tokens.len() / rows.max(1)));
                }
            }
            let first_only = is_last && first_is_read && (packing.is_some() || self.hooks.is_positionwise());
            let pass = LayerPass {
                hooks: &self.hooks,
                packing,
                mask: &mask,
                shared: &shared,
                memory: memory.as_ref(),
                cached,
                separate: separate.rows(),
                step,
                stack,
                layer: index,
                first_only,
                tokens: &tokens,
                // Interventions are at positions of the first pass.
                intervened: Cell::new(continues && cached.is_none_or(|cached| cached.is_filled)),
            };
            let [rows, positions, _] = hidden.dims();
            let computed = layer(&pass, hidden);
            let [found_rows, found_positions, _] = computed.dims();
            let cut = first_only && [found_rows, found_positions] == [tokens.len(), 1];
            if !cut && [found_rows, found_positions] != [rows, positions] {
                let shown = |sizes: [usize; 2]| sizes.map(|size| size.to_string()).join(" x ");
                self.hooks.fail(BankError::Misfit {
                    at: site.to_string(),
                    what: "an output of the layer",
                    expected: shown([rows, positions]),
                    found: shown([found_rows, found_positions]),
                });
                return;
            }
            hidden = computed;
            if cut {
                form = Form::First;
            } else if matches!(form, Form::Padded) && !pass.intervened.get() {
                hidden = self.hooks.layer(site, hidden, &tokens);
            }
            self.observe(&hidden);
            if let (Extent::Step(only), false) = (&mut self.extent, is_last) {
                only.output = Some(hidden);
                return;
            }
        }
        (self.memory, self.cached, self.separate) = (memory, kept, separate);
        self.states = Some(States { hidden, tokens, form });
    }

    /// Pools the hidden states of the last layer: `pooler` computes the pooled output from the first position of each
    /// row, `[rows, hidden]`.
    pub fn pool(&mut self, pooler: impl FnOnce(Tensor<2>) -> Tensor<2>) {
        let Some(states) = &self.states else { return };
        self.pooled = Some(pooler(states.first().squeeze_dim(1)));
    }

    /// The packing of a batch with padding, if it is faster and every adapter allows it.
    fn packing(&self, tokens: &[TokenSpan], sequence: usize) -> Option<Packing<'p>> {
        // A backend that compiles kernels per shape would compile a new one for each batch.
        let pays = self.reads != Reads::All && self.observed.is_none() && has_own_kernels(&self.device);
        pays.then(|| Packing::new(tokens, sequence, &self.hooks)).flatten()
    }

    /// The states, and what cross-attention sees, at the input of a step.
    fn restored(&self, input: Option<StepInput>) -> (Option<States<'p>>, Option<Memory>) {
        let Some(StepInput { hidden, memory, tokens, packed, .. }) = input else { return (None, None) };
        if tokens.len() > self.batch.len() {
            self.hooks.was_repeated();
        }
        let packing = packed.and_then(|sequence| self.packing(&tokens, sequence));
        let form = packing.map_or(Form::Padded, |packing| Form::Packed(Box::new(packing)));
        (Some(States { hidden, tokens, form }), memory)
    }

    fn observe(&mut self, hidden: &Tensor<3>) {
        if let Some(observed) = &mut self.observed {
            observed.push(in_order(hidden.clone(), self.restore.as_ref()));
        }
    }

    /// The output of the only step: `[rows, positions, hidden]`; the whole output if it is the last one.
    pub(crate) fn finish_step(mut self) -> Result<StepOutput, BaseError> {
        let output = match &mut self.extent {
            Extent::Step(only) => only.output.take(),
            Extent::Whole | Extent::Recording { .. } => None,
        };
        match (self.hooks.failure(), output) {
            (Some(error), _) => Err(error.into()),
            (None, Some(hidden)) => Ok(StepOutput { hidden, pooled: None }),
            (None, None) => self.finish().map(StepOutput::from),
        }
    }

    /// The output, in the order of the caller's rows.
    pub(crate) fn finish(self) -> Result<Output, BaseError> {
        if let Some(error) = self.hooks.failure() {
            return Err(error.into());
        }
        let states = self.states.ok_or(BaseError::NothingComputed)?;
        let hidden = match (self.reads, self.row_position) {
            (Reads::First, RowPosition::First) => states.first(),
            (Reads::First, RowPosition::LastToken) => states.last(),
            (Reads::First, RowPosition::Mean) => mean_of_tokens(states.padded(), &states.tokens),
            (Reads::All | Reads::Tokens, _) => states.padded(),
        };
        let restore = self.restore.as_ref();
        let pooled = self.pooled.map(|pooled| in_order(pooled, restore));
        let tokens = match restore {
            Some(_) => self.order.iter().map(|row| states.tokens[*row].clone()).collect(),
            None => states.tokens,
        };
        Ok(Output { hidden: in_order(hidden, restore), pooled, tokens, row_position: self.row_position })
    }
}

/// The positions of each row's tokens.
fn spans(batch: &TokenBatch) -> Vec<TokenSpan> {
    let rows = batch.lengths().iter().enumerate();
    rows.map(|(row, length)| TokenSpan::after(batch.start(row), *length)).collect()
}

fn in_order<const D: usize>(tensor: Tensor<D>, rows: Option<&Tensor<1, Int>>) -> Tensor<D> {
    match rows {
        Some(rows) => tensor.select(0, rows.clone()),
        None => tensor,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
