//! Attention.

#[cfg(feature = "flex")]
mod own;
#[cfg(feature = "flex")]
mod ranges;
mod sight;

use burn::tensor::{Bool, Tensor};

pub use self::sight::{Sight, packed_sighted_attention, sighted_attention};
#[cfg(feature = "flex")]
use crate::kernel::product::Factors;
use crate::{dropout, softmax};

/// Seeded dropout: see [`dropout`](crate::dropout()).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The fraction of elements that are zeroed, from 0 to 1.
    pub probability: f64,
    /// The seed that decides which elements are zeroed.
    pub seed: u64,
}

/// Options of attention.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AttentionOptions {
    /// The factor on `q kᵀ`; `None` is `1 / √head`.
    pub scale: Option<f64>,
    /// Dropout on the probabilities.
    pub dropout: Option<Dropout>,
    /// Whether queries, keys, values, probabilities and gradients may be rounded to bf16 where they are multiplied, as fits
    /// projections in bf16. The flex backend does so on AMD CPUs with AVX-512 BF16, which multiply bf16 at twice the rate; sums
    /// are in f32 always.
    pub rounded: bool,
}

/// The options of a kernel.
#[cfg(feature = "flex")]
#[derive(Debug, Clone, Copy)]
struct Resolved {
    scale: f32,
    factors: Factors,
    dropout: Option<Dropout>,
}

impl AttentionOptions {
    /// The factor on `q kᵀ`, for heads of this width.
    fn scale(&self, head: usize) -> f64 {
        self.scale.unwrap_or_else(|| 1.0 / (head as f64).sqrt())
    }

    /// The options of a kernel, for heads of this width; `None` if everything is dropped, which kernels do not support.
    #[cfg(feature = "flex")]
    fn resolved(&self, head: usize) -> Option<Resolved> {
        let (scale, dropout) = (self.scale(head) as f32, self.thinned());
        let factors = if self.rounded { Factors::Rounded } else { Factors::Exact };
        dropout.is_none_or(|dropout| dropout.probability < 1.0).then_some(Resolved { scale, factors, dropout })
    }

    /// The dropout, unless it drops nothing.
    fn thinned(&self) -> Option<Dropout> {
        self.dropout.filter(|dropout| dropout.probability > 0.0)
    }
}

/// Changes to attention scores that few models make.
#[derive(Debug, Clone, Default)]
pub struct ScoreChanges {
    /// Keeps scores within `±softcap`: `softcap · tanh(q kᵀ · scale / softcap)`.
    pub softcap: Option<f64>,
    /// Added to the scores, after the cap: `[batch, heads, queries, keys]`, where any dimension may be 1.
    pub bias: Option<Tensor<4>>,
}

impl ScoreChanges {
    /// Whether scores are unchanged.
    pub fn is_none(&self) -> bool {
        self.softcap.is_none() && self.bias.is_none()
    }
}

/// `dropout(softmax(q kᵀ · scale)) v`, where keys at which `mask` is true get no weight (Vaswani et al., 2017).
///
/// A query whose keys are all masked attends to them evenly. For the backward pass, q, k and v are kept (shared, not
/// copied), and the attention probabilities, whose sign records which ones dropout zeroed.
///
/// # Shapes
/// - q: `[batch, heads, queries, head]`
/// - k: `[batch, heads, keys, head]`
/// - v: `[batch, heads, keys, value]`
/// - mask: `[batch, heads, queries, keys]`, where any dimension but the last may be 1
/// - output: `[batch, heads, queries, value]`
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    options: AttentionOptions,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(resolved) = options.resolved(q.dims()[3])
        && let Some((operands, plan)) = own::plan(&q, &k, &v, mask.as_ref(), resolved)
    {
        drop((q, k, v));
        return own::attention(operands, plan);
    }
    changed_attention(q, k, v, mask, ScoreChanges::default(), options)
}

