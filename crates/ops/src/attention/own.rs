//! Attention computed head by head, so that the scores of a head stay in the cache.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::BoolTensor;
use burn::tensor::{Bool, Shape, Tensor};

use super::{Dropout, Resolved};
use crate::flex::{Operand, Raw, Tape, record, register, tensor, values};
use crate::heads::Heads;
use crate::kernel::product::{Factors, Matrix, Packed};
use crate::kernel::{Work, math, random::Keep, run};
use crate::softmax::own::row;

/// True where attention is masked: one byte per element.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    bytes: BoolTensor<Flex>,
    /// The strides of batch, heads and queries.
    dims: [usize; 3],
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    mask: Option<Mask>,
    scale: f32,
    factors: Factors,
    keep: Option<Keep>,
    sizes: Sizes,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    heads: usize,
    head: usize,
    value: usize,
    form: Form,
}

/// The layout of the sequences in their tensors.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// All sequences have one length: `[batch, heads, rows, columns]`.
    Batch,
    /// Concatenated sequences: `[rows, heads, columns]`.
    Packed,
}

impl Form {
    fn heads(self, raw: Raw) -> Heads {
        match self {
            Form::Batch => Heads::of_batch(raw),
            Form::Packed => Heads::of_rows(raw),
        }
    }
}

/// The work that one thread does at once: some heads of one sequence.
#[derive(Debug, Clone, Copy)]
struct Piece {
    sequence: usize,
    first_head: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// The first row in the tensors of queries and of keys.
    rows: [usize; 2],
    /// The offset of its scores.
    scores: usize,
}

pub(super) fn plan(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: Option<&Tensor<4, Bool>>,
    options: Resolved,
) -> Option<([Operand; 3], Plan)> {
    let ([batch, heads, queries, head], [_, _, keys, _], [_, _, _, value]) = (q.dims(), k.dims(), v.dims());
    let empty = [batch, heads, queries, keys, head, value].contains(&0);
    if empty || k.dims() != [batch, heads, keys, head] || v.dims() != [batch, heads, keys, value] {
        return None;
    }
    let mask = match mask {
        Some(mask) => Some(Mask::new(mask, [batch, heads, queries, keys])?),
        None => None,
    };
    // If there are enough sequences for all threads, the heads of each are written side by side, as the next layer
    // reads them.
    let together = if batch >= 8 { heads } else { 1 };
    let piece = |number: usize| Piece {
        sequence: number * together / heads,
        first_head: number * together % heads,
        heads: together,
        queries,
        keys,
        rows: [0, 0],
        scores: number * together * queries * keys,
    };
    let pieces = (0..batch * heads / together).map(piece).collect();
    let sizes = Sizes { heads, head, value, form: Form::Batch };
    let plan =
        Plan { mask, scale: options.scale, factors: options.factors, keep: keep(options.dropout), sizes, pieces };
    Some(([Operand::new(q)?, Operand::new(k)?, Operand::new(v)?], plan))
}

/// For concatenated sequences, given their numbers of queries and of keys.
pub(super) fn plan_packed(
    q: &Tensor<3>,
    k: &Tensor<3>,
    v: &Tensor<3>,
    lengths: [&[usize]; 2],
    options: Resolved,
) -> Option<([Operand; 3], Plan)> {
    let ([_, heads, head], [_, _, value]) = (q.dims(), v.dims());
    let [queries, keys] = lengths;
    if [heads, head, value].contains(&0) || queries.iter().chain(keys).any(|length| *length == 0) {
        return None;
    }
    let (mut rows, mut scores) = ([0, 0], 0);
    let pieces = queries.iter().zip(keys).enumerate().map(|(sequence, (&queries, &keys))| {
        let piece = Piece { sequence, first_head: 0, heads, queries, keys, rows, scores };
        rows = [rows[0] + queries, rows[1] + keys];
        scores += heads * queries * keys;
        piece
    });
    let pieces = pieces.collect();
    let sizes = Sizes { heads, head, value, form: Form::Packed };
    let plan =
        Plan { mask: None, scale: options.scale, factors: options.factors, keep: keep(options.dropout), sizes, pieces };
    Some(([Operand::new(q)?, Operand::new(k)?, Operand::new(v)?], plan))
}

