//! The positions of each sequence that are intervened on.

use burn::tensor::{Bool, Int, Tensor};

/// The first and last non-padding positions of each row of a batch; padding may be on either side. Computed once per
/// pass, used in every layer.
///
/// Let `o` be the first non-padding position and `t` the number of tokens. Then the first positions are `o, o+1, …` and
/// the last ones `…, o+t−2, o+t−1`. If a row has fewer tokens than positions to intervene on, then, as in the
/// reference, padding positions are intervened on too (nothing attends to them). Positions outside the sequence, on
/// which the reference fails, are left out. A position that is among both the first and the last counts as one of the
/// last.
///
/// ```
/// use burn::tensor::{Bool, Device, Tensor};
/// use burn_adapters_reft::Positions;
///
/// let padding = Tensor::<2, Bool>::from_data([[true, false, false, false]], &Device::default());
/// let positions = Positions::new(2, 1, &padding);
/// let [prefix, suffix] = [positions.prefix, positions.suffix].map(|end| end.unwrap().indices.into_data());
/// assert_eq!(prefix.iter::<i64>().collect::<Vec<_>>(), [1, 2]);
/// assert_eq!(suffix.iter::<i64>().collect::<Vec<_>>(), [3]);
/// ```
#[derive(Debug, Clone)]
pub struct Positions {
    /// The first positions; `None` if there are none.
    pub prefix: Option<End>,
    /// The last positions; `None` if there are none.
    pub suffix: Option<End>,
}

/// The positions at one end of the sequences.
#[derive(Debug, Clone)]
pub struct End {
    /// Positions, clamped to the sequence: `[batch, positions]`.
    pub indices: Tensor<2, Int>,
    /// 1 where a position is intervened on, 0 where it is left out: `[batch, positions, 1]`.
    pub keep: Tensor<3>,
}

impl Positions {
    /// The first `prefix` and the last `suffix` positions of each row.
    ///
    /// # Shapes
    /// - padding: true where a position is padding, `[batch, sequence]`
    pub fn new(prefix: usize, suffix: usize, padding: &Tensor<2, Bool>) -> Self {
        let device = padding.device();
        let [batch, sequence] = padding.dims();
        let length = sequence as i64;
        let range = |from: i64, to: i64| {
            let range = Tensor::<1, Int>::arange(from..to, &device).unsqueeze::<2>();
            range.expand([batch, (to - from) as usize])
        };
        let (prefix, suffix) = (prefix.min(sequence), suffix.min(sequence));
        if prefix + suffix == 0 {
            return Self { prefix: None, suffix: None };
        }
        let tokens = padding.clone().bool_not().int().sum_dim(1);
        let offset = range(0, length).mask_fill(padding.clone(), length).min_dim(1);
        let first = (prefix > 0).then(|| offset.clone() + range(0, prefix as i64));
        let last = (suffix > 0).then(|| offset + tokens + range(-(suffix as i64), 0));
        let shared = first.clone().zip(last.clone()).map(|(first, last)| {
            let [first, last] = [
                first.reshape([batch, prefix, 1]).expand([batch, prefix, suffix]),
                last.reshape([batch, 1, suffix]).expand([batch, prefix, suffix]),
            ];
            first.equal(last).int().sum_dim(2).greater_elem(0)
        });
        Self {
            prefix: first.map(|positions| End::new(positions, length, shared)),
            suffix: last.map(|positions| End::new(positions, length, None)),
        }
    }
}

impl End {
    /// `left_out`: `[batch, positions, 1]`.
    fn new(positions: Tensor<2, Int>, length: i64, left_out: Option<Tensor<3, Bool>>) -> Self {
        let [batch, count] = positions.dims();
        let outside = positions.clone().lower_elem(0).bool_or(positions.clone().greater_equal_elem(length));
        let keep = outside.bool_not().float().reshape([batch, count, 1]);
        Self {
            indices: positions.clamp(0, length - 1),
            keep: match left_out {
                Some(left_out) => keep.mask_fill(left_out, 0.0),
                None => keep,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn kept(end: &End) -> Vec<Vec<i64>> {
        let [_, count] = end.indices.dims();
        let indices: Vec<i64> = end.indices.clone().into_data().iter().collect();
        let keep: Vec<f32> = end.keep.clone().into_data().iter().collect();
        indices
            .chunks(count)
            .zip(keep.chunks(count))
            .map(|(indices, keep)| indices.iter().zip(keep).filter(|(_, k)| **k > 0.0).map(|(i, _)| *i).collect())
            .collect()
    }

    fn positions(prefix: usize, suffix: usize, padding: [[bool; 5]; 3]) -> [Vec<Vec<i64>>; 2] {
        let padding = Tensor::from_data(padding, &Device::default());
        let positions = Positions::new(prefix, suffix, &padding);
        [positions.prefix, positions.suffix].map(|end| end.as_ref().map(kept).unwrap_or_default())
    }

    const T: bool = true;
    const F: bool = false;

    #[test]
    fn padding_on_either_side_is_stepped_over() {
        let found = positions(2, 1, [[F, F, F, F, F], [F, F, F, T, T], [T, T, F, F, F]]);
        assert_eq!(found[0], [[0, 1], [0, 1], [2, 3]]);
        assert_eq!(found[1], [[4], [2], [4]]);
    }

    #[test]
    fn positions_outside_of_the_sequence_are_left_out() {
        let found = positions(3, 3, [[T, T, T, F, F], [F, F, T, T, T], [F, F, F, F, F]]);
        // Row 0: first 3, 4 (and 5), last 2, 3, 4. Row 1: last -1, 0, 1. Shared positions count as last ones.
        assert_eq!(found[0], [vec![], vec![2], vec![0, 1]]);
        assert_eq!(found[1], [vec![2, 3, 4], vec![0, 1], vec![2, 3, 4]]);
    }

    #[test]
    fn one_end_alone_and_more_positions_than_the_sequence_has() {
        let found = positions(9, 0, [[F; 5], [F, T, T, T, T], [F; 5]]);
        assert_eq!(found[0], [[0, 1, 2, 3, 4]; 3]);
        assert!(found[1].is_empty());
    }
}