/// [`attention`] with changed scores: `dropout(softmax(change(q kᵀ · scale))) v`.
///
/// # Shapes
/// As [`attention`].
pub fn changed_attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    changes: ScoreChanges,
    options: AttentionOptions,
) -> Tensor<4> {
    let (scale, thinned) = (options.scale(q.dims()[3]), options.thinned());
    let mut scores = (q * scale).matmul(k.swap_dims(2, 3));
    if let Some(cap) = changes.softcap {
        scores = (scores / cap).tanh() * cap;
    }
    if let Some(bias) = changes.bias {
        scores = scores + bias;
    }
    if let Some(mask) = mask {
        scores = scores + lowest_where(mask, &v);
    }
    let mut shares = softmax(scores);
    if let Some(Dropout { probability, seed }) = thinned {
        shares = dropout(shares, probability, seed);
    }
    shares.matmul(v)
}

/// [`attention`] for sequences of any lengths, concatenated: there is no padding, and so no mask.
///
/// # Shapes
/// - q: `[Σ queries, heads, head]`
/// - k: `[Σ keys, heads, head]`
/// - v: `[Σ keys, heads, value]`
/// - queries, keys: the lengths of each sequence, at least 1
/// - output: `[Σ queries, heads, value]`
///
/// # Panics
/// If the numbers of queries and keys do not match the tensors, or one of them is 0.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_ops::{AttentionOptions, packed_attention};
///
/// // Sequences of two and of three positions, one head of a width of 4.
/// let x = Tensor::<3>::ones([5, 1, 4], &Device::default());
/// let lengths = [2, 3];
/// let output = packed_attention(x.clone(), x.clone(), x, &lengths, &lengths, AttentionOptions::default());
/// assert_eq!(output.dims(), [5, 1, 4]);
/// ```
pub fn packed_attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    queries: &[usize],
    keys: &[usize],
    options: AttentionOptions,
) -> Tensor<3> {
    let ([rows, heads, head], [key_rows, _, value]) = (q.dims(), v.dims());
    assert!(
        queries.len() == keys.len() && !queries.contains(&0) && !keys.contains(&0),
        "each sequence needs at least one query and one key, found {queries:?} queries and {keys:?} keys"
    );
    assert!(
        queries.iter().sum::<usize>() == rows
            && keys.iter().sum::<usize>() == key_rows
            && k.dims() == [key_rows, heads, head]
            && v.dims() == [key_rows, heads, value],
        "sequences of {queries:?} queries and {keys:?} keys do not match tensors of {:?}, {:?} and {:?}",
        q.dims(),
        k.dims(),
        v.dims()
    );
    #[cfg(feature = "flex")]
    {
        if let Some(resolved) = options.resolved(head)
            && let Some((operands, plan)) = own::plan_packed(&q, &k, &v, [queries, keys], resolved)
        {
            drop((q, k, v));
            return own::attention(operands, plan);
        }
    }
    let alone = |x: &Tensor<3>, from: usize, count: usize| x.clone().narrow(0, from, count).swap_dims(0, 1).unsqueeze();
    let (mut query, mut key) = (0, 0);
    let parts = queries.iter().zip(keys).enumerate().map(|(sequence, (&queries, &keys))| {
        // With one seed, dropout would zero the same elements in every sequence.
        let dropout = options.dropout.map(|dropout| Dropout { seed: dropout.seed ^ sequence as u64, ..dropout });
        let (q, k, v) = (alone(&q, query, queries), alone(&k, key, keys), alone(&v, key, keys));
        (query, key) = (query + queries, key + keys);
        attention(q, k, v, None, AttentionOptions { dropout, ..options }).squeeze_dim::<3>(0).swap_dims(0, 1)
    });
    let parts: Vec<_> = parts.collect();
    if parts.is_empty() {
        return v;
    }
    Tensor::cat(parts, 0)
}

/// 0, and the lowest finite number where the mask is true. Not −∞: a row of padding only must not give NaN.
fn lowest_where(mask: Tensor<4, Bool>, like: &Tensor<4>) -> Tensor<4> {
    let dtype = like.dtype();
    let lowest = dtype.finfo().map_or(f64::from(f32::MIN), |info| info.min);
    Tensor::<4>::zeros(mask.dims(), &mask.device()).cast(dtype).mask_fill(mask, lowest)
}
