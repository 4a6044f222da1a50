//! Attention over ranges of keys, a block of queries at a time.
//!
//! The probabilities of a block are computed, used and forgotten; the backward pass computes them again.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Bool, Shape, Tensor};

use super::own::{Mask, keep, of_scores, thinned};
use super::{Resolved, Sight};
use crate::flex::{Operand, Raw, record, register, tensor};
use crate::heads::Heads;
use crate::kernel::product::{Factors, Into, Matrix, Panels, Rows};
use crate::kernel::{Output, Work, math, random::Keep, run, written};
use crate::softmax::own::row;

/// The queries of a block: a multiple of the rows of a block of the product.
const BLOCK: usize = 48;
/// The most queries of a piece of work in the forward pass.
const PIECE: usize = 4 * BLOCK;
/// With at most so many queries, packing the keys and values would take longer than the products.
const FEW: usize = 4;

#[derive(Debug, Clone)]
pub(super) struct Plan {
    sight: Sight,
    mask: Option<Mask>,
    scale: f32,
    factors: Factors,
    keep: Option<Keep>,
    sizes: Sizes,
    sequences: Vec<Sequence>,
    /// Whether the sequences are concatenated.
    is_packed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    /// The heads of queries for each head of keys and values.
    shared: usize,
    head: usize,
    value: usize,
}

/// A sequence in its tensors.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    queries: usize,
    keys: usize,
    /// The number of queries and of keys of earlier sequences.
    before: [usize; 2],
}

pub(super) fn plan(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: Option<&Tensor<4, Bool>>,
    sight: Sight,
    options: Resolved,
) -> Option<([Operand; 3], Plan)> {
    let ([batch, heads, queries, head], [_, groups, keys, _], [_, _, _, value]) = (q.dims(), k.dims(), v.dims());
    let empty = [batch, heads, queries, keys, head, value].contains(&0);
    if empty || k.dims() != [batch, groups, keys, head] || v.dims() != [batch, groups, keys, value] {
        return None;
    }
    let mask = match mask {
        Some(mask) => Some(Mask::new(mask, [batch, heads, queries, keys])?),
        None => None,
    };
    let sequence = |row: usize| Sequence { queries, keys, before: [row * queries, row * keys] };
    let sizes = Sizes { heads, shared: heads / groups, head, value };
    let sequences = (0..batch).map(sequence).collect();
    let plan = Plan {
        sight,
        mask,
        scale: options.scale,
        factors: options.factors,
        keep: keep(options.dropout),
        sizes,
        sequences,
        is_packed: false,
    };
    Some(([Operand::new(q)?, Operand::new(k)?, Operand::new(v)?], plan))
}

/// For concatenated sequences of these lengths.
pub(super) fn plan_packed(
    q: &Tensor<3>,
    k: &Tensor<3>,
    v: &Tensor<3>,
    lengths: &[usize],
    sight: Sight,
    options: Resolved,
) -> Option<([Operand; 3], Plan)> {
    let ([rows, heads, head], [_, groups, _], [_, _, value]) = (q.dims(), k.dims(), v.dims());
    if [rows, heads, head, value].contains(&0) || k.dims() != [rows, groups, head] || v.dims() != [rows, groups, value]
    {
        return None;
    }
    let mut before = 0;
    let sequences = lengths.iter().map(|&length| {
        let sequence = Sequence { queries: length, keys: length, before: [before, before] };
        before += length;
        sequence
    });
    let sizes = Sizes { heads, shared: heads / groups, head, value };
    let sequences = sequences.collect();
    let plan = Plan {
        sight,
        mask: None,
        scale: options.scale,
        factors: options.factors,
        keep: keep(options.dropout),
        sizes,
        sequences,
        is_packed: true,
    };
    Some(([Operand::new(q)?, Operand::new(k)?, Operand::new(v)?], plan))
}

impl Plan {
    fn heads(&self, raw: Raw) -> Heads {
        if self.is_packed { Heads::of_rows(raw) } else { Heads::of_batch(raw) }
    }

