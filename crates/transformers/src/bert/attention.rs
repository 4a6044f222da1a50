//! Self-attention.

use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Tensor};
use burn_adapters_core::{Place, Site, draw_seed, has_own_kernels};
use burn_adapters_model::{Attended, Hooks};
use burn_adapters_ops::{AttentionOptions, Dropout, packed_attention};

use super::packing::Packing;
use crate::weights::Source;
use crate::{BertConfig, LoadError};

/// Multi-head self-attention without its output projection.
#[derive(Module, Debug)]
pub(crate) struct SelfAttention {
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    heads: usize,
    dropout: f64,
}

impl SelfAttention {
    pub(crate) fn build(config: &BertConfig, name: &str, source: &mut impl Source) -> Result<Self, LoadError> {
        let (size, std) = ([config.hidden_size; 2], config.initializer_range);
        Ok(Self {
            query: source.linear(&format!("{name}.query"), size, std)?,
            key: source.linear(&format!("{name}.key"), size, std)?,
            value: source.linear(&format!("{name}.value"), size, std)?,
            heads: config.num_attention_heads,
            dropout: config.attention_probs_dropout_prob,
        })
    }

    /// # Shapes
    /// - asking (the positions that attend, all or some): `[batch, queries, hidden]`
    /// - hidden (the positions that are attended to): `[batch, sequence, hidden]`
    /// - mask: true where a key is padding, `[batch, 1, 1, sequence]`
    /// - output: `[batch, queries, hidden]`
    pub(crate) fn forward(
        &self,
        layer: usize,
        asking: Tensor<3>,
        hidden: Tensor<3>,
        mask: Option<Tensor<4, Bool>>,
        hooks: &Hooks,
    ) -> Tensor<3> {
        let [batch, queries, width] = asking.dims();
        let site = |place| Site::encoder(layer, place);
        let split = |x: Tensor<3>| {
            let [batch, positions, _] = x.dims();
            x.reshape([batch, positions, self.heads, width / self.heads]).swap_dims(1, 2)
        };
        let query = split(hooks.linear(site(Place::Query), &self.query, asking));
        let keys = split(hooks.linear(site(Place::Key), &self.key, hidden.clone()));
        let values = split(hooks.linear(site(Place::Value), &self.value, hidden.clone()));
        let attended = hooks.attention(site(Place::Attention), Attended { keys, values, mask }, &hidden);
        self.attend(query, attended, hooks).swap_dims(1, 2).reshape([batch, queries, width])
    }

    /// The same without padding.
    ///
    /// # Shapes
    /// - asking: the positions that attend, all (`[Σ lengths, 1, hidden]`, with the packing's hooks) or the first of each
    ///   row (`[batch, 1, hidden]`, with those of the batch)
    /// - hidden: `[Σ lengths, 1, hidden]`
    /// - mask: for the whole batch, `[batch, 1, 1, sequence]`
    /// - output: as asking
    pub(crate) fn forward_packed(
        &self,
        layer: usize,
        asking: (Tensor<3>, &Hooks),
        hidden: Tensor<3>,
        mask: Option<Tensor<4, Bool>>,
        hooks: &Hooks,
        packing: &Packing,
    ) -> Tensor<3> {
        let (asking, asking_hooks) = asking;
        let [rows, _, width] = asking.dims();
        let only_first = rows == packing.lengths.len();
        let site = |place| Site::encoder(layer, place);
        let query = asking_hooks.linear(site(Place::Query), &self.query, asking);
        let keys = packing.hooks.linear(site(Place::Key), &self.key, hidden.clone());
        let values = packing.hooks.linear(site(Place::Value), &self.value, hidden.clone());
        let head = [self.heads, width / self.heads];
        if !hooks.extends_attention(site(Place::Attention)) {
            let split = |x: Tensor<3>| {
                let [rows, _, _] = x.dims();
                x.reshape([rows, head[0], head[1]])
            };
            let options = AttentionOptions { scale: None, dropout: self.base_dropout(hooks, &hidden) };
            let ones = vec![1; rows];
            let queries = if only_first { &ones } else { &packing.lengths };
            let attended =
                packed_attention(split(query), split(keys), split(values), queries, &packing.lengths, options);
            return attended.reshape([rows, 1, width]);
        }
        let whole = |x: Tensor<3>| {
            let [batch, positions, _] = x.dims();
            x.reshape([batch, positions, head[0], head[1]]).swap_dims(1, 2)
        };
        let query = whole(if only_first { query } else { packing.unpack(query) });
        let attended = Attended { keys: whole(packing.unpack(keys)), values: whole(packing.unpack(values)), mask };
        let attended = hooks.attention(site(Place::Attention), attended, &packing.unpack(hidden));
        let [batch, _, queries, _] = query.dims();
        let attended = self.attend(query, attended, hooks).swap_dims(1, 2).reshape([batch, queries, width]);
        if only_first { attended } else { packing.pack(attended) }
    }

    /// The base model's dropout on probabilities, with a seed drawn for it.
    fn base_dropout<const D: usize>(&self, hooks: &Hooks, like: &Tensor<D>) -> Option<Dropout> {
        let drops = hooks.has_base_dropout() && self.dropout > 0.0;
        drops.then(|| Dropout { probability: self.dropout, seed: draw_seed(&like.device()) })
    }

    /// `softmax(q kᵀ / √d) v`.
    fn attend(&self, query: Tensor<4>, attended: Attended, hooks: &Hooks) -> Tensor<4> {
        let Attended { keys, values, mask } = attended;
        let dropout = self.base_dropout(hooks, &query);
        let differentiated = [&query, &keys, &values].iter().any(|tensor| tensor.device().is_autodiff());
        if dropout.is_none() && !differentiated && !has_own_kernels(&query.device()) {
            return fused(query, keys, values, mask);
        }
        burn_adapters_ops::attention(query, keys, values, mask, AttentionOptions { scale: None, dropout })
    }
}

/// The backend's own attention, which keeps no scores for a backward pass.
fn fused(query: Tensor<4>, keys: Tensor<4>, values: Tensor<4>, mask: Option<Tensor<4, Bool>>) -> Tensor<4> {
    let ([batch, _, queries, _], keys_len) = (query.dims(), keys.dims()[2]);
    // One mask for all heads: a backend that needs its rows then copies it once, not once a head.
    let mask = mask.map(|mask| mask.expand([batch, 1, queries, keys_len]));
    attention(query, keys, values, mask, None, AttentionModuleOptions::default())
}
