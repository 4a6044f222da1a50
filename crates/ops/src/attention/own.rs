//! Attention head by head: a head's scores stay in the cache.

use burn::backend::Flex;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::BoolTensor;
use burn::tensor::{Bool, Shape, Tensor};

use super::Dropout;
use crate::flex::{Operand, Raw, Tape, contiguous, record, register, tensor, values};
use crate::kernel::product::{Matrix, Packed};
use crate::kernel::{Work, math, random::Keep, run};
use crate::softmax::own::row;

/// True where there is no attention: one byte an element.
#[derive(Debug, Clone)]
struct Mask {
    bytes: BoolTensor<Flex>,
    /// Of batch, heads and queries.
    dims: [usize; 3],
}

#[derive(Debug, Clone)]
pub(super) struct Plan {
    mask: Option<Mask>,
    scale: f32,
    keep: Option<Keep>,
    sizes: Sizes,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    head: usize,
    value: usize,
}

pub(super) fn plan(
    q: &Tensor<4>,
    k: &Tensor<4>,
    v: &Tensor<4>,
    mask: Option<&Tensor<4, Bool>>,
    scale: f64,
    dropout: Option<Dropout>,
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
    let keep = dropout.map(|dropout| Keep::new(dropout.probability, dropout.seed));
    let sizes = Sizes { batch, heads, queries, keys, head, value };
    Some(([Operand::new(q)?, Operand::new(k)?, Operand::new(v)?], Plan { mask, scale: scale as f32, keep, sizes }))
}

impl Mask {
    fn new(mask: &Tensor<4, Bool>, full: [usize; 4]) -> Option<Self> {
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
    fn row(&self, [batch, head, query]: [usize; 3], keys: usize) -> &[u8] {
        let [of_batch, of_heads, of_queries] = self.dims;
        let row = (batch % of_batch * of_heads + head % of_heads) * of_queries + query % of_queries;
        &self.bytes.storage::<u8>()[row * keys..][..keys]
    }
}

/// The heads of a tensor `[batch, heads, rows, columns]`, wherever they lie.
#[derive(Debug, Clone)]
struct Heads {
    raw: Raw,
    offset: usize,
    strides: [usize; 3],
}

impl Heads {
    fn new(raw: Raw) -> Self {
        let in_rows = raw.layout().strides().last() == Some(&1) && raw.layout().strides().iter().all(|&by| by >= 0);
        let raw = if in_rows { raw } else { contiguous(raw) };
        let strides = std::array::from_fn(|at| raw.layout().strides()[at] as usize);
        Self { offset: raw.layout().start_offset(), strides, raw }
    }

    #[inline(always)]
    fn get(&self, batch: usize, head: usize) -> Matrix<'_> {
        let [by_batch, by_head, by_row] = self.strides;
        Matrix::new(&self.raw.storage()[self.offset + batch * by_batch + head * by_head..], by_row)
    }
}

/// Results `[batch, heads, rows, columns]`, in pieces that are computed by one thread each.
struct Results {
    numbers: Vec<f32>,
    dims: [usize; 4],
    /// Whether a piece is all heads of one example, and those lie side by side as the next layer wants them.
    by_example: bool,
}

impl Results {
    fn new(sizes: Sizes, rows: usize, columns: usize) -> Self {
        let dims = [sizes.batch, sizes.heads, rows, columns];
        Self { numbers: vec![0.0; dims.iter().product()], dims, by_example: sizes.by_example() }
    }

    fn pieces(&mut self) -> std::slice::ChunksMut<'_, f32> {
        let [_, heads, rows, columns] = self.dims;
        self.numbers.chunks_mut(rows * columns * if self.by_example { heads } else { 1 })
    }

    /// Where a head starts in its piece, and from one of its rows to the next.
    #[inline(always)]
    fn place(sizes: Sizes, head: usize, columns: usize) -> (usize, usize) {
        if sizes.by_example() { (head * columns, sizes.heads * columns) } else { (0, columns) }
    }

    fn tensor(self) -> Raw {
        let [batch, heads, rows, columns] = self.dims;
        if self.by_example {
            Flex::float_swap_dims(tensor(self.numbers, Shape::new([batch, rows, heads, columns])), 1, 2)
        } else {
            tensor(self.numbers, Shape::new(self.dims))
        }
    }
}

