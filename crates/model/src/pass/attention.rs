//! Attention within a pass.

use std::cell::Cell;

use burn::tensor::module::attention as fused_attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Tensor};
use burn_adapters_core::{Place, draw_seed, has_own_kernels};
use burn_adapters_ops::{
    AttentionOptions, Dropout, Rotary, ScoreChanges, Sight as KeySight, attention, changed_attention, packed_attention,
    packed_sighted_attention, sighted_attention,
};
use burn_adapters_prefix_tuning::Attended;

use super::LayerPass;
use super::mask::{Sight, continued_out_of_sight, out_of_sight};
use crate::cache::Continued;

/// The kind of attention of a layer.
///
/// ```
/// use burn_adapters_model::{Attention, Rotary};
///
/// let bert = Attention::new(12).with_dropout(0.1);
/// let llama = Attention::new(32).with_key_value_heads(8).causal().with_rotary(Rotary::new(64, 10_000.0));
/// # let _ = (bert, llama);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    heads: usize,
    key_value_heads: usize,
    scale: Option<f64>,
    causal: bool,
    window: Option<usize>,
    reach: Option<usize>,
    dropout: f64,
    rotary: Option<Rotary>,
    softcap: Option<f64>,
    isolates_padding: bool,
    is_rounded: bool,
}

/// A bias on attention scores: `[1 or rows, heads, queries, keys]`, where the keys are with the prefixes in front of them
/// or without. In the latter case the bias of prefixes is 0.
pub type ScoreBias<'b> = dyn Fn(ScoreShape<'_>) -> Tensor<4> + 'b;

/// The scores that a bias is for.
#[derive(Debug, Clone, Copy)]
pub struct ScoreShape<'s> {
    /// The number of rows.
    pub rows: usize,
    /// The number of queries. They are the last positions.
    pub queries: usize,
    /// The number of positions with a key.
    pub keys: usize,
    /// The number of prefixes in front of the keys.
    pub prefixes: usize,
    /// The number of each row's own prefixes, which are the last ones; the others of the row are masked.
    own_prefixes: &'s [usize],
    continued: Option<&'s Continued>,
}

impl ScoreShape<'_> {
    /// Whether rows have their keys at other positions than others: they have other prefixes, or continue from a cache
    /// after tokens of different number.
    pub fn is_ragged(&self) -> bool {
        let uneven = self.own_prefixes.iter().any(|count| *count != self.prefixes);
        uneven || self.continued.is_some_and(|continued| continued.keys.iter().flatten().any(Option::is_none))
    }

    /// The number of a row's own prefixes, which are the last ones; the others are masked.
    pub fn prefixes_of(&self, row: usize) -> usize {
        self.own_prefixes.get(row).copied().unwrap_or(self.prefixes)
    }

    /// The position of a key of a row, without prefixes.
    pub fn key_position(&self, row: usize, key: usize) -> usize {
        // A key of padding has no weight.
        self.continued.and_then(|continued| continued.keys_of(row).get(key).copied().flatten()).unwrap_or(key)
    }

    /// The position of a query of a row.
    pub fn query_position(&self, row: usize, query: usize) -> usize {
        self.key_position(row, self.keys.saturating_sub(self.queries) + query)
    }
}

impl Attention {
    /// Multi-head attention over all positions, with scores `q kᵀ / √head`.
    pub fn new(heads: usize) -> Self {
        Self {
            heads,
            key_value_heads: heads,
            scale: None,
            causal: false,
            window: None,
            reach: None,
            dropout: 0.0,
            rotary: None,
            softcap: None,
            isolates_padding: false,
            is_rounded: false,
        }
    }

    /// Lets factors be rounded to bf16 where that is faster: see [`AttentionOptions::rounded`].
    pub fn with_rounded_factors(mut self, is_rounded: bool) -> Self {
        self.is_rounded = is_rounded;
        self
    }

    /// Sets the number of key-value heads, each of which serves several query heads.
    pub fn with_key_value_heads(mut self, heads: usize) -> Self {
        self.key_value_heads = heads;
        self
    }

    /// Sets the factor on the scores.
    pub fn with_scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Lets each position see only itself and the positions before it.
    pub fn causal(mut self) -> Self {
        self.causal = true;
        self
    }

    /// Lets each position of causal attention see only this many positions, including its own (Jiang et al., 2023).
    /// Prefixes stay visible to all positions.
    pub fn with_window(mut self, window: usize) -> Self {
        self.window = Some(window);
        self
    }

    /// Lets each position see only positions at most this far away, on both sides (Beltagy et al., 2020). Prefixes stay
    /// visible to all positions.
    pub fn with_reach(mut self, reach: usize) -> Self {
        self.reach = Some(reach);
        self
    }