pub(super) fn keep(dropout: Option<Dropout>) -> Option<Keep> {
    dropout.map(|dropout| Keep::new(dropout.probability, dropout.seed))
}

impl Mask {
    pub(super) fn new(mask: &Tensor<4, Bool>, full: [usize; 4]) -> Option<Self> {
        let dims = mask.dims();
        if dims.iter().zip(full).any(|(&dim, full)| dim != full && dim != 1) {
            return None;
        }
        let [batch, heads, queries, _] = dims;
        let mask = mask.clone().expand([batch, heads, queries, full[3]]);
        let bytes = if mask.device().is_autodiff() {
            mask.try_into_primitive::<Tape>().ok()?
        } else {
            mask.try_into_primitive::<Flex>().ok()?
        };
        Some(Self { bytes: bytes.to_contiguous(), dims: [batch, heads, queries] })
    }

    /// The bytes of a row of the scores.
    #[inline(always)]
    pub(super) fn row(&self, [batch, head, query]: [usize; 3], keys: usize) -> &[u8] {
        let [of_batch, of_heads, of_queries] = self.dims;
        let row = (batch % of_batch * of_heads + head % of_heads) * of_queries + query % of_queries;
        &self.bytes.storage::<u8>()[row * keys..][..keys]
    }
}

/// Collects the results in the order of the pieces.
struct Results {
    numbers: Vec<f32>,
    columns: usize,
}

impl Results {
    fn new(plan: &Plan, rows: impl Fn(&Piece) -> usize, columns: usize) -> Self {
        let rows: usize = plan.pieces.iter().map(|piece| piece.heads * rows(piece)).sum();
        Self { numbers: vec![0.0; rows * columns], columns }
    }

    fn split(&mut self, plan: &Plan, rows: impl Fn(&Piece) -> usize) -> Vec<&mut [f32]> {
        let columns = self.columns;
        split(&mut self.numbers, plan.pieces.iter().map(|piece| piece.heads * rows(piece) * columns))
    }

    fn tensor(self, plan: &Plan, rows: impl Fn(&Piece) -> usize) -> Raw {
        let (heads, columns) = (plan.sizes.heads, self.columns);
        let first = plan.pieces.first().map_or(0, &rows);
        let together = plan.pieces.first().map_or(1, |piece| piece.heads);
        match plan.sizes.form {
            Form::Packed => {
                let rows = plan.pieces.iter().map(rows).sum();
                tensor(self.numbers, Shape::new([rows, heads, columns]))
            }
            Form::Batch => {
                let batch = plan.pieces.len() * together / heads;
                if together < heads {
                    return tensor(self.numbers, Shape::new([batch, heads, first, columns]));
                }
                Flex::float_swap_dims(tensor(self.numbers, Shape::new([batch, first, heads, columns])), 1, 2)
            }
        }
    }
}

/// Splits a slice into consecutive parts of these lengths.
fn split(mut numbers: &mut [f32], lengths: impl Iterator<Item = usize>) -> Vec<&mut [f32]> {
    let mut parts = Vec::new();
    for length in lengths {
        let (part, rest) = std::mem::take(&mut numbers).split_at_mut(length);
        parts.push(part);
        numbers = rest;
    }
    parts
}

impl Piece {
    /// The scores of one head.
    fn scores_of_head(&self) -> usize {
        self.queries * self.keys
    }

    /// The offset of a head's results in its piece, and the stride of their rows.
    #[inline(always)]
    fn place(&self, number: usize, columns: usize) -> (usize, usize) {
        (number * columns, self.heads * columns)
    }
}