impl Sizes {
    /// Whether there are examples enough for all threads.
    fn by_example(&self) -> bool {
        self.batch >= 8
    }

    /// The heads of a piece of work.
    fn heads_in(&self, piece: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let count = if self.by_example() { self.heads } else { 1 };
        let heads = self.heads;
        (piece * count..(piece + 1) * count).map(move |number| (number / heads, number % heads))
    }

    fn scores(&self) -> usize {
        self.queries * self.keys
    }

    fn scores_in_piece(&self) -> usize {
        self.scores() * if self.by_example() { self.heads } else { 1 }
    }
}

impl Plan {
    /// Probabilities from one head's scores, in place, negative where dropout zeroes them.
    #[inline(always)]
    fn shares(&self, scores: &mut [f32], batch: usize, head: usize) {
        let Sizes { heads, queries, keys, .. } = self.sizes;
        for (query, scores) in scores.chunks_exact_mut(keys).enumerate() {
            for score in scores.iter_mut() {
                *score *= self.scale;
            }
            if let Some(mask) = &self.mask {
                for (score, masked) in scores.iter_mut().zip(mask.row([batch, head, query], keys)) {
                    *score = if *masked != 0 { f32::MIN } else { *score };
                }
            }
            row(scores);
            if let Some(keep) = self.keep {
                let start = (((batch * heads + head) * queries + query) * keys) as u32;
                for (index, share) in scores.iter_mut().enumerate() {
                    *share = if keep.at(start.wrapping_add(index as u32)) { *share } else { -*share };
                }
            }
        }
    }

    /// What values are multiplied by.
    #[inline(always)]
    fn thinned<'a>(&self, shares: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
        let Some(Keep { scale, .. }) = self.keep else {
            return shares;
        };
        room.clear();
        room.resize(shares.len(), 0.0);
        for (output, share) in room.iter_mut().zip(shares) {
            *output = if *share < 0.0 { 0.0 } else { share * scale };
        }
        room
    }

    /// The gradient of `q kᵀ`, in place of that of the thinned probabilities.
    #[inline(always)]
    fn scores(&self, gradient: &mut [f32], shares: &[f32]) {
        let keys = self.sizes.keys;
        let kept = self.keep.map_or(1.0, |keep| keep.scale);
        for (gradient, shares) in gradient.chunks_exact_mut(keys).zip(shares.chunks_exact(keys)) {
            let along = math::sum2(gradient, shares, |g, p| if p > 0.0 { g * p } else { 0.0 }) * kept;
            for (gradient, share) in gradient.iter_mut().zip(shares) {
                let own = if *share > 0.0 { *gradient * kept } else { 0.0 };
                *gradient = (own - along) * share.abs() * self.scale;
            }
        }
    }

    /// The output, and the probabilities if they are kept.
    fn forward(&self, q: &Heads, k: &Heads, v: &Heads, keeps: bool) -> (Raw, Vec<f32>) {
        let sizes = self.sizes;
        let Sizes { queries, value, .. } = sizes;
        let mut output = Results::new(sizes, queries, value);
        let mut kept = vec![0.0; if keeps { sizes.batch * sizes.heads * sizes.scores() } else { 0 }];
        let mut rooms: Vec<_> = kept.chunks_mut(sizes.scores_in_piece()).map(Some).collect();
        rooms.resize_with(output.pieces().len(), || None);
        run(output.pieces().zip(rooms).enumerate().collect(), &Forward { plan: self, q, k, v });
        (output.tensor(), kept)
    }

    /// The gradients of q, k and v.
    fn backward(&self, gradient: &Heads, [q, k, v]: [&Heads; 3], shares: &[f32]) -> [Raw; 3] {
        let sizes = self.sizes;
        let Sizes { queries, keys, head: width, value, .. } = sizes;
        let mut to_q = Results::new(sizes, queries, width);
        let mut to_k = Results::new(sizes, keys, width);
        let mut to_v = Results::new(sizes, keys, value);
        let pieces = to_q.pieces().zip(to_k.pieces()).zip(to_v.pieces()).zip(shares.chunks(sizes.scores_in_piece()));
        run(pieces.enumerate().collect(), &Reverse { plan: self, gradient, q, k, v });
        [to_q.tensor(), to_k.tensor(), to_v.tensor()]
    }
}