    /// The number of all queries, or of all keys.
    fn total(&self, of: impl Fn(&Sequence) -> usize) -> usize {
        self.sequences.iter().map(of).sum()
    }

    /// A part of the tensor of queries, keys or values.
    #[inline(always)]
    fn part<'a>(&self, x: &'a Heads, sequence: usize, head: usize, row: usize, side: usize) -> Matrix<'a> {
        let first = if self.is_packed { self.sequences[sequence].before[side] } else { 0 };
        x.get(sequence, head, first + row)
    }

    /// A result whose rows hold the heads side by side, `[rows, heads, columns]`.
    fn tensor(&self, numbers: Vec<f32>, heads: usize, columns: usize, rows: impl Fn(&Sequence) -> usize) -> Raw {
        if self.is_packed {
            return tensor(numbers, Shape::new([self.total(rows), heads, columns]));
        }
        let each = self.sequences.first().map_or(0, rows);
        Flex::float_swap_dims(tensor(numbers, Shape::new([self.sequences.len(), each, heads, columns])), 1, 2)
    }

    /// The keys that a block of queries sees, from the start of a panel of this width on.
    #[inline(always)]
    fn range(&self, sequence: usize, block: Range<usize>, width: usize) -> Range<usize> {
        let Sequence { queries, keys, .. } = self.sequences[sequence];
        let [first, _] = self.sight.own(block.start, queries, keys);
        let [_, end] = self.sight.own(block.end - 1, queries, keys);
        // With prefixes, what is between them and the range is computed, too.
        let first = if self.sight.prefixes > 0 { 0 } else { first / width * width };
        first..end
    }

    /// Turns the products of a block with the keys of a range into probabilities, in place; those that dropout zeroes become
    /// negative.
    #[inline(always)]
    fn shares(&self, scores: &mut [f32], sequence: usize, head: usize, first: usize, range: Range<usize>) {
        let Sequence { queries, keys, before } = self.sequences[sequence];
        for (number, scores) in scores.chunks_exact_mut(range.len()).enumerate() {
            let query = first + number;
            for score in scores.iter_mut() {
                *score *= self.scale;
            }
            if let Some(mask) = &self.mask {
                let masked = &mask.row([sequence, head, query], keys)[range.clone()];
                for (score, masked) in scores.iter_mut().zip(masked) {
                    *score = if *masked != 0 { f32::MIN } else { *score };
                }
            }
            let [seen, end] = self.sight.own(query, queries, keys);
            let prefixes = self.sight.prefixes.saturating_sub(range.start).min(scores.len());
            let (seen, end) = (seen.max(range.start) - range.start, end.min(range.end) - range.start);
            scores[prefixes..seen.max(prefixes)].fill(f32::NEG_INFINITY);
            scores[end..].fill(f32::NEG_INFINITY);
            row(scores);
            if let Some(keep) = self.keep {
                let start = (((before[0] + query) * self.sizes.heads + head) * keys + range.start) as u32;
                for (index, share) in scores.iter_mut().enumerate() {
                    *share = if keep.at(start.wrapping_add(index as u32)) { *share } else { -*share };
                }
            }
        }
    }

    fn forward(&self, q: &Heads, k: &Heads, v: &Heads) -> Raw {
        let columns = self.sizes.heads * self.sizes.value;
        let pieces = self.sequences.iter().enumerate().flat_map(|(sequence, of)| {
            let heads = (0..self.sizes.heads)
                .flat_map(move |head| (0..of.queries).step_by(PIECE).map(move |first| (head, first)));
            heads.map(move |(head, first)| (sequence, head, first..(first + PIECE).min(of.queries)))
        });
        let pieces: Vec<_> = pieces.collect();
        let write = |output: &mut [MaybeUninit<f32>]| {
            let output = Output(output.as_mut_ptr().cast());
            run(pieces, &Forward { plan: self, q, k, v, output });
        };
        // SAFETY: the pieces cover every head of every query, and each element of a row of a head is written.
        let output = unsafe { written(self.total(|of| of.queries) * columns, write) };
        self.tensor(output, self.sizes.heads, self.sizes.value, |of| of.queries)
    }

    /// The gradients of q, k and v.
    fn backward(&self, gradient: &Heads, [q, k, v]: [&Heads; 3]) -> [Raw; 3] {
        let (queries, keys) = (self.total(|of| of.queries), self.total(|of| of.keys));
        let mut of_keys = vec![0.0; keys * self.sizes.heads * self.sizes.head];
        let mut of_values = vec![0.0; keys * self.sizes.heads * self.sizes.value];
        let pieces = self
            .sequences
            .iter()
            .enumerate()
            .flat_map(|(sequence, of)| (0..self.sizes.heads).map(move |head| (sequence, head, of.keys)));
        let mut rest = (&mut of_keys[..], &mut of_values[..]);
        let pieces = pieces.map(|(sequence, head, keys)| {
            let (to_k, further_k) = std::mem::take(&mut rest.0).split_at_mut(keys * self.sizes.head);
            let (to_v, further_v) = std::mem::take(&mut rest.1).split_at_mut(keys * self.sizes.value);
            rest = (further_k, further_v);
            (sequence, head, to_k, to_v)
        });
        let pieces: Vec<_> = pieces.collect();
        let write = |output: &mut [MaybeUninit<f32>]| {
            let to_q = Output(output.as_mut_ptr().cast());
            run(pieces, &Reverse { plan: self, gradient, q, k, v, to_q });
        };
        // SAFETY: the pieces cover every head of every query, and each element of a row of a head is written.
        let of_queries = unsafe { written(queries * self.sizes.heads * self.sizes.head, write) };
        [
            self.tensor(of_queries, self.sizes.heads, self.sizes.head, |of| of.queries),
            self.summed(&of_keys, self.sizes.head),
            self.summed(&of_values, self.sizes.value),
        ]
    }

    /// The sums over the heads of queries that share a head of keys, of `[sequence][head][keys, columns]`.
    fn summed(&self, numbers: &[f32], columns: usize) -> Raw {
        let groups = self.sizes.heads / self.sizes.shared;
        let mut sums = vec![0.0; numbers.len() / self.sizes.shared];
        let (mut from, mut to) = (numbers, &mut sums[..]);
        let mut pieces = Vec::new();
        for of in &self.sequences {
            let (numbers, later) = from.split_at(of.keys * self.sizes.heads * columns);
            let (sums, rest) = std::mem::take(&mut to).split_at_mut(of.keys * groups * columns);
            pieces.push((numbers, sums));
            (from, to) = (later, rest);
        }
        run(pieces, &Sum { shared: self.sizes.shared, groups, columns });
        self.tensor(sums, groups, columns, |of| of.keys)
    }
}

