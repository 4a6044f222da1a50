//! Products with Intel's matrix instructions (AMX), which multiply bf16 and sum in f32.
//!
//! A tile register holds 16 rows of 64 bytes. One instruction multiplies 16 rows of 16 pairs by 16 pairs of 16 columns and
//! adds the 256 sums to a third tile. The rows are rounded to bf16; the weight is packed as tiles, a group of columns at a
//! time, just before it is used.

mod pack;

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::LazyLock;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use pack::pack;

use super::dense::Strided;
use super::rounded::{Rounded, has_bf16};
use super::{Output, written};

/// Rows, pairs or columns of a tile.
const SIDE: usize = 16;
/// The elements of a tile along the sum.
const DEPTH: usize = 2 * SIDE;
/// Rows and columns of the block of the result that is kept in tile registers: two tiles each.
const BLOCK: usize = 2 * SIDE;
/// The pairs of a tile.
const TILE: usize = SIDE * SIDE;
/// The most blocks of columns that are packed at a time.
const BLOCKS: usize = 4;
/// The most tiles along the sum that are packed at a time; with the columns, a quarter of the L2 cache of the processors that
/// have the instructions.
const DEEP: usize = 64;
/// The most bytes of rounded rows that are multiplied by all columns, one group after the other: half of the L2 cache.
const ROWS_IN_CACHE: usize = 1 << 20;

/// A tile of the weight: sixteen pairs of sixteen columns.
type Tile = [u32; TILE];

/// Whether the processor has the instructions, and the system lets this process use them.
pub(crate) fn is_there() -> bool {
    static IS_THERE: LazyLock<bool> = LazyLock::new(|| has_bf16() && has_tiles() && may_use_tiles());
    *IS_THERE
}

/// Whether the processor has tiles (leaf 7, EDX bit 24) and multiplies bf16 in them (bit 22).
fn has_tiles() -> bool {
    const BITS: u32 = 1 << 24 | 1 << 22;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & BITS == BITS
}

/// Asks Linux for the registers of tiles, which make the state of a thread 8 KiB larger.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn may_use_tiles() -> bool {
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers, and changes only what this process may use.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn may_use_tiles() -> bool {
    false
}

thread_local! {
    /// The packed part of a weight.
    static SCRATCH: RefCell<Vec<Tile>> = const { RefCell::new(Vec::new()) };
}

/// `x · weight + bias`, giving `[rows, weight.columns]`.
///
/// # Panics
/// If the instructions are not there, there are no rows, the weight exceeds its slice, or the bias has another width.
pub(crate) fn product(x: &[f32], weight: Strided<'_, u16>, bias: Option<&[f32]>) -> Vec<f32> {
    assert!(is_there(), "no instructions for tiles");
    assert!(weight.is_inside(), "the weight exceeds its slice");
    assert!(bias.is_none_or(|bias| bias.len() == weight.columns), "expected a bias of one element per column");
    let left = Rounded::new(x, weight.rows, BLOCK);
    let write = |output: &mut [MaybeUninit<f32>]| {
        let whole = Whole { left: &left, weight, bias, output: Output(output.as_mut_ptr().cast()) };
        let row = left.stride().min(DEEP * SIDE) * size_of::<u32>();
        let high = (ROWS_IN_CACHE / row / BLOCK).max(1) * BLOCK;
        // All columns of rows that fit into the cache, then the next ones.
        for first in (0..left.rows()).step_by(high) {
            let rows = first..(first + high).min(left.rows());
            // SAFETY: the instructions are there, and no two pieces share a column of these rows.
            let compute = |columns| unsafe { whole.piece(rows.clone(), columns) };
            pieces(weight.columns).into_par_iter().for_each(compute);
        }
    };
    // SAFETY: the pieces cover all columns of all rows, and each writes all of its own.
    unsafe { written(left.rows() * weight.columns, write) }
}

/// Ranges of columns, about as many for each thread.
fn pieces(columns: usize) -> Vec<Range<usize>> {
    let threads = rayon::current_num_threads().max(1);
    let blocks = columns.div_ceil(BLOCK);
    let count = threads * blocks.div_ceil(BLOCKS * threads);
    let wide = blocks.div_ceil(count) * BLOCK;
    (0..columns).step_by(wide).map(|first| first..(first + wide).min(columns)).collect()
}

/// A product that several threads compute in pieces.
struct Whole<'a> {
    left: &'a Rounded,
    weight: Strided<'a, u16>,
    bias: Option<&'a [f32]>,
    output: Output,
}