    /// Sets the dropout on attention probabilities.
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Rotates queries and keys by their positions.
    pub fn with_rotary(mut self, rotary: Rotary) -> Self {
        self.rotary = Some(rotary);
        self
    }

    /// Keeps scores within `±softcap`: `softcap · tanh(score / softcap)`.
    pub fn with_softcap(mut self, softcap: f64) -> Self {
        self.softcap = Some(softcap);
        self
    }

    /// Lets padding see nothing: its attention is even over all positions, or over the prefixes. The states of padding
    /// show in gates, the means over all positions.
    pub fn with_isolated_padding(mut self) -> Self {
        self.isolates_padding = true;
        self
    }

    fn options(&self, dropout: Option<Dropout>) -> AttentionOptions {
        AttentionOptions { scale: self.scale, dropout, rounded: self.is_rounded }
    }

    /// Whether the simplest kernel for batches without padding supports it.
    fn is_plain(&self) -> bool {
        let sees_all = !self.causal && self.reach.is_none();
        sees_all && self.rotary.is_none() && self.softcap.is_none() && self.key_value_heads == self.heads
    }

    /// The keys that queries see which are as many as the keys after the prefixes.
    fn sight(&self, prefixes: usize) -> KeySight {
        let window = self.window.map(|window| window.saturating_sub(1)).filter(|_| self.causal);
        let before = [window, self.reach].into_iter().flatten().min();
        let after = if self.causal { Some(0) } else { self.reach };
        KeySight { prefixes, before, after }
    }
}

