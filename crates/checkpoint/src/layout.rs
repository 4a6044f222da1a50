//! How a file holds a parameter, against how we do.

/// How a file holds a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As we do.
    Same,
    /// A matrix, or each matrix of a stack, transposed: PyTorch keeps `[out, in]`.
    Transposed,
    /// A vector as a matrix of one column.
    Column,
    /// A vector as the diagonal of a matrix.
    Diagonal,
}

impl Layout {
    /// The shape in the file of a parameter that has `shape` with us.
    pub(crate) fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        let rank = shape.len();
        match (self, rank) {
            (Layout::Transposed, 2..) => shape.swap(rank - 1, rank - 2),
            (Layout::Column, 1) => shape.push(1),
            (Layout::Diagonal, 1) => shape.push(shape[0]),
            _ => {}
        }
        shape
    }

    /// Our values of what the file holds in `shape`.
    pub(crate) fn to_ours(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match (self, shape) {
            (Layout::Transposed, &[.., rows, columns]) => transposed(&values, rows, columns),
            (Layout::Diagonal, &[size, _]) => values.into_iter().step_by(size + 1).collect(),
            _ => values,
        }
    }

    /// What the file holds in `shape` for our values.
    pub(crate) fn to_file(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match (self, shape) {
            (Layout::Transposed, &[.., rows, columns]) => transposed(&values, columns, rows),
            (Layout::Diagonal, &[size, _]) => {
                let mut matrix = vec![0.0; size * size];
                for (index, value) in values.into_iter().enumerate() {
                    matrix[index * (size + 1)] = value;
                }
                matrix
            }
            _ => values,
        }
    }
}

/// Each row-major matrix of `[rows, columns]`, transposed.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let size = (rows * columns).max(1);
    let column =
        |matrix: &'_ [f32], column: usize| (0..rows).map(|row| matrix[row * columns + column]).collect::<Vec<_>>();
    values.chunks_exact(size).flat_map(|matrix| (0..columns).flat_map(move |index| column(matrix, index))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_goes_to_the_file_and_back() {
        let cases = [
            (Layout::Same, vec![2, 3], vec![2, 3]),
            (Layout::Transposed, vec![2, 3], vec![3, 2]),
            (Layout::Transposed, vec![2, 3, 4], vec![2, 4, 3]),
            (Layout::Column, vec![3], vec![3, 1]),
            (Layout::Diagonal, vec![3], vec![3, 3]),
        ];
        for (layout, ours, file) in cases {
            assert_eq!(layout.shape(&ours), file);
            let count = ours.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|value| value as f32).collect();
            let there = layout.to_file(values.clone(), &file);
            assert_eq!(there.len(), file.iter().product::<usize>());
            assert_eq!(layout.to_ours(there, &file), values, "{layout:?}");
        }
    }

    #[test]
    fn rows_become_columns() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0], 1, 2), [1.0, 2.0, 3.0, 4.0]);
    }
}