impl Whole<'_> {
    /// Computes some columns of some rows.
    ///
    /// # Safety
    /// The instructions are there; no other thread reads or writes these columns of these rows of the output.
    unsafe fn piece(&self, rows: Range<usize>, columns: Range<usize>) {
        let tiles = self.weight.rows.div_ceil(DEPTH);
        let blocks = columns.len().div_ceil(BLOCK);
        let registers = Registers::configured();
        SCRATCH.with_borrow_mut(|packed| {
            for first in (0..tiles).step_by(DEEP) {
                let each = 2 * DEEP.min(tiles - first);
                packed.resize(blocks * each, [0; TILE]);
                let of = |number: usize| columns.start + number * BLOCK;
                for (number, packed) in packed.chunks_exact_mut(each).enumerate() {
                    // SAFETY: the caller promises the instructions.
                    unsafe { pack(self.weight, first * DEPTH, of(number), packed) };
                }
                for row in rows.clone().step_by(BLOCK) {
                    for (number, packed) in packed.chunks_exact(each).enumerate() {
                        // SAFETY: as above; the rows and columns exist.
                        unsafe { self.block(&registers, row, of(number), first, packed) };
                    }
                }
            }
        });
    }

    /// Adds the products of some tiles along the sum, from `first` on, to a block of the result. The first ones begin it.
    ///
    /// # Safety
    /// The instructions are there; the row and the column exist; no other thread reads or writes the block.
    unsafe fn block(&self, registers: &Registers, row: usize, column: usize, first: usize, packed: &[Tile]) {
        let width = self.weight.columns;
        let (high, wide) = (BLOCK.min(self.left.rows() - row), BLOCK.min(width - column));
        let target = self.output.0.wrapping_add(row * width + column);
        // SAFETY: rounded rows are there in whole blocks, and each has whole tiles. The target is a block of the output, or,
        // where that is smaller, a block of its own.
        unsafe {
            let left = self.left.row(row).add(first * SIDE);
            let multiply = |from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize| {
                let (right, deep) = (packed.as_ptr(), packed.len() / 2);
                registers.multiply(left, self.left.stride(), right, deep, (from, from_stride), (to, to_stride));
            };
            if high == BLOCK && wide == BLOCK {
                match (first, self.bias) {
                    (0, None) => multiply([0.0; BLOCK].as_ptr(), 0, target, width),
                    (0, Some(bias)) => multiply(bias[column..][..BLOCK].as_ptr(), 0, target, width),
                    _ => multiply(target, width, target, width),
                }
                return;
            }
            let mut block = [[0.0_f32; BLOCK]; BLOCK];
            for (at, block) in block.iter_mut().take(high).enumerate() {
                match (first, self.bias) {
                    (0, None) => (),
                    (0, Some(bias)) => block[..wide].copy_from_slice(&bias[column..][..wide]),
                    _ => target.add(at * width).copy_to_nonoverlapping(block.as_mut_ptr(), wide),
                }
            }
            let own = block.as_mut_ptr().cast();
            multiply(own, BLOCK, own, BLOCK);
            for (at, block) in block.iter().take(high).enumerate() {
                target.add(at * width).copy_from_nonoverlapping(block.as_ptr(), wide);
            }
        }
    }
}

/// The tile registers of this thread, configured until this is dropped.
struct Registers {
    /// They are this thread's.
    _of_thread: std::marker::PhantomData<*mut ()>,
}

/// What the instruction that configures tiles reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Configuration {
    /// All eight tiles in their full size.
    const FULL: Self = Self {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: registers exist only where the instructions do; compiled code does not use tiles.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags)) };
    }
}

impl Registers {
    /// Configures the registers of this thread. The instructions must be there.
    fn configured() -> Self {
        assert!(is_there(), "no instructions for tiles");
        // SAFETY: the instructions are there, and the configuration is valid.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &Configuration::FULL, options(nostack, preserves_flags, readonly)) };
        Self { _of_thread: std::marker::PhantomData }
    }

    /// `to = from + left · right`, for a block of two by two tiles and `deep` tiles along the sum. The tiles of `right` are
    /// those of the first sixteen columns, then those of the others.
    ///
    /// # Safety
    /// `left` has 32 rows of `deep` times sixteen pairs; `right` has twice `deep` tiles; `from` and `to`, which may be the
    /// same, have 32 rows of 32 elements. Strides are in elements. No other thread writes what is read, or reads what is
    /// written.
    #[inline]
    unsafe fn multiply(
        &self,
        left: *const u32,
        stride: usize,
        right: *const Tile,
        deep: usize,
        (from, from_stride): (*const f32, usize),
        (to, to_stride): (*mut f32, usize),
    ) {
        let below = to.wrapping_add(SIDE * to_stride);
        let target = [to.expose_provenance(), below.expose_provenance(), to_stride * size_of::<f32>()];
        // SAFETY: the tiles are configured as long as `self` lives. The caller promises the memory.
        unsafe {
            asm!(
                "tileloadd tmm0, [{from} + {from_stride}*1]",
                "tileloadd tmm1, [{from} + {from_stride}*1 + 64]",
                "tileloadd tmm2, [{from_below} + {from_stride}*1]",
                "tileloadd tmm3, [{from_below} + {from_stride}*1 + 64]",
                "2:",
                "tileloadd tmm6, [{right} + {line}*1]",
                "tileloadd tmm4, [{left} + {stride}*1]",
                "tileloadd tmm7, [{beside} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{below} + {stride}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {left}, 64",
                "add {below}, 64",
                "add {right}, 1024",
                "add {beside}, 1024",
                "dec {deep}",
                "jnz 2b",
                // There are too few registers for the target's addresses during the loop.
                "mov {left}, [{target}]",
                "mov {below}, [{target} + 8]",
                "mov {stride}, [{target} + 16]",
                "tilestored [{left} + {stride}*1], tmm0",
                "tilestored [{left} + {stride}*1 + 64], tmm1",
                "tilestored [{below} + {stride}*1], tmm2",
                "tilestored [{below} + {stride}*1 + 64], tmm3",
                from = in(reg) from,
                from_below = in(reg) from.wrapping_add(SIDE * from_stride),
                from_stride = in(reg) from_stride * size_of::<f32>(),
                left = inout(reg) left => _,
                below = inout(reg) left.wrapping_add(SIDE * stride) => _,
                stride = inout(reg) stride * size_of::<u32>() => _,
                right = inout(reg) right => _,
                beside = inout(reg) right.wrapping_add(deep) => _,
                line = in(reg) 64_usize,
                deep = inout(reg) deep => _,
                target = in(reg) target.as_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}