struct Forward<'a> {
    plan: &'a Plan,
    q: &'a Heads,
    k: &'a Heads,
    v: &'a Heads,
}

impl Work<(usize, (&mut [f32], Option<&mut [f32]>))> for Forward<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (piece, (output, mut kept)): (usize, (&mut [f32], Option<&mut [f32]>))) {
        let Self { plan, q, k, v } = *self;
        let sizes = plan.sizes;
        let Sizes { queries, keys, head: width, value, .. } = sizes;
        let (mut packed, mut scratch, mut room) = (Packed::default(), Vec::new(), Vec::new());
        for (number, (batch, head)) in sizes.heads_in(piece).enumerate() {
            let shares = match &mut kept {
                Some(kept) => &mut kept[number * sizes.scores()..][..sizes.scores()],
                None => {
                    scratch.resize(sizes.scores(), 0.0);
                    &mut scratch[..]
                }
            };
            let keys_across = k.get(batch, head).transposed();
            packed.product(simd, q.get(batch, head), keys_across, [queries, width, keys], shares, keys);
            plan.shares(shares, batch, head);
            let thinned = Matrix::new(plan.thinned(shares, &mut room), keys);
            let (start, stride) = Results::place(sizes, head, value);
            packed.product(simd, thinned, v.get(batch, head), [queries, keys, value], &mut output[start..], stride);
        }
    }
}

struct Reverse<'a> {
    plan: &'a Plan,
    gradient: &'a Heads,
    q: &'a Heads,
    k: &'a Heads,
    v: &'a Heads,
}

/// The pieces of three gradients, and the probabilities.
type Reversed<'a> = (((&'a mut [f32], &'a mut [f32]), &'a mut [f32]), &'a [f32]);

impl Work<(usize, Reversed<'_>)> for Reverse<'_> {
    type Result = ();

    #[inline(always)]
    fn work<S: pulp::Simd>(&self, simd: S, (piece, (((to_q, to_k), to_v), shares)): (usize, Reversed<'_>)) {
        let Self { plan, gradient, q, k, v } = *self;
        let sizes = plan.sizes;
        let Sizes { queries, keys, head: width, value, .. } = sizes;
        let (mut packed, mut scores, mut room) = (Packed::default(), vec![0.0; sizes.scores()], Vec::new());
        for ((batch, head), shares) in sizes.heads_in(piece).zip(shares.chunks_exact(sizes.scores())) {
            let gradient = gradient.get(batch, head);
            let thinned = Matrix::new(plan.thinned(shares, &mut room), keys).transposed();
            let (start, stride) = Results::place(sizes, head, value);
            packed.product(simd, thinned, gradient, [keys, queries, value], &mut to_v[start..], stride);
            let values_across = v.get(batch, head).transposed();
            packed.product(simd, gradient, values_across, [queries, value, keys], &mut scores, keys);
            plan.scores(&mut scores, shares);
            let scores = Matrix::new(&scores, keys);
            let (start, stride) = Results::place(sizes, head, width);
            packed.product(simd, scores, k.get(batch, head), [queries, keys, width], &mut to_q[start..], stride);
            let across = scores.transposed();
            packed.product(simd, across, q.get(batch, head), [keys, queries, width], &mut to_k[start..], stride);
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

pub(super) fn attention(operands: [Operand; 3], plan: Plan) -> Tensor<4> {
    record(operands, Attention, |operands, tracked| {
        let keeps = tracked.contains(&true);
        let operands = operands.map(Heads::new);
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
        let gradient = Heads::new(gradients.consume::<Flex>(&ops.node));
        let results = plan.backward(&gradient, operands.each_ref(), values(&shares));
        for (node, result) in ops.parents.into_iter().zip(results) {
            register(gradients, node.map(|node| node.id), result);
        }
    }
}
