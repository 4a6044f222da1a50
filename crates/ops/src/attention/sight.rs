//! Attention in which a query sees a range of keys: causal, windowed, with few keys for many query heads.

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{AttentionOptions, attention};

/// The keys that a query sees, by their positions. Queries are the last positions.
///
/// ```
/// use burn_adapters_ops::Sight;
///
/// // Four own keys after one prefix, two queries.
/// let sight = Sight { prefixes: 1, ..Sight::causal() };
/// let seen = |query| (0..5).filter(|key| sight.sees(query, *key, 2, 5)).collect::<Vec<_>>();
/// assert_eq!(seen(0), [0, 1, 2, 3]);
/// let near = Sight { before: Some(1), ..sight };
/// assert!(near.sees(0, 0, 2, 5) && !near.sees(0, 1, 2, 5) && near.sees(0, 2, 2, 5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// The number of keys at the start that every query sees. They have no positions.
    pub prefixes: usize,
    /// The most positions before its own that a query sees.
    pub before: Option<usize>,
    /// The most positions after its own that a query sees.
    pub after: Option<usize>,
}

impl Sight {
    /// Every position up to a query's own.
    pub fn causal() -> Self {
        Self { after: Some(0), ..Self::default() }
    }

    /// Whether a query sees a key, of so many queries and keys.
    pub fn sees(&self, query: usize, key: usize, queries: usize, keys: usize) -> bool {
        let [first, end] = self.own(query, queries, keys);
        key < self.prefixes || (first..end).contains(&key)
    }

    /// The range of keys after the prefixes that a query sees.
    #[inline(always)]
    pub(super) fn own(&self, query: usize, queries: usize, keys: usize) -> [usize; 2] {
        // Its own position is that of this key.
        let own = keys - queries + query;
        let first = self.before.map_or(self.prefixes, |before| own.saturating_sub(before).max(self.prefixes));
        let end = self.after.map_or(keys, |after| own.saturating_add(after).saturating_add(1).min(keys));
        [first, end]
    }

    /// True where a key is out of sight: `[1, 1, queries, keys]`.
    fn mask(&self, queries: usize, keys: usize, device: &Device) -> Tensor<4, Bool> {
        let hidden = (0..queries).flat_map(|query| (0..keys).map(move |key| !self.sees(query, key, queries, keys)));
        Tensor::from_data(TensorData::new(hidden.collect::<Vec<bool>>(), [1, 1, queries, keys]), device)
    }
}

/// [`attention`] in which each query sees a range of keys, and each head of keys and values serves several heads of queries,
/// next to each other (Ainslie et al., 2023, <https://arxiv.org/abs/2305.13245>).
///
/// Keys out of sight cost nothing, and the backward pass keeps q, k and v alone and computes the probabilities again: memory
/// grows with the length, not with its square. A query whose visible keys are all masked attends to them evenly.
///
/// # Shapes
/// - q: `[batch, heads, queries, head]`
/// - k: `[batch, key-value heads, keys, head]`
/// - v: `[batch, key-value heads, keys, value]`
/// - mask: `[batch, heads, queries, keys]`, where any dimension but the last may be 1
/// - output: `[batch, heads, queries, value]`
///
/// # Panics
/// If there are fewer keys than prefixes and queries, or `heads` is not a multiple of the key-value heads.
pub fn sighted_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    sight: Sight,
    options: AttentionOptions,
) -> Tensor<4> {
    let ([_, heads, queries, head], [_, groups, keys, _]) = (q.dims(), k.dims());
    check(sight, [heads, groups], [queries, keys]);
    #[cfg(feature = "flex")]
    {
        if let Some(resolved) = options.resolved(head)
            && let Some((operands, plan)) = super::ranges::plan(&q, &k, &v, mask.as_ref(), sight, resolved)
        {
            drop((q, k, v));
            return super::ranges::attention(operands, plan);
        }
    }
    let hidden = sight.mask(queries, keys, &q.device().without_autodiff());
    let mask = match mask {
        Some(mask) => {
            let [batch, of_heads, _, _] = mask.dims();
            let shape = [batch, of_heads, queries, keys];
            mask.expand(shape).bool_or(hidden.expand(shape))
        }
        None => hidden,
    };
    let options = AttentionOptions { scale: Some(options.scale(head)), ..options };
    attention(q, repeated(k, heads), repeated(v, heads), Some(mask), options)
}

/// [`sighted_attention`] for sequences of any lengths, concatenated: there is no padding, and so no mask.
///
/// # Shapes
/// - q: `[Σ lengths, heads, head]`
/// - k: `[Σ lengths, key-value heads, head]`
/// - v: `[Σ lengths, key-value heads, value]`
/// - lengths: those of each sequence, at least 1
/// - output: `[Σ lengths, heads, value]`
///
/// # Panics
/// As [`sighted_attention`]; if the lengths do not match the tensors, or there are prefixes.
pub fn packed_sighted_attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    lengths: &[usize],
    sight: Sight,
    options: AttentionOptions,
) -> Tensor<3> {
    let ([rows, heads, _], [key_rows, groups, _]) = (q.dims(), k.dims());
    let sum: usize = lengths.iter().sum();
    assert!(
        sum == rows && sum == key_rows && !lengths.contains(&0) && sight.prefixes == 0,
        "sequences of {lengths:?} positions do not match tensors of {rows} and {key_rows} rows without prefixes"
    );
    check(sight, [heads, groups], [1, 1]);
    #[cfg(feature = "flex")]
    {
        if let Some(resolved) = options.resolved(q.dims()[2])
            && let Some((operands, plan)) = super::ranges::plan_packed(&q, &k, &v, lengths, sight, resolved)
        {
            drop((q, k, v));
            return super::ranges::attention(operands, plan);
        }
    }
    let mut first = 0;
    let parts = lengths.iter().enumerate().map(|(sequence, &length)| {
        let alone = |x: &Tensor<3>| x.clone().narrow(0, first, length).swap_dims(0, 1).unsqueeze::<4>();
        let [q, k, v] = [&q, &k, &v].map(alone);
        first += length;
        // With one seed, dropout would zero the same elements in every sequence.
        let dropout = options.dropout.map(|dropout| super::Dropout { seed: dropout.seed ^ sequence as u64, ..dropout });
        let options = AttentionOptions { dropout, ..options };
        sighted_attention(q, k, v, None, sight, options).squeeze_dim::<3>(0).swap_dims(0, 1)
    });
    Tensor::cat(parts.collect(), 0)
}

fn check(sight: Sight, [heads, groups]: [usize; 2], [queries, keys]: [usize; 2]) {
    assert!(
        groups > 0 && heads.is_multiple_of(groups),
        "{heads} heads of queries cannot share {groups} heads of keys and values"
    );
    assert!(
        queries + sight.prefixes <= keys,
        "expected keys for {} prefixes and {queries} queries, found {keys}",
        sight.prefixes
    );
}

/// `[rows, key-value heads, keys, head]` to `[rows, heads, keys, head]`.
fn repeated(x: Tensor<4>, heads: usize) -> Tensor<4> {
    let [batch, groups, keys, width] = x.dims();
    if groups == heads {
        return x;
    }
    x.unsqueeze_dim::<5>(2).expand([batch, groups, heads / groups, keys, width]).reshape([batch, heads, keys, width])
}