impl LayerPass<'_> {
    /// `softmax(q kᵀ · scale) v`, with the adapters that extend keys and values. At [`Place::CrossAttention`], keys and
    /// values are of the [encoder's states](Self::encoded).
    ///
    /// # Shapes
    /// - query: `[rows, positions, heads · head]`, of all positions or of the
    ///   [read ones](Self::read_positions)
    /// - key, value: `[rows, positions, key-value heads · head]`, of all positions
    /// - input: the hidden states that the sublayer was called with, `[rows, positions, hidden]`
    /// - output: as query
    pub fn attention(&self, place: Place, kind: &Attention, projected: [Tensor<3>; 3], input: &Tensor<3>) -> Tensor<3> {
        self.biased_attention(place, kind, projected, input, None)
    }

    /// [`attention`](Self::attention) with a bias on the scores.
    ///
    /// # Shapes
    /// As [`attention`](Self::attention).
    pub fn biased_attention(
        &self,
        place: Place,
        kind: &Attention,
        [query, key, value]: [Tensor<3>; 3],
        input: &Tensor<3>,
        bias: Option<&ScoreBias<'_>>,
    ) -> Tensor<3> {
        if place == Place::Attention && !self.separate.is_empty() {
            return self.attention_by_row(kind, [query, key, value], input, bias);
        }
        let site = self.site(place);
        let [rows, _, width] = query.dims();
        let head = width / kind.heads.max(1);
        let dropout = self.base_dropout(kind, input);
        if let Some(packing) = self.packing
            && (kind.is_plain() || (kind.softcap.is_none() && !packing.is_by_row(&query)))
            && bias.is_none()
            && !self.hooks.extends_attention(site)
        {
            let split = |x: Tensor<3>| {
                let [rows, _, width] = x.dims();
                x.reshape([rows, width / head.max(1), head])
            };
            if !kind.is_plain() {
                let turn = |x: Tensor<3>| match &kind.rotary {
                    Some(rotary) => {
                        let table = self.shared.packed_table(rotary, &packing.lengths);
                        table.rotate(x.unsqueeze::<4>().swap_dims(1, 2)).swap_dims(1, 2).squeeze_dim(0)
                    }
                    None => x,
                };
                let (query, key, value) = (turn(split(query)), turn(split(key)), split(value));
                let (lengths, options) = (&packing.lengths, kind.options(dropout));
                let attended = packed_sighted_attention(query, key, value, lengths, kind.sight(0), options);
                return attended.reshape([rows, 1, width]);
            }
            let ones = vec![1; rows];
            let queries = if packing.is_by_row(&query) { &ones } else { &packing.lengths };
            let (query, key, value) = (split(query), split(key), split(value));
            let options = kind.options(dropout);
            let attended = packed_attention(query, key, value, queries, &packing.lengths, options);
            return attended.reshape([rows, 1, width]);
        }

        let by_row = self.packing.is_none_or(|packing| packing.is_by_row(&query));
        let padded = |x: Tensor<3>| match self.packing {
            Some(packing) if !packing.is_by_row(&x) => packing.unpack(x),
            _ => x,
        };
        let cached = self.cached.filter(|_| place == Place::Attention);
        let firsts = |rows| cached.map_or_else(|| vec![0], |cached| cached.continued.firsts(rows));
        let projected = self.turned_heads(kind, [query, key, value].map(padded), firsts);
        self.attend_by_heads(place, kind, projected, &padded(input.clone()), bias, dropout, by_row)
    }

    /// Queries, keys and values by heads, `[rows, heads, positions, head]`. Queries and keys are rotated by their positions, from
    /// each row's first one on.
    fn turned_heads(
        &self,
        kind: &Attention,
        [query, key, value]: [Tensor<3>; 3],
        firsts: impl FnOnce(usize) -> Vec<usize>,
    ) -> [Tensor<4>; 3] {
        let split = |x: Tensor<3>, heads: usize| {
            let [batch, positions, width] = x.dims();
            x.reshape([batch, positions, heads, width / heads.max(1)]).swap_dims(1, 2)
        };
        let query = split(query, kind.heads);
        let [keys, values] = [key, value].map(|x| split(x, kind.key_value_heads));
        let Some(rotary) = &kind.rotary else { return [query, keys, values] };
        let first = firsts(query.dims()[0]);
        // A table is for all rows that have the same number of positions.
        let turn = |x: Tensor<4>| self.shared.table(rotary, &first, x.dims()[2]).rotate(x);
        [turn(query), turn(keys), values]
    }

    /// Attention of queries to these keys and values, and to those of the cache and of adapters.
    #[allow(clippy::too_many_arguments)]
    fn attend_by_heads(
        &self,
        place: Place,
        kind: &Attention,
        [query, mut keys, mut values]: [Tensor<4>; 3],
        input: &Tensor<3>,
        bias: Option<&ScoreBias<'_>>,
        dropout: Option<Dropout>,
        by_row: bool,
    ) -> Tensor<3> {
        let site = self.site(place);
        let width = query.dims()[1] * query.dims()[3];
        let cached = self.cached.filter(|_| place == Place::Attention);
        if let Some(cached) = cached {
            [keys, values] = cached.extend(self.step, [keys, values]);
        }
        let [_, _, own_keys, _] = keys.dims();
        let mask = match self.memory {
            Some(memory) if place == Place::CrossAttention => memory.mask(),
            _ if kind.isolates_padding => self.mask.of_pairs(query.dims()[2]),
            _ => self.mask.tensor(),
        };
        let attended = Attended { keys, values, mask };
        let (attended, own_prefixes) = self.hooks.counted_attention(site, attended, input);
        let Attended { keys, values, mask } = attended;
        let [batch, _, queries, _] = query.dims();
        let [_, _, all_keys, _] = keys.dims();
        let has_kernels = has_own_kernels(&keys.device());
        // Queries are at the positions of the keys, and see at least one that is no padding.
        let is_whole = !kind.isolates_padding
            && queries == own_keys
            && place == Place::Attention
            && self.tokens.iter().all(|span| span.start == 0);
        let by_range = has_kernels && kind.softcap.is_none() && bias.is_none();
        let sight = match by_range && is_whole {
            true => kind.sight(all_keys - own_keys),
            false => KeySight::default(),
        };
        let mask = match (kind.causal || kind.reach.is_some()) && sight == KeySight::default() {
            true => {
                let device = keys.device().without_autodiff();
                let sight = Sight { causal: kind.causal, window: kind.window, reach: kind.reach };
                let prefixes = all_keys - own_keys;
                let hidden = self.shared.of(sight, [queries, all_keys, prefixes], || match cached {
                    Some(cached) if cached.is_filled => {
                        continued_out_of_sight(&cached.continued, batch, prefixes, sight, &device)
                    }
                    _ => Some(out_of_sight([queries, all_keys], prefixes, sight, &device)),
                });
                match hidden {
                    Some(hidden) => Some(joined(mask, hidden, [batch, 1, queries, all_keys])),
                    None => mask,
                }
            }
            false => mask,
        };
        if by_range && (sight != KeySight::default() || kind.key_value_heads != kind.heads) {
            let attended = sighted_attention(query, keys, values, mask, sight, kind.options(dropout));
            return self.after_attention(attended, [batch, queries, width], by_row);
        }
        let (keys, values) = (kind.for_each_query_head(keys), kind.for_each_query_head(values));
        let bias = bias.map(|bias| {
            let continued = cached.map(|cached| &cached.continued);
            let shape = ScoreShape {
                rows: batch,
                queries,
                keys: own_keys,
                prefixes: all_keys - own_keys,
                own_prefixes: &own_prefixes,
                continued,
            };
            over_prefixes(bias(shape), all_keys)
        });
        let changes = ScoreChanges { softcap: kind.softcap, bias };
        let attended = match changes.is_none() {
            true => attend(query, keys, values, mask, kind.options(dropout)),
            false => changed_attention(query, keys, values, mask, changes, kind.options(dropout)),
        };
        self.after_attention(attended, [batch, queries, width], by_row)
    }

    /// Attention of each row with the cache of its own, as if it were the only row of the batch.
    fn attention_by_row(
        &self,
        kind: &Attention,
        projected: [Tensor<3>; 3],
        input: &Tensor<3>,
        bias: Option<&ScoreBias<'_>>,
    ) -> Tensor<3> {
        // What does not depend on the cache is done for all rows at once.
        let firsts = |_| self.separate.iter().flat_map(|row| row.cached.continued.firsts(1)).collect();
        let projected = self.turned_heads(kind, projected, firsts);
        let rows = self.separate.iter().enumerate().map(|(index, row)| {
            let alone = |x: &Tensor<4>| x.clone().narrow(0, index, 1);
            let pass = LayerPass {
                hooks: &row.hooks,
                packing: None,
                mask: &row.mask,
                shared: &row.shared,
                memory: None,
                cached: Some(&row.cached),
                separate: &[],
                step: self.step,
                stack: self.stack,
                layer: self.layer,
                first_only: false,
                tokens: self.tokens.get(index..=index).unwrap_or_default(),
                intervened: Cell::new(true),
            };
            let input = input.clone().narrow(0, index, 1);
            let dropout = pass.base_dropout(kind, &input);
            pass.attend_by_heads(Place::Attention, kind, projected.each_ref().map(alone), &input, bias, dropout, true)
        });
        Tensor::cat(rows.collect(), 0)
    }

    /// The heads of each position side by side, without padding if the pass has none.
    fn after_attention(&self, attended: Tensor<4>, shape: [usize; 3], by_row: bool) -> Tensor<3> {
        let attended = attended.swap_dims(1, 2).reshape(shape);
        match self.packing {
            Some(packing) if !by_row => packing.pack(attended),
            _ => attended,
        }
    }

    /// The model's dropout on attention probabilities, with a seed drawn for it.
    fn base_dropout(&self, kind: &Attention, input: &Tensor<3>) -> Option<Dropout> {
        let drops = self.hooks.has_base_dropout() && kind.dropout > 0.0;
        drops.then(|| Dropout { probability: kind.dropout, seed: draw_seed(&input.device()) })
    }
}