struct Sum {
    shared: usize,
    groups: usize,
    columns: usize,
}

impl Work<(&[f32], &mut [f32])> for Sum {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, _: S, (numbers, sums): (&[f32], &mut [f32])) {
        let Self { shared, groups, columns } = *self;
        let each = numbers.len() / (shared * groups);
        for (head, numbers) in numbers.chunks_exact(each).enumerate() {
            let rows = sums.chunks_exact_mut(groups * columns).zip(numbers.chunks_exact(columns));
            for (sums, numbers) in rows {
                let sums = &mut sums[head / shared * columns..][..columns];
                sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
            }
        }
    }
}

struct Forward<'a> {
    plan: &'a Plan,
    q: &'a Heads,
    k: &'a Heads,
    v: &'a Heads,
    output: Output,
}

impl Forward<'_> {
    /// The place of a query's row of a head in the output.
    ///
    /// # Safety
    /// No other thread may write it.
    #[allow(clippy::mut_from_ref)]
    #[inline(always)]
    unsafe fn place(&self, sequence: usize, head: usize, query: usize) -> &mut [f32] {
        let Sizes { heads, value, .. } = self.plan.sizes;
        let row = self.plan.sequences[sequence].before[0] + query;
        // SAFETY: the output has a row of values for each head of each query.
        unsafe { std::slice::from_raw_parts_mut(self.output.0.add((row * heads + head) * value), value) }
    }

    /// Some queries, each with every key as it is stored.
    #[inline(always)]
    fn few(&self, sequence: usize, head: usize, queries: Range<usize>) {
        let Self { plan, q, k, v, .. } = *self;
        let group = head / plan.sizes.shared;
        let mut scores = Vec::new();
        for query in queries {
            let range = plan.range(sequence, query..query + 1, 1);
            let one = &plan.part(q, sequence, head, query, 0).data[..plan.sizes.head];
            let keys = plan.part(k, sequence, group, range.start, 1);
            scores.clear();
            scores.extend(
                range.clone().enumerate().map(|(number, _)| {
                    math::sum2(one, &keys.data[number * keys.row..][..plan.sizes.head], |q, k| q * k)
                }),
            );
            plan.shares(&mut scores, sequence, head, query, range.clone());
            let kept = plan.keep.map_or(1.0, |keep| keep.scale);
            let values = plan.part(v, sequence, group, range.start, 1);
            // SAFETY: this row is of this piece alone.
            let output = unsafe { self.place(sequence, head, query) };
            output.fill(0.0);
            for (number, share) in scores.iter().enumerate() {
                let share = share.max(0.0) * kept;
                let row = &values.data[number * values.row..][..plan.sizes.value];
                output.iter_mut().zip(row).for_each(|(output, value)| *output += share * value);
            }
        }
    }
}

