//! Biases of attention scores by the distance of two positions.

use std::cell::RefCell;

use burn::module::Module;
use burn::nn::Embedding;
use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_model::ScoreShape;

use crate::LoadError;
use crate::plan::RelativePlan;
use crate::weights::Source;

/// A bias for each head and each bucket of distances (Raffel et al., 2020, <https://arxiv.org/abs/1910.10683>): buckets
/// of one distance each up to half their number, and then logarithmically wider ones.
#[derive(Module, Debug)]
pub(crate) struct RelativeBias {
    table: Embedding,
    #[module(skip)]
    buckets: Buckets,
}

#[derive(Debug, Clone, Copy)]
struct Buckets {
    count: usize,
    max_distance: usize,
    both_sides: bool,
}

impl RelativeBias {
    pub(crate) fn build(plan: &RelativePlan, std: f64, source: &mut impl Source) -> Result<Self, LoadError> {
        let RelativePlan { table, max_distance, both_sides } = plan;
        let buckets = Buckets { count: table.shape[0], max_distance: *max_distance, both_sides: *both_sides };
        Ok(Self { table: source.embedding(table.name, table.shape, std)?, buckets })
    }

    /// `[1 or rows, heads, queries, prefixes + keys]`. Prefixes count as the first positions, as if queries began there
    /// too: files of adapters were trained so.
    fn forward(&self, shape: ScoreShape<'_>) -> Tensor<4> {
        let (queries, keys) = (shape.queries, shape.prefixes + shape.keys);
        let rows = if shape.is_ragged() { shape.rows } else { 1 };
        let mut indices = Vec::with_capacity(rows * queries * keys);
        for row in 0..rows {
            let positions: Vec<usize> = (0..shape.keys).map(|key| shape.key_position(row, key)).collect();
            for query in 0..queries {
                let query = shape.query_position(row, query) as i64;
                // Prefixes that are another row's are masked.
                let own = shape.prefixes_of(row);
                let prefixes = (0..shape.prefixes).map(|prefix| (prefix + own).saturating_sub(shape.prefixes));
                let keys = prefixes.chain(positions.iter().map(|key| own + key));
                indices.extend(keys.map(|key| self.buckets.of(key as i64 - query) as i32));
            }
        }
        let device = self.table.weight.lazy_device().without_autodiff();
        let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [rows, queries * keys]), &device);
        let bias = self.table.forward(indices);
        let [_, _, heads] = bias.dims();
        bias.reshape([rows, queries, keys, heads]).permute([0, 3, 1, 2])
    }

    /// The bias for the layers of a pass, computed once for those with scores of the same shape.
    pub(crate) fn shared(&self) -> impl Fn(ScoreShape<'_>) -> Tensor<4> {
        let computed = RefCell::new(None);
        move |shape| {
            // In another layer, the same number of prefixes may be those of other rows.
            let prefixes: Vec<usize> = (0..shape.rows).map(|row| shape.prefixes_of(row)).collect();
            let of = ([shape.queries, shape.keys, shape.prefixes], prefixes);
            let mut computed = computed.borrow_mut();
            match computed.as_ref() {
                Some((known, bias)) if *known == of => Tensor::clone(bias),
                _ => {
                    let bias = self.forward(shape);
                    *computed = Some((of, bias.clone()));
                    bias
                }
            }
        }
    }
}

impl Buckets {
    /// The bucket of a key `distance` positions after a query.
    fn of(self, distance: i64) -> usize {
        let (first, count, distance) = match self.both_sides {
            true if distance > 0 => (self.count / 2, self.count / 2, distance),
            true => (0, self.count / 2, -distance),
            false => (0, self.count, (-distance).max(0)),
        };
        let distance = distance.unsigned_abs() as usize;
        let exact = count / 2;
        if distance < exact {
            return first + distance;
        }
        // In single precision, as the models were trained.
        let (near, far) = (exact as f32, self.max_distance as f32);
        let wider = (distance as f32 / near).ln() / (f64::from(far) / f64::from(near)).ln() as f32;
        let bucket = exact + (wider * (count - exact) as f32) as usize;
        first + bucket.min(count - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_exact_nearby_and_then_logarithmic() {
        let both = Buckets { count: 32, max_distance: 128, both_sides: true };
        let of = |distances: &[i64]| distances.iter().map(|distance| both.of(*distance)).collect::<Vec<_>>();
        assert_eq!(of(&[0, -1, -7, -8, -16, -127, -1000]), [0, 1, 7, 8, 10, 15, 15]);
        assert_eq!(of(&[1, 7, 8, 1000]), [17, 23, 24, 31]);
        let before = Buckets { both_sides: false, ..both };
        assert_eq!([5, 0, -15, -16, -1000].map(|distance| before.of(distance)), [0, 0, 15, 16, 31]);
    }
}
