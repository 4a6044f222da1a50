//! The layout of a parameter in a file, compared with ours.

/// The layout of a parameter in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The same as ours.
    Same,
    /// A matrix, or each matrix of a stack, transposed: PyTorch keeps `[out, in]`.
    Transposed,
    /// A vector as a matrix of one column.
    Column,
    /// A vector as the diagonal of a matrix.
    Diagonal,
}

impl Layout {
    /// The shape in the file of a parameter whose shape here is `shape`.
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

    /// Our values of a parameter that has `shape` in the file.
    pub(crate) fn to_ours(self, values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match (self, shape) {
            (Layout::Transposed, &[.., rows, columns]) => transposed(&values, rows, columns),
            (Layout::Diagonal, &[size, _]) => {
                let mut diagonal = Vec::with_capacity(size);
                diagonal.extend(values.iter().step_by(size + 1));
                diagonal
            }
            _ => values,
        }
    }

    /// The file's values of a parameter that has `shape` in the file.
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

/// A parameter's rows in a tensor that stacks parameters of the same shape: those of a module that computes several
/// matrices at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The parameter's position, from 0.
    pub(crate) index: usize,
    /// The number of parameters, at least 1.
    pub(crate) count: usize,
}

impl Rows {
    /// A tensor of its own.
    pub(crate) const ALL: Rows = Rows { index: 0, count: 1 };

    /// The shape of the tensor that holds a parameter of `shape`.
    pub(crate) fn shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let Some(rows) = shape.first_mut() {
            *rows = rows.saturating_mul(self.count);
        }
        shape
    }

    /// The shape of a parameter that a tensor of `shape` holds.
    pub(crate) fn part_shape(self, shape: &[usize]) -> Vec<usize> {
        let mut shape = shape.to_vec();
        if let Some(rows) = shape.first_mut() {
            *rows /= self.count;
        }
        shape
    }

    /// The parameter's values among the tensor's.
    pub(crate) fn of(self, tensor: &[f32]) -> &[f32] {
        let size = tensor.len() / self.count;
        &tensor[self.index * size..(self.index + 1) * size]
    }

    /// Puts the parameter's values among the tensor's.
    pub(crate) fn put(self, values: &[f32], tensor: &mut [f32]) {
        let start = self.index * values.len();
        tensor[start..start + values.len()].copy_from_slice(values);
    }
}

/// Each row-major matrix of `[rows, columns]`, transposed.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let size = (rows * columns).max(1);
    // A vector that grows has room for up to twice the values, and a parameter keeps that room.
    let mut transposed = Vec::with_capacity(values.len());
    for matrix in values.chunks_exact(size) {
        for column in 0..columns {
            transposed.extend((0..rows).map(|row| matrix[row * columns + column]));
        }
    }
    transposed
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
            let back = layout.to_ours(there, &file);
            assert_eq!(back, values, "{layout:?}");
            assert_eq!(back.capacity(), count, "{layout:?} keeps memory that it does not need");
        }
    }

    #[test]
    fn parameters_one_below_the_other_are_rows_of_one_tensor() {
        let mut tensor = vec![0.0; 12];
        for index in 0..3 {
            let rows = Rows { index, count: 3 };
            assert_eq!((rows.shape(&[2, 2]), rows.part_shape(&[6, 2])), (vec![6, 2], vec![2, 2]));
            let values: Vec<f32> = (0..4).map(|value| (10 * index + value) as f32).collect();
            rows.put(&values, &mut tensor);
            assert_eq!(rows.of(&tensor), values);
        }
        assert_eq!(tensor[3..9], [3.0, 10.0, 11.0, 12.0, 13.0, 20.0]);
        assert_eq!(Rows::ALL.shape(&[]), Vec::<usize>::new());
    }

    #[test]
    fn rows_become_columns() {
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(transposed(&[1.0, 2.0, 3.0, 4.0], 1, 2), [1.0, 2.0, 3.0, 4.0]);
    }
}
