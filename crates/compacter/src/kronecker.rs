//! Products with a sum of Kronecker products.
//!
//! A PHM layer's weight is `H = Σᵢ Aᵢ ⊗ Wᵢ`, with the rule `Aᵢ` of `n × n` and `Wᵢ` of `p × q` (`p` the input size over
//! `n`, `q` the output size over `n`). Written out, with the input `x` seen as `n` blocks of `p`,
//!
//! ```text
//! y[b, q] = Σ over i, a, p of  Aᵢ[a, b] · x[a, p] · Wᵢ[p, q]
//! ```
//!
//! If `Wᵢ = Lᵢ Rᵢ` has a small rank `r`, the sum over `p` needs `n² r` elements per position instead of all of `H`. The
//! rule is folded into the small factor, on the narrow side of the layer, so the activations pass through two matrix
//! products only:
//!
//! - *down* (input wider than output): `x` as `[tokens · n, p]` times all `Lᵢ` side by side, `[p, n r]`, gives
//!   `[tokens, n² r]`; times the folded `Aᵢ ⊗ Rᵢ`, `[n² r, output]`.
//! - *up*: `x` times the folded `Aᵢ ⊗ Lᵢ`, `[input, n² r]`, seen as `[tokens · n, n r]`, times all `Rᵢ` on top of each
//!   other, `[n r, q]`.
//!
//! With unfactorized `Wᵢ` nothing is saved, and `H` is formed. The same holds for ranks so high that the two products
//! would cost more than one with `H` ([`Strategy::cheapest`]).
//!
//! # Measured
//! Microseconds of a forward and backward pass, with gradients of the input and all parameters, `n = 4`, `r = 1` (the
//! fastest of 1000 runs for 32 tokens, of 150 for 2048; flex, one thread of a busy x86-64 machine with AVX-512, dev
//! profile with optimized dependencies, and an allocator that keeps freed memory, because page faults would otherwise
//! dominate):
//!
//! | layer | tokens | dense | rule folded right | rule folded left |
//! | --- | --- | --- | --- | --- |
//! | 384 → 12 | 32 | 101 | **66** | 104 |
//! | 384 → 12 | 2048 | 1961 | **1809** | 2422 |
//! | 12 → 384 | 32 | 92 | 95 | **64** |
//! | 12 → 384 | 2048 | 2151 | 2581 | **1507** |
//! | 768 → 24 | 32 | 255 | **92** | 166 |
//! | 768 → 24 | 2048 | 13959 | **4918** | 6092 |
//! | 24 → 768 | 32 | 234 | 145 | **90** |
//! | 24 → 768 | 2048 | 9754 | 5346 | **3260** |
//!
//! Bold marks the choice of [`Strategy::cheapest`]. At rank 4 and 2048 tokens, folding on the narrow side and the dense
//! weight differ by less than the noise. Times for 2048 tokens vary by a third between runs, the others by a few
//! percent.
//!
//! ```text
//! MALLOC_TRIM_THRESHOLD_=2000000000 MALLOC_MMAP_THRESHOLD_=2000000000 MALLOC_TOP_PAD_=500000000 RAYON_NUM_THREADS=1 \
//!     cargo run -p burn-adapters-compacter --features flex --example kronecker
//! ```

use burn::tensor::Tensor;
use burn_adapters_core::linear;

use crate::Matrices;

/// How a product with `Σᵢ Aᵢ ⊗ Wᵢ` is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Form the dense weight.
    Dense,
    /// Use the factors; fold the rule into the right ones.
    FoldRight,
    /// Use the factors; fold the rule into the left ones.
    FoldLeft,
}

impl Strategy {
    /// The strategy that needs the fewest multiplications per token for factors of rank `rank`.
    pub fn cheapest([d_input, d_output]: [usize; 2], phm_dim: usize, rank: usize) -> Self {
        let [d_input, d_output, phm_dim, rank] = [d_input, d_output, phm_dim, rank].map(|size| size as f64);
        let inner = phm_dim * rank;
        let costs = [
            (d_input * inner + phm_dim * inner * d_output, Self::FoldRight),
            (d_input * phm_dim * inner + inner * d_output, Self::FoldLeft),
            (d_input * d_output, Self::Dense),
        ];
        costs.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b)).map_or(Self::Dense, |(_, strategy)| strategy)
    }
}

/// The dense weight `Σᵢ Aᵢ ⊗ Wᵢ`.
///
/// # Shapes
/// - rule: `[n, n, n]`, weight: `[n, p, q]`
/// - output: `[n p, n q]`
pub fn dense(rule: Tensor<3>, weight: Tensor<3>) -> Tensor<2> {
    let [n, p, q] = weight.dims();
    let pairs = rule.reshape([n, n * n]).transpose().matmul(weight.reshape([n, p * q]));
    pairs.reshape([n, n, p, q]).swap_dims(1, 2).reshape([n * p, n * q])
}

/// Computes `x · Σᵢ Aᵢ ⊗ Wᵢ` with a strategy.
///
/// # Shapes
/// - x: `[batch, sequence, n p]`
/// - rule: `[n, n, n]`, weight: `n` matrices of `[p, q]`
/// - output: `[batch, sequence, n q]`
pub fn multiply(x: Tensor<3>, rule: Tensor<3>, weight: &Matrices, strategy: Strategy) -> Tensor<3> {
    let [batch, sequence, d_input] = x.dims();
    let tokens = batch * sequence;
    let n = rule.dims()[0];
    let output = match (weight, strategy) {
        (Matrices::Factorized(factors), Strategy::FoldRight) => {
            let (left, right) = (factors.left.val(), factors.right.val());
            let ([_, p, r], [_, _, q]) = (left.dims(), right.dims());
            let side_by_side = left.swap_dims(0, 1).reshape([p, n * r]);
            let inner = linear(x.reshape([tokens * n, p]), side_by_side, None);
            let folded = rule.swap_dims(0, 1).reshape([n, n, 1, n, 1]) * right.reshape([1, n, r, 1, q]);
            linear(inner.reshape([tokens, n * n * r]), folded.reshape([n * n * r, n * q]), None)
        }
        (Matrices::Factorized(factors), Strategy::FoldLeft) => {
            let (left, right) = (factors.left.val(), factors.right.val());
            let ([_, p, r], [_, _, q]) = (left.dims(), right.dims());
            let folded =
                rule.permute([1, 2, 0]).reshape([n, 1, n, n, 1]) * left.swap_dims(0, 1).reshape([1, p, 1, n, r]);
            let inner = linear(x.reshape([tokens, d_input]), folded.reshape([n * p, n * n * r]), None);
            linear(inner.reshape([tokens * n, n * r]), right.reshape([n * r, q]), None).reshape([tokens, n * q])
        }
        (weight, _) => linear(x.reshape([tokens, d_input]), dense(rule, weight.product()), None),
    };
    let d_output = output.dims()[1];
    output.reshape([batch, sequence, d_output])
}