impl Work<(usize, usize, Range<usize>)> for Forward<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (sequence, head, queries): (usize, usize, Range<usize>)) {
        let Self { plan, q, k, v, .. } = *self;
        if queries.len() <= FEW {
            return self.few(sequence, head, queries);
        }
        let (width, group) = (Panels::width::<S>(), head / plan.sizes.shared);
        let all = plan.range(sequence, queries.clone(), width);
        let (mut keys, mut values, mut left) = (Panels::default(), Panels::default(), Rows::default());
        keys.pack::<S>(
            plan.factors,
            plan.part(k, sequence, group, all.start, 1).transposed(),
            plan.sizes.head,
            all.len(),
        );
        values.pack::<S>(plan.factors, plan.part(v, sequence, group, all.start, 1), all.len(), plan.sizes.value);
        let (mut scores, mut room, mut outputs) = (Vec::new(), Vec::new(), vec![0.0; BLOCK * plan.sizes.value]);
        for first in queries.clone().step_by(BLOCK) {
            let rows = BLOCK.min(queries.end - first);
            let range = plan.range(sequence, first..first + rows, width);
            let packed = range.start - all.start..range.end - all.start;
            scores.resize(rows * range.len(), 0.0);
            let part = keys.part(0..plan.sizes.head, packed.clone());
            let into = Into { output: &mut scores, stride: range.len(), adds: false };
            left.product(simd, plan.part(q, sequence, head, first, 0), rows, part, into);
            plan.shares(&mut scores, sequence, head, first, range.clone());
            let shares = Matrix::new(thinned(plan.keep, &scores, &mut room), range.len());
            let into = Into { output: &mut outputs, stride: plan.sizes.value, adds: false };
            left.product(simd, shares, rows, values.part(packed, 0..plan.sizes.value), into);
            for (number, output) in outputs.chunks_exact(plan.sizes.value).take(rows).enumerate() {
                // SAFETY: this row is of this piece alone.
                unsafe { self.place(sequence, head, first + number) }.copy_from_slice(output);
            }
        }
    }
}

struct Reverse<'a> {
    plan: &'a Plan,
    gradient: &'a Heads,
    q: &'a Heads,
    k: &'a Heads,
    v: &'a Heads,
    to_q: Output,
}

