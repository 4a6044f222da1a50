//! Disentangled attention (He et al., 2021, <https://arxiv.org/abs/2006.03654>).
//!
//! Beside their contents, queries and keys of a pair of positions are compared with an embedding of the positions'
//! distance, from a table that all layers share:
//!
//! ```text
//! score(i, j) = (qᵢ·kⱼ + qᵢ·Pk[i − j] + kⱼ·Pq[i − j]) / √(head · terms)
//! ```
//!
//! `Pk` and `Pq` are projections of the table, in some models by the matrices of keys and queries themselves.

use burn::module::Module;
use burn::nn::{Embedding, Linear};
use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_core::{Norm, Place, project};
use burn_adapters_model::{LayerPass, ScoreShape};

use super::Normalization;
use super::attention::MultiHeadAttention;
use crate::LoadError;
use crate::plan::{DistancesPlan, PositionsPlan, ProjectionPlan};
use crate::weights::Source;

/// The table of embeddings of distances.
#[derive(Module, Debug)]
pub(crate) struct DistanceTable {
    table: Embedding,
    norm: Option<Normalization>,
    dropout: f64,
    #[module(skip)]
    buckets: Buckets,
}

/// How distances are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Buckets {
    /// The number of buckets on each side.
    span: usize,
    /// The number of positions that logarithmic buckets cover; without it each distance has a bucket of its own.
    logarithmic: Option<usize>,
}

/// The table of a pass.
pub(crate) struct Distances<'t> {
    /// `[1, buckets, hidden]`.
    table: Tensor<3>,
    of: &'t DistanceTable,
}

impl DistanceTable {
    pub(crate) fn build(plan: &DistancesPlan, std: f64, source: &mut impl Source) -> Result<Self, LoadError> {
        Ok(Self {
            table: source.embedding(plan.table.name, plan.table.shape, std)?,
            norm: plan.norm.as_ref().map(|norm| Normalization::build(norm, "", source)).transpose()?,
            dropout: plan.dropout,
            buckets: Buckets { span: plan.table.shape[0] / 2, logarithmic: plan.logarithmic },
        })
    }

    /// The table, computed once for all layers of a pass.
    pub(crate) fn shared(&self) -> Distances<'_> {
        let table = self.table.weight.val().unsqueeze();
        let table = match &self.norm {
            Some(norm) => norm.norm(table),
            None => table,
        };
        Distances { table, of: self }
    }
}

impl Buckets {
    /// The row of the table for a key `distance` positions before a query.
    fn of(self, distance: i64) -> usize {
        let bucket = match self.logarithmic {
            Some(positions) => logarithmic(distance, self.span, positions),
            None => distance,
        };
        let span = self.span as i64;
        (bucket + span).clamp(0, (2 * span - 1).max(0)) as usize
    }
}

/// Buckets of one distance each up to half the span, and logarithmically wider ones after that.
fn logarithmic(distance: i64, span: usize, positions: usize) -> i64 {
    let near = (span / 2) as i64;
    if near == 0 || distance.abs() <= near {
        return distance;
    }
    // In single precision, as the models were trained.
    let ratio = distance.unsigned_abs() as f32 / near as f32;
    let widest = (positions.saturating_sub(1) as f64 / near as f64) as f32;
    let bucket = (ratio.ln() / widest.ln() * (near - 1) as f32).ceil() as i64 + near;
    bucket * distance.signum()
}

/// The comparisons of a layer's queries and keys with distances.
#[derive(Module, Debug)]
pub(crate) struct Positions {
    /// The projection of the table that queries are compared with, if it is not that of keys.
    own_key: Option<Linear>,
    /// The projection of the table that keys are compared with, if it is not that of queries.
    own_query: Option<Linear>,
    compares_queries: bool,
    compares_keys: bool,
    heads: usize,
    scale: f64,
}

impl Positions {
    /// `scale` is the factor on all scores.
    pub(crate) fn build(
        plan: &PositionsPlan,
        (heads, scale): (usize, f64),
        scope: &str,
        std: f64,
        source: &mut impl Source,
    ) -> Result<Self, LoadError> {
        let mut own = |plan: &Option<ProjectionPlan>| match plan {
            Some(ProjectionPlan::Own(plan)) => source.linear(plan, scope, std).map(Some),
            Some(ProjectionPlan::Shared) | None => Ok(None),
        };
        Ok(Self {
            own_key: own(&plan.keys)?,
            own_query: own(&plan.queries)?,
            compares_queries: plan.keys.is_some(),
            compares_keys: plan.queries.is_some(),
            heads,
            scale,
        })
    }

