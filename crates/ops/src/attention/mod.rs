//! Attention.

#[cfg(feature = "flex")]
mod own;

use burn::tensor::{Bool, Tensor};

use crate::{dropout, softmax};

/// Dropout by a seed: see [`dropout`](crate::dropout()).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// The share of elements that are zeroed, from 0 to 1.
    pub probability: f64,
    /// What the zeroed elements follow from.
    pub seed: u64,
}

/// How scores are made and thinned out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AttentionOptions {
    /// What `q kᵀ` is multiplied by; `None`: `1 / √head`.
    pub scale: Option<f64>,
    /// Dropout on the probabilities.
    pub dropout: Option<Dropout>,
}

/// `dropout(softmax(q kᵀ · scale)) v`, with no weight on the keys at which `mask` is true (Vaswani et al., 2017).
///
/// A query all of whose keys are masked spreads evenly over them. The backward pass keeps q, k, v, which are shared, and the
/// probabilities, whose sign says what dropout zeroed.
///
/// # Shapes
/// - q: `[batch, heads, queries, head]`
/// - k: `[batch, heads, keys, head]`
/// - v: `[batch, heads, keys, value]`
/// - mask: `[batch, heads, queries, keys]`, where any but the last may be 1
/// - output: `[batch, heads, queries, value]`
pub fn attention(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    mask: Option<Tensor<4, Bool>>,
    options: AttentionOptions,
) -> Tensor<4> {
    let scale = options.scale.unwrap_or_else(|| 1.0 / (q.dims()[3] as f64).sqrt());
    let thinned = options.dropout.filter(|dropout| dropout.probability > 0.0);
    #[cfg(feature = "flex")]
    if thinned.is_none_or(|dropout| dropout.probability < 1.0)
        && let Some((operands, plan)) = own::plan(&q, &k, &v, mask.as_ref(), scale, thinned)
    {
        drop((q, k, v));
        return own::attention(operands, plan);
    }
    let mut scores = (q * scale).matmul(k.swap_dims(2, 3));
    if let Some(mask) = mask {
        scores = scores + lowest_where(mask, &v);
    }
    let mut shares = softmax(scores);
    if let Some(Dropout { probability, seed }) = thinned {
        shares = dropout(shares, probability, seed);
    }
    shares.matmul(v)
}

/// 0, and the lowest number where the mask is true. Not −∞: a row of padding alone must not give NaN.
fn lowest_where(mask: Tensor<4, Bool>, like: &Tensor<4>) -> Tensor<4> {
    let dtype = like.dtype();
    let lowest = dtype.finfo().map_or(f64::from(f32::MIN), |info| info.min);
    Tensor::<4>::zeros(mask.dims(), &mask.device()).cast(dtype).mask_fill(mask, lowest)
}