impl Work<(usize, usize, &mut [f32], &mut [f32])> for Reverse<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (sequence, head, to_k, to_v): (usize, usize, &mut [f32], &mut [f32])) {
        let Self { plan, gradient, q, k, v, .. } = *self;
        let Sizes { head: width, value, .. } = plan.sizes;
        let Sequence { queries, keys, before } = plan.sequences[sequence];
        let group = head / plan.sizes.shared;
        let (k, v) = (plan.part(k, sequence, group, 0, 1), plan.part(v, sequence, group, 0, 1));
        let [mut keys_across, mut keys_along, mut values_across, mut block] =
            std::array::from_fn(|_| Panels::default());
        keys_across.pack::<S>(plan.factors, k.transposed(), width, keys);
        keys_along.pack::<S>(plan.factors, k, keys, width);
        values_across.pack::<S>(plan.factors, v.transposed(), value, keys);
        let (mut left, mut shares, mut scores, mut room) = (Rows::default(), Vec::new(), Vec::new(), Vec::new());
        let mut of_queries = vec![0.0; BLOCK * width];
        for first in (0..queries).step_by(BLOCK) {
            let rows = BLOCK.min(queries - first);
            let range = plan.range(sequence, first..first + rows, Panels::width::<S>());
            let wide = range.len();
            let (q, gradient) = (plan.part(q, sequence, head, first, 0), plan.part(gradient, sequence, head, first, 0));
            shares.resize(rows * wide, 0.0);
            let into = Into { output: &mut shares, stride: wide, adds: false };
            left.product(simd, q, rows, keys_across.part(0..width, range.clone()), into);
            plan.shares(&mut shares, sequence, head, first, range.clone());

            block.pack::<S>(plan.factors, gradient, rows, value);
            let kept = Matrix::new(thinned(plan.keep, &shares, &mut room), wide).transposed();
            let into = Into { output: &mut to_v[range.start * value..], stride: value, adds: true };
            left.product(simd, kept, wide, block.part(0..rows, 0..value), into);

            scores.resize(rows * wide, 0.0);
            let into = Into { output: &mut scores, stride: wide, adds: false };
            left.product(simd, gradient, rows, values_across.part(0..value, range.clone()), into);
            of_scores(plan.keep, plan.scale, &mut scores, &shares, wide);
            let scores = Matrix::new(&scores, wide);

            let into = Into { output: &mut of_queries, stride: width, adds: false };
            left.product(simd, scores, rows, keys_along.part(range.clone(), 0..width), into);
            for (number, numbers) in of_queries.chunks_exact(width).take(rows).enumerate() {
                let place = ((before[0] + first + number) * plan.sizes.heads + head) * width;
                // SAFETY: the gradient has a row for each head of each query, and this row is of this piece alone.
                unsafe { std::slice::from_raw_parts_mut(self.to_q.0.add(place), width) }.copy_from_slice(numbers);
            }
            block.pack::<S>(plan.factors, q, rows, width);
            let into = Into { output: &mut to_k[range.start * width..], stride: width, adds: true };
            left.product(simd, scores.transposed(), wide, block.part(0..rows, 0..width), into);
        }
    }
}

#[derive(Debug)]
struct Attention;

#[derive(Debug, Clone)]
struct State {
    plan: Plan,
    operands: [Heads; 3],
}

pub(super) fn attention<const D: usize>(operands: [Operand; 3], plan: Plan) -> Tensor<D> {
    record(operands, Attention, |operands, tracked| {
        let operands = operands.map(|operand| plan.heads(operand));
        let [q, k, v] = &operands;
        let output = plan.forward(q, k, v);
        (output, tracked.contains(&true).then_some(State { plan, operands }))
    })
}

impl Backward<Flex, 3> for Attention {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let State { plan, operands } = ops.state;
        let gradient = plan.heads(gradients.consume::<Flex>(&ops.node));
        let results = plan.backward(&gradient, operands.each_ref());
        for (node, result) in ops.parents.into_iter().zip(results) {
            register(gradients, node.map(|node| node.id), result);
        }
    }
}
