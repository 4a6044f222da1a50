//! Gathering rows of a tensor.

use burn::tensor::{Int, Tensor, TensorData};

/// The rows to gather, each at most once, with rows of zeros between them where needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// For each row of the result, its row in the source.
    from: Vec<Option<u32>>,
    /// For each row of the source, its row in the result.
    to: Vec<Option<u32>>,
}

impl Rows {
    /// For each row of the result, the row of the source (of `count`) that it is copied from; `None` is a row of zeros.
    ///
    /// Returns `None` if a row is taken twice or does not exist.
    pub fn new(from: impl IntoIterator<Item = Option<usize>>, count: usize) -> Option<Self> {
        let mut to = vec![None; count];
        let mut rows = Vec::new();
        for (place, row) in from.into_iter().enumerate() {
            if let Some(row) = row {
                let taken = to.get_mut(row)?.replace(u32::try_from(place).ok()?);
                if taken.is_some() {
                    return None;
                }
            }
            rows.push(row.map(u32::try_from).transpose().ok()?);
        }
        Some(Self { from: rows, to })
    }

    /// The rows that restore the original order.
    pub fn inverse(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }

    /// The number of rows of the result.
    pub fn len(&self) -> usize {
        self.from.len()
    }

    /// Whether the result has no rows.
    pub fn is_empty(&self) -> bool {
        self.from.is_empty()
    }
}

/// Gathers rows of a matrix: in another order, without some of them, or with rows of zeros between them.
///
/// # Shapes
/// - x: `[rows of the source, width]`
/// - output: `[rows.len(), width]`
///
/// # Panics
/// If `x` does not have the source's number of rows.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use burn_adapters_ops::{Rows, take_rows};
///
/// let x = Tensor::<2>::from_data([[1.0], [2.0], [3.0]], &Device::default());
/// let rows = Rows::new([Some(2), None, Some(0)], 3).expect("each at most once");
/// assert_eq!(take_rows(x, &rows).into_data().iter::<f32>().collect::<Vec<_>>(), [3.0, 0.0, 1.0]);
/// ```
pub fn take_rows(x: Tensor<2>, rows: &Rows) -> Tensor<2> {
    let [count, _] = x.dims();
    assert!(count == rows.to.len(), "expected {} rows, found {count}", rows.to.len());
    #[cfg(feature = "flex")]
    if let Some(operand) = crate::flex::Operand::new(&x) {
        drop(x);
        return own::take(operand, rows);
    }
    let device = x.device();
    let indices = |index: fn(&Option<u32>) -> i32| {
        let numbers: Vec<i32> = rows.from.iter().map(index).collect();
        Tensor::<1, Int>::from_data(TensorData::new(numbers, [rows.len()]), &device.clone().without_autodiff())
    };
    if rows.is_empty() || count == 0 {
        let [_, width] = x.dims();
        return Tensor::<2>::zeros([rows.len(), width], &device).cast(x.dtype());
    }
    let taken = x.select(0, indices(|row| row.unwrap_or(0) as i32));
    if rows.from.iter().all(Option::is_some) {
        return taken;
    }
    let missing = indices(|row| i32::from(row.is_none())).equal_elem(1).unsqueeze_dim::<2>(1);
    let [_, width] = taken.dims();
    taken.mask_fill(missing.expand([rows.len(), width]), 0.0)
}

#[cfg(feature = "flex")]
mod own {
    use std::mem::MaybeUninit;

    use burn::backend::Flex;
    use burn::backend::autodiff::checkpoint::base::Checkpointer;
    use burn::backend::autodiff::grads::Gradients;
    use burn::backend::autodiff::ops::{Backward, Ops};
    use burn::tensor::{Shape, Tensor};

    use super::Rows;
    use crate::flex::{Operand, Raw, contiguous, record, register, shape, tensor, values};
    use crate::kernel::{Work, piece, rows_in_piece, run, written};

    #[derive(Debug)]
    struct Take;

    impl Backward<Flex, 1> for Take {
        type State = Rows;

        fn backward(self, ops: Ops<Rows, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
            let [x] = ops.parents;
            let gradient = gradients.consume::<Flex>(&ops.node);
            register(gradients, x.map(|node| node.id), taken(gradient, &ops.state.to));
        }
    }

    pub(super) fn take(x: Operand, rows: &Rows) -> Tensor<2> {
        record([x], Take, |[x], [keeps]| (taken(x, &rows.from), keeps.then(|| rows.clone())))
    }

    fn taken(x: Raw, from: &[Option<u32>]) -> Raw {
        let x = contiguous(x);
        let width = shape(&x).last().copied().unwrap_or(0);
        let write = |output: &mut [MaybeUninit<f32>]| {
            if width > 0 {
                let pieces = output.chunks_mut(piece(width)).zip(from.chunks(rows_in_piece(width)));
                run(pieces.collect(), &Copy { x: values(&x), width });
            }
        };
        // SAFETY: the output has a row for each one gathered, and each row is copied or filled.
        let output = unsafe { written(from.len() * width, write) };
        tensor(output, Shape::new([from.len(), width]))
    }

    struct Copy<'a> {
        x: &'a [f32],
        width: usize,
    }

    impl Work<(&mut [MaybeUninit<f32>], &[Option<u32>])> for Copy<'_> {
        type Result = ();

        #[inline(always)]
        fn work<S: pulp::Simd>(&self, _: S, (output, from): (&mut [MaybeUninit<f32>], &[Option<u32>])) {
            for (output, from) in output.chunks_exact_mut(self.width).zip(from) {
                match from {
                    Some(row) => {
                        output.write_copy_of_slice(&self.x[*row as usize * self.width..][..self.width]);
                    }
                    None => {
                        output.fill(MaybeUninit::new(0.0));
                    }
                }
            }
        }
    }
}
