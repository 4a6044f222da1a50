//! Loops over f32 slices, compiled for the widest vectors that the processor has.

#[cfg(target_arch = "x86_64")]
mod amx;
pub(crate) mod bfloat;
pub(crate) mod dense;
pub(crate) mod math;
pub(crate) mod product;
#[cfg(target_arch = "x86_64")]
mod product_bf16;
pub(crate) mod quantized;
pub(crate) mod random;
#[cfg(target_arch = "x86_64")]
mod rounded;

use std::mem::MaybeUninit;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Elements per piece of work. It does not depend on the number of threads, so neither do the sums.
const PIECE: usize = 16_384;

/// Rows of this width per piece of work.
pub(crate) fn rows_in_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// Elements per piece of work that consists of whole rows of this width.
pub(crate) fn piece(width: usize) -> usize {
    rows_in_piece(width) * width.max(1)
}

/// Allocates `len` elements, which `write` initializes: they are not zeroed first.
///
/// # Safety
/// `write` must initialize every element.
pub(crate) unsafe fn written<T>(len: usize, write: impl FnOnce(&mut [MaybeUninit<T>])) -> Vec<T> {
    let mut numbers = Vec::with_capacity(len);
    write(&mut numbers.spare_capacity_mut()[..len]);
    // SAFETY: `len` elements were allocated, and the caller promises that each was initialized.
    unsafe { numbers.set_len(len) };
    numbers
}

/// An output of which each thread writes a part of its own.
pub(crate) struct Output(pub(crate) *mut f32);

// SAFETY: those who write through it promise that no two threads write the same elements.
unsafe impl Sync for Output {}

/// The operation on a piece. Mark the method and everything that it calls `#[inline(always)]`: code that is not inlined
/// is compiled for the baseline processor. (Closures cannot be marked.)
pub(crate) trait Work<T>: Sync {
    /// The result of a piece.
    type Result: Send;

    /// Processes one piece.
    fn work<S: pulp::Simd>(&self, simd: S, piece: T) -> Self::Result;
}

/// Processes the pieces on all threads, with vector instructions, and returns their results in order.
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

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    #[test]
    fn the_vectors_of_the_processor_are_used() {
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            assert!(
                !matches!(pulp::Arch::new(), pulp::Arch::Scalar),
                "loops are compiled for the baseline processor alone"
            );
        }
    }
}