impl Plan {
    /// Turns one head's scores into probabilities, in place; those that dropout zeroes become negative.
    #[inline(always)]
    fn shares(&self, scores: &mut [f32], piece: &Piece, number: usize) {
        let keys = piece.keys;
        let first = piece.scores + number * piece.scores_of_head();
        for (query, scores) in scores.chunks_exact_mut(keys).enumerate() {
            for score in scores.iter_mut() {
                *score *= self.scale;
            }
            if let Some(mask) = &self.mask {
                let place = [piece.sequence, piece.first_head + number, query];
                for (score, masked) in scores.iter_mut().zip(mask.row(place, keys)) {
                    *score = if *masked != 0 { f32::MIN } else { *score };
                }
            }
            row(scores);
            if let Some(keep) = self.keep {
                let start = (first + query * keys) as u32;
                for (index, share) in scores.iter_mut().enumerate() {
                    *share = if keep.at(start.wrapping_add(index as u32)) { *share } else { -*share };
                }
            }
        }
    }

    /// The output, and the probabilities if they are kept.
    fn forward(&self, q: &Heads, k: &Heads, v: &Heads, keeps: bool) -> (Raw, Vec<f32>) {
        let queries = |piece: &Piece| piece.queries;
        let mut output = Results::new(self, queries, self.sizes.value);
        let scores = |piece: &Piece| piece.heads * piece.scores_of_head();
        let mut kept = vec![0.0; if keeps { self.pieces.iter().map(scores).sum() } else { 0 }];
        let mut rooms = Vec::new();
        if keeps {
            rooms.extend(split(&mut kept, self.pieces.iter().map(scores)).into_iter().map(Some));
        }
        rooms.resize_with(self.pieces.len(), || None);
        run(self.pieces.iter().zip(output.split(self, queries)).zip(rooms).collect(), &Forward { plan: self, q, k, v });
        (output.tensor(self, queries), kept)
    }

    /// The gradients of q, k and v.
    fn backward(&self, gradient: &Heads, [q, k, v]: [&Heads; 3], shares: &[f32]) -> [Raw; 3] {
        let (queries, keys) = (|piece: &Piece| piece.queries, |piece: &Piece| piece.keys);
        let mut to_q = Results::new(self, queries, self.sizes.head);
        let mut to_k = Results::new(self, keys, self.sizes.head);
        let mut to_v = Results::new(self, keys, self.sizes.value);
        let pieces = to_q.split(self, queries).into_iter().zip(to_k.split(self, keys)).zip(to_v.split(self, keys));
        run(self.pieces.iter().zip(pieces).collect(), &Reverse { plan: self, gradient, q, k, v, shares });
        [to_q.tensor(self, queries), to_k.tensor(self, keys), to_v.tensor(self, keys)]
    }
}

struct Forward<'a> {
    plan: &'a Plan,
    q: &'a Heads,
    k: &'a Heads,
    v: &'a Heads,
}

impl Work<((&Piece, &mut [f32]), Option<&mut [f32]>)> for Forward<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, ((piece, output), mut kept): ((&Piece, &mut [f32]), Option<&mut [f32]>)) {
        let Self { plan, q, k, v } = *self;
        let Sizes { head: width, value, .. } = plan.sizes;
        let Piece { sequence, queries, keys, rows: [query, key], .. } = *piece;
        let scores = piece.scores_of_head();
        let (mut packed, mut scratch, mut room) = (Packed::default(), Vec::new(), Vec::new());
        for number in 0..piece.heads {
            let head = piece.first_head + number;
            let shares = match &mut kept {
                Some(kept) => &mut kept[number * scores..][..scores],
                None => {
                    scratch.resize(scores, 0.0);
                    &mut scratch[..]
                }
            };
            let keys_across = k.get(sequence, head, key).transposed();
            packed.product(
                simd,
                plan.factors,
                q.get(sequence, head, query),
                keys_across,
                [queries, width, keys],
                shares,
                keys,
            );
            plan.shares(shares, piece, number);
            let thinned = Matrix::new(thinned(plan.keep, shares, &mut room), keys);
            let (start, stride) = piece.place(number, value);
            let values = v.get(sequence, head, key);
            packed.product(simd, plan.factors, thinned, values, [queries, keys, value], &mut output[start..], stride);
        }
    }
}

struct Reverse<'a> {
    plan: &'a Plan,
    gradient: &'a Heads,
    q: &'a Heads,
    k: &'a Heads,
    v: &'a Heads,
    shares: &'a [f32],
}

