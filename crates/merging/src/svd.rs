//! The matrix of a given rank nearest to a weighted sum of LoRA updates.
//!
//! `ΔW = Σ wᵢ Bᵢ Aᵢ` is as large as the model's matrix, but its rank is at most `n = Σ rᵢ`. With the factors side by
//! side, `L = [w₁B₁ w₂B₂ …]` and `R = [A₁ᵀ A₂ᵀ …]`, `ΔW = L Rᵀ`. The decompositions `L = Q S` and `R = P T` give
//! `ΔW = Q (S Tᵀ) Pᵀ`, and only the small matrix `S Tᵀ = U Σ Vᵀ` needs a singular value decomposition:
//! `B = Q U Σ` and `A = (P V)ᵀ`.

use burn_adapters_checkpoint::RawTensor;
use nalgebra::{DMatrix, SVD};

/// One update: `B: [rows, r]` and `A: [r, columns]`.
pub(crate) struct Update<'a> {
    pub(crate) weight: f64,
    pub(crate) b: &'a RawTensor,
    pub(crate) a: &'a RawTensor,
    pub(crate) rank: usize,
}

/// `B: [rows, rank]` and `A: [rank, columns]` of the nearest matrix to the sum, the rows of `A` orthonormal; none if
/// the decomposition fails. The rank is at most the smaller of rows and columns.
pub(crate) fn nearest(updates: &[Update], [rows, columns]: [usize; 2], rank: usize) -> Option<(RawTensor, RawTensor)> {
    // At least as wide as the new rank: further columns of zeros still give orthonormal columns of Q and P.
    let width = updates.iter().map(|update| update.rank).sum::<usize>().max(rank);
    let mut left = DMatrix::<f64>::zeros(rows, width);
    let mut right = DMatrix::<f64>::zeros(columns, width);
    let mut start = 0;
    for Update { weight, b, a, rank } in updates {
        for at in 0..*rank {
            for row in 0..rows {
                left[(row, start + at)] = weight * f64::from(b.values[row * rank + at]);
            }
            for column in 0..columns {
                right[(column, start + at)] = f64::from(a.values[at * columns + column]);
            }
        }
        start += rank;
    }
    let (q, s) = left.qr().unpack();
    let (p, t) = right.qr().unpack();
    let core = SVD::try_new(s * t.transpose(), true, true, f64::EPSILON, MAX_ITERATIONS)?;
    let (u, v_t) = (core.u?, core.v_t?);
    let b = (q * u.columns(0, rank)) * DMatrix::from_diagonal(&core.singular_values.rows(0, rank).into_owned());
    let a = v_t.rows(0, rank) * p.transpose();
    Some((raw(&b), raw(&a)))
}

/// Far more iterations than any matrix of finite values takes.
const MAX_ITERATIONS: usize = 100_000;

fn raw(matrix: &DMatrix<f64>) -> RawTensor {
    let (rows, columns) = matrix.shape();
    // The matrix is stored column by column.
    let values = (0..rows).flat_map(|row| (0..columns).map(move |column| matrix[(row, column)] as f32));
    RawTensor { shape: vec![rows, columns], values: values.collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tensor(shape: [usize; 2], values: &[f32]) -> RawTensor {
        RawTensor { shape: shape.to_vec(), values: values[..shape[0] * shape[1]].to_vec() }
    }

    fn product(b: &RawTensor, a: &RawTensor) -> DMatrix<f64> {
        let matrix = |tensor: &RawTensor| {
            let values: Vec<f64> = tensor.values.iter().map(|value| f64::from(*value)).collect();
            DMatrix::from_row_slice(tensor.shape[0], tensor.shape[1], &values)
        };
        matrix(b) * matrix(a)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_full_rank_gives_the_sum_back(
            values in prop::collection::vec(-2.0f32..2.0, 200),
            (rows, columns) in (1usize..8, 1usize..8),
            (r1, r2) in (1usize..5, 1usize..5),
            weight in -2.0f64..2.0,
            same in any::<bool>(),
        ) {
            let b1 = tensor([rows, r1], &values);
            let a1 = tensor([r1, columns], &values[40..]);
            // Twice the same update makes the factors singular.
            let (b2, a2, r2) = if same { (b1.clone(), a1.clone(), r1) } else {
                (tensor([rows, r2], &values[80..]), tensor([r2, columns], &values[120..]), r2)
            };
            let updates = [
                Update { weight: 1.0, b: &b1, a: &a1, rank: r1 },
                Update { weight, b: &b2, a: &a2, rank: r2 },
            ];
            let sum = product(&b1, &a1) + product(&b2, &a2) * weight;
            let full = rows.min(columns);
            let (b, a) = nearest(&updates, [rows, columns], full).unwrap();
            prop_assert_eq!((&b.shape, &a.shape), (&vec![rows, full], &vec![full, columns]));
            prop_assert!((product(&b, &a) - &sum).amax() < 1e-5 * (1.0 + sum.amax()));
            let transposed = (0..columns).flat_map(|column| a.values.iter().skip(column).step_by(columns).copied());
            let transposed = RawTensor { shape: vec![columns, full], values: transposed.collect() };
            let gram = product(&a, &transposed);
            prop_assert!((gram - DMatrix::identity(full, full)).amax() < 1e-5);
            // A lower rank leaves what the theorem of Eckart and Young says.
            let (b, a) = nearest(&updates, [rows, columns], 1).unwrap();
            let rest = (product(&b, &a) - &sum).norm();
            let expected = sum.clone().singular_values().iter().skip(1).map(|s| s * s).sum::<f64>().sqrt();
            prop_assert!((rest - expected).abs() < 1e-4 * (1.0 + sum.norm()));
        }
    }

    #[test]
    fn updates_of_zero_give_zero() {
        let zero = RawTensor { shape: vec![3, 2], values: vec![0.0; 6] };
        let a = RawTensor { shape: vec![2, 3], values: vec![0.0; 6] };
        let updates = [Update { weight: 1.0, b: &zero, a: &a, rank: 2 }];
        let (b, _) = nearest(&updates, [3, 3], 3).unwrap();
        assert_eq!(b.values, vec![0.0; 9]);
    }
}