    /// The bias on the scores of these queries and keys, `[rows, heads, queries, keys]`.
    ///
    /// # Shapes
    /// - query, key: as [`LayerPass::biased_attention`] takes them
    pub(crate) fn bias(
        &self,
        layer: &LayerPass<'_>,
        attention: &MultiHeadAttention,
        distances: &Distances<'_>,
        [query, key]: [Tensor<3>; 2],
        shape: ScoreShape<'_>,
    ) -> Tensor<4> {
        let (query, key) = (self.split(layer.padded(query)), self.split(layer.padded(key)));
        let [rows, ..] = key.dims();
        let (queries, keys) = (shape.queries as i64, shape.keys as i64);
        let (first, last) = if layer.is_positionwise() {
            // Rows of no pair of positions are left out.
            (distances.of.buckets.of(1 - keys), distances.of.buckets.of(queries - 1))
        } else {
            (0, distances.table.dims()[1] - 1)
        };
        let table = distances.table.clone().narrow(1, first, last + 1 - first);
        let table = layer.dropout(distances.of.dropout, table);
        let rows_of = |of: &mut dyn Iterator<Item = i64>| -> Vec<i32> {
            of.map(|distance| (distances.of.buckets.of(distance) - first) as i32).collect()
        };
        let projected = |own: Option<&Linear>, place, shared| match own {
            Some(own) => project(own, table.clone()),
            None => layer.shared_linear(place, shared, table.clone(), rows),
        };
        let of_queries = self.compares_queries.then(|| {
            let positions = projected(self.own_key.as_ref(), Place::Key, &attention.key);
            // From the greatest distance on: the columns of a query are those of the next one, moved by one.
            let order = rows_of(&mut (1 - keys..queries).rev());
            let scores = query.matmul(self.ordered(positions, order).swap_dims(2, 3));
            diagonals(scores, shape.keys)
        });
        let of_keys = self.compares_keys.then(|| {
            let positions = projected(self.own_query.as_ref(), Place::Query, &attention.query);
            let order = rows_of(&mut (1 - keys..queries));
            let scores = key.matmul(self.ordered(positions, order).swap_dims(2, 3));
            diagonals(scores, shape.queries).swap_dims(2, 3)
        });
        let sum = [of_queries, of_keys].into_iter().flatten().reduce(|sum, next| sum + next);
        match sum {
            Some(sum) => sum * self.scale,
            None => Tensor::zeros([1, self.heads, shape.queries, shape.keys], &distances.table.device()),
        }
    }

    /// `[rows, positions, heads · head]` to `[rows, heads, positions, head]`.
    fn split(&self, x: Tensor<3>) -> Tensor<4> {
        let [rows, positions, width] = x.dims();
        x.reshape([rows, positions, self.heads, width / self.heads.max(1)]).swap_dims(1, 2)
    }

    /// The projected rows of the table, one for each distance in this order: `[1 or rows, heads, distances, head]`.
    fn ordered(&self, positions: Tensor<3>, order: Vec<i32>) -> Tensor<4> {
        let device = positions.device().without_autodiff();
        let count = order.len();
        let order = Tensor::<1, Int>::from_data(TensorData::new(order, [count]), &device);
        self.split(positions.select(1, order))
    }
}

/// Row `i` of the result is row `i` of `x` from column `rows − 1 − i` on.
///
/// # Shapes
/// - x: `[batch, heads, rows, rows − 1 + columns]`
/// - output: `[batch, heads, rows, columns]`
fn diagonals(x: Tensor<4>, columns: usize) -> Tensor<4> {
    let [batch, heads, rows, width] = x.dims();
    // With one more column, a row of the flat tensor begins one column later than the row before.
    let column = Tensor::zeros([batch, heads, rows, 1], &x.device());
    let flat = Tensor::cat(vec![x, column], 3).reshape([batch, heads, rows * (width + 1)]);
    flat.narrow(2, rows - 1, rows * width).reshape([batch, heads, rows, width]).narrow(3, 0, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_exact_nearby_and_then_logarithmic() {
        let buckets = Buckets { span: 256, logarithmic: Some(512) };
        let of = |distances: &[i64]| distances.iter().map(|one| buckets.of(*one) as i64 - 256).collect::<Vec<_>>();
        assert_eq!(of(&[0, 1, -1, 127, 128, -128]), [0, 1, -1, 127, 128, -128]);
        assert_eq!(of(&[129, 130, 200, 300, 511, -511, 1000]), [129, 130, 169, 207, 255, -255, 255]);
        // Of all distances, as the reference numbers them.
        let sum = |span, positions: i64| {
            let buckets = Buckets { span, logarithmic: Some(positions as usize) };
            (0..2 * positions).map(|index| index * buckets.of(index - positions) as i64).sum::<i64>()
        };
        assert_eq!([sum(256, 512), sum(32, 64), sum(64, 512)], [189_001_082, 365_196, 48_665_116]);
        let exact = Buckets { span: 4, logarithmic: None };
        assert_eq!([0, 3, 9, -4, -9].map(|distance| exact.of(distance)), [4, 7, 7, 0, 0]);
    }

    #[test]
    fn diagonals_begin_one_column_earlier_in_each_row() {
        let x = Tensor::<1, Int>::arange(0..12, &Default::default()).float().reshape([1, 1, 3, 4]);
        let found = diagonals(x, 2).into_data();
        assert_eq!(found, TensorData::new(vec![2.0f32, 3.0, 5.0, 6.0, 8.0, 9.0], [1, 1, 3, 2]));
    }
}