/// A piece of three gradients.
type Reversed<'a> = (&'a Piece, ((&'a mut [f32], &'a mut [f32]), &'a mut [f32]));

impl Work<Reversed<'_>> for Reverse<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (piece, ((to_q, to_k), to_v)): Reversed<'_>) {
        let Self { plan, gradient, q, k, v, shares } = *self;
        let Sizes { head: width, value, .. } = plan.sizes;
        let Piece { sequence, queries, keys, rows: [query, key], .. } = *piece;
        let count = piece.scores_of_head();
        let shares = shares[piece.scores..].chunks_exact(count);
        let (mut packed, mut scores, mut room) = (Packed::default(), vec![0.0; count], Vec::new());
        for (number, shares) in shares.take(piece.heads).enumerate() {
            let head = piece.first_head + number;
            let gradient = gradient.get(sequence, head, query);
            let thinned = Matrix::new(thinned(plan.keep, shares, &mut room), keys).transposed();
            let (start, stride) = piece.place(number, value);
            packed.product(simd, plan.factors, thinned, gradient, [keys, queries, value], &mut to_v[start..], stride);
            let values_across = v.get(sequence, head, key).transposed();
            packed.product(simd, plan.factors, gradient, values_across, [queries, value, keys], &mut scores, keys);
            of_scores(plan.keep, plan.scale, &mut scores, shares, keys);
            let scores = Matrix::new(&scores, keys);
            let (start, stride) = piece.place(number, width);
            let heads = k.get(sequence, head, key);
            packed.product(simd, plan.factors, scores, heads, [queries, keys, width], &mut to_q[start..], stride);
            let heads = q.get(sequence, head, query);
            packed.product(
                simd,
                plan.factors,
                scores.transposed(),
                heads,
                [keys, queries, width],
                &mut to_k[start..],
                stride,
            );
        }
    }
}

/// The factors that the values are multiplied by.
#[inline(always)]
pub(super) fn thinned<'a>(keep: Option<Keep>, shares: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
    let Some(Keep { scale, .. }) = keep else {
        return shares;
    };
    room.clear();
    room.extend(shares.iter().map(|share| if *share < 0.0 { 0.0 } else { share * scale }));
    room
}

/// Turns the gradient of the probabilities after dropout into that of `q kᵀ`, in place.
#[inline(always)]
pub(super) fn of_scores(keep: Option<Keep>, scale: f32, gradient: &mut [f32], shares: &[f32], keys: usize) {
    let kept = keep.map_or(1.0, |keep| keep.scale);
    for (gradient, shares) in gradient.chunks_exact_mut(keys).zip(shares.chunks_exact(keys)) {
        let along = math::sum2(gradient, shares, |g, p| if p > 0.0 { g * p } else { 0.0 }) * kept;
        for (gradient, share) in gradient.iter_mut().zip(shares) {
            let own = if *share > 0.0 { *gradient * kept } else { 0.0 };
            *gradient = (own - along) * share.abs() * scale;
        }
    }
}

#[derive(Debug)]
struct Attention;

#[derive(Debug, Clone)]
struct State {
    plan: Plan,
    operands: [Heads; 3],
    shares: Raw,
}

pub(super) fn attention<const D: usize>(operands: [Operand; 3], plan: Plan) -> Tensor<D> {
    record(operands, Attention, |operands, tracked| {
        let keeps = tracked.contains(&true);
        let operands = operands.map(|operand| plan.sizes.form.heads(operand));
        let [q, k, v] = &operands;
        let (output, shares) = plan.forward(q, k, v, keeps);
        let shape = Shape::new([shares.len()]);
        let plan = Plan { mask: None, ..plan };
        (output, keeps.then(|| State { plan, operands, shares: tensor(shares, shape) }))
    })
}

impl Backward<Flex, 3> for Attention {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let State { plan, operands, shares } = ops.state;
        let gradient = plan.sizes.form.heads(gradients.consume::<Flex>(&ops.node));
        let results = plan.backward(&gradient, operands.each_ref(), values(&shares));
        for (node, result) in ops.parents.into_iter().zip(results) {
            register(gradients, node.map(|node| node.id), result);
        }
    }
}