impl Attention {
    /// `[rows, key-value heads, keys, head]` to `[rows, heads, keys, head]`.
    fn for_each_query_head(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, heads, keys, width] = x.dims();
        if heads == self.heads || heads == 0 {
            return x;
        }
        let each = self.heads / heads;
        x.unsqueeze_dim::<5>(2).expand([batch, heads, each, keys, width]).reshape([batch, self.heads, keys, width])
    }
}

/// A bias with columns for all keys: 0 for prefixes that it has none for.
fn over_prefixes(bias: Tensor<4>, keys: usize) -> Tensor<4> {
    let [rows, heads, queries, own] = bias.dims();
    if own >= keys {
        return bias;
    }
    Tensor::cat(vec![Tensor::zeros([rows, heads, queries, keys - own], &bias.device()), bias], 3)
}

/// True where either mask is true.
fn joined(padding: Option<Tensor<4, Bool>>, later: Tensor<4, Bool>, shape: [usize; 4]) -> Tensor<4, Bool> {
    match padding {
        Some(padding) => padding.expand(shape).bool_or(later.expand(shape)),
        None => later,
    }
}

/// `dropout(softmax(q kᵀ · scale)) v`.
fn attend(
    query: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    options: AttentionOptions,
) -> Tensor<4> {
    let differentiated = [&query, &keys, &values].iter().any(|tensor| tensor.device().is_autodiff());
    let is_plain = options.dropout.is_none() && options.scale.is_none();
    if is_plain && !differentiated && !has_own_kernels(&query.device()) {
        // The backend's own attention, which keeps no scores for a backward pass.
        let ([batch, _, queries, _], keys_len) = (query.dims(), keys.dims()[2]);
        // One mask for all heads: a backend that needs contiguous rows then copies it once, not once per head.
        let mask = mask.map(|mask| mask.expand([batch, 1, queries, keys_len]));
        return fused_attention(query, keys, values, mask, None, AttentionModuleOptions::default());
    }
    attention(query, keys, values, mask, options)
}
