//! Loops over f32 slices, compiled for the widest vectors that the processor has.

pub(crate) mod bfloat;
pub(crate) mod dense;
pub(crate) mod math;
pub(crate) mod product;
pub(crate) mod random;

use std::mem::MaybeUninit;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Numbers in one piece of work. It doesn't depend on the number of threads: nor do the sums.
const PIECE: usize = 16_384;

/// Rows of this width in one piece of work.
pub(crate) fn rows_in_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// Numbers in one piece of work that is whole rows of this width.
pub(crate) fn piece(width: usize) -> usize {
    rows_in_piece(width) * width.max(1)
}

/// `len` numbers that `write` writes: none is set to zero before.
///
/// # Safety
/// `write` must write every one.
pub(crate) unsafe fn written<T>(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut numbers = Vec::with_capacity(len);
    write(&mut numbers.spare_capacity_mut()[..len]);
    // SAFETY: as many were allocated, and the caller promises that each was written.
    unsafe { numbers.set_len(len) };
    numbers
}

/// What is done to a piece. Implement it with `#[inline(always)]` on the method and all that it calls: what is not inlined is
/// compiled for the least processor. (Closures can't ask for it.)
pub(crate) trait Work<T>: Sync {
    /// What comes of a piece.
    type Result: Send;

    /// Does one piece.
    fn work<S: pulp::Simd>(&self, simd: S, piece: T) -> Self::Result;
}

/// Does the pieces on all threads, with vector instructions, and gives their results in order.
pub(crate) fn run<T: Send, W: Work<T>>(pieces: Vec<T>, work: &W) -> Vec<W::Result> {
    let arch = pulp::Arch::new();
    if pieces.len() < 2 {
        return pieces.into_iter().map(|piece| arch.dispatch(Vectorized(work, piece))).collect();
    }
    pieces.into_par_iter().map(|piece| arch.dispatch(Vectorized(work, piece))).collect()
}

struct Vectorized<'a, W, T>(&'a W, T);

impl<T, W: Work<T>> pulp::WithSimd for Vectorized<'_, W, T> {
    type Output = W::Result;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> W::Result {
        self.0.work(simd, self.1)
    }
}
