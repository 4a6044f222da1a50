//! The kernels of decoders against Burn's own operations, forward and backward, on the device that `BURN_DEVICE` names.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Bool, Device, Distribution, Int, Tensor, TensorData};
use burn_adapters_ops::{
    AttentionOptions, Dropout, Nonlinearity, Rotary, Sight, gated, nonlinear, packed_sighted_attention, rms_norm,
    sighted_attention, token_losses,
};

use crate::common::tracked;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 0.7), &Device::default())
}

fn bound() -> f32 {
    // GPUs round differently: there the tolerance is that of all parity tests.
    let graphics = std::env::var("BURN_DEVICE").is_ok_and(|device| device == "wgpu");
    if graphics { 1e-4 } else { 2e-6 }
}

#[track_caller]
fn close<const D: usize>(ours: Tensor<D>, theirs: Tensor<D>) {
    common::close(bound(), ours, theirs);
}

#[track_caller]
fn same<const N: usize, const D: usize, const O: usize>(
    inputs: [Tensor<D>; N],
    ours: impl Fn([Tensor<D>; N]) -> Tensor<O>,
    theirs: impl Fn([Tensor<D>; N]) -> Tensor<O>,
) {
    common::same((bound(), 0.7), inputs, ours, theirs);
}

#[test]
fn rms_norm_is_its_definition() {
    for (rows, width) in [(3, 17), (7, 40), (90, 576)] {
        let gamma = random([width]);
        let composed = |x: Tensor<2>| {
            let scale = (x.clone().powi_scalar(2).mean_dim(1) + 1e-3).sqrt().recip();
            x * scale * gamma.clone().unsqueeze()
        };
        let ours = |[x]: [Tensor<2>; 1]| rms_norm(x, gamma.clone(), 1e-3);
        same([random([rows, width])], ours, |[x]| composed(x));
    }
    // The gradient of gamma.
    let x = random::<2>([37, 24]);
    let composed = |[gamma]: [Tensor<1>; 1]| {
        let scale = (x.clone().powi_scalar(2).mean_dim(1) + 1e-6).sqrt().recip();
        x.clone() * scale * gamma.unsqueeze()
    };
    same([random([24])], |[gamma]| rms_norm(x.clone(), gamma, 1e-6), composed);
}

#[test]
fn activations_and_gates_are_their_definitions() {
    let silu = |x: Tensor<3>| x.clone() * sigmoid(x);
    let gelu_tanh = |x: Tensor<3>| {
        let inner = (x.clone() + x.clone().powi_scalar(3) * 0.044715) * (2.0 / std::f64::consts::PI).sqrt();
        x * (inner.tanh() + 1.0) * 0.5
    };
    let gelu = |x: Tensor<3>| x.clone() * ((x / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5;
    let all: [(Nonlinearity, &dyn Fn(Tensor<3>) -> Tensor<3>); 3] =
        [(Nonlinearity::Silu, &silu), (Nonlinearity::GeluTanh, &gelu_tanh), (Nonlinearity::Gelu, &gelu)];
    for (kind, composed) in all {
        let x = || random([3, 37, 200]) * 3.0;
        same([x()], |[x]| nonlinear(x, kind), |[x]| composed(x));
        same([x(), x()], |[gate, up]| gated(gate, up, kind), |[gate, up]| composed(gate) * up);
    }
    let far = Tensor::<1>::from_data([-200.0, 200.0, 0.0], &Device::default());
    for kind in [Nonlinearity::Silu, Nonlinearity::GeluTanh, Nonlinearity::Gelu] {
        let values = nonlinear(far.clone(), kind).into_data().try_to_vec::<f32>().unwrap();
        assert!(values[0].abs() < 1e-6 && values[1] == 200.0 && values[2] == 0.0, "{kind:?}: {values:?}");
    }
}

#[test]
fn token_losses_are_those_of_a_softmax() {
    for (rows, vocabulary) in [(1, 30), (7, 300), (40, 5000)] {
        let targets: Vec<usize> = (0..rows).map(|row| (row * 7919) % vocabulary).collect();
        let indices: Vec<i32> = targets.iter().map(|target| *target as i32).collect();
        let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [rows, 1]), &Device::default());
        let composed = |x: Tensor<2>| -log_softmax(x, 1).gather(1, indices.clone());
        same([random([rows, vocabulary]) * 2.0], |[x]| token_losses(x, &targets), |[x]| composed(x));
    }
}

#[test]
#[should_panic(expected = "expected 2 targets below 5")]
fn a_target_beyond_the_vocabulary_is_refused() {
    token_losses(random([2, 5]), &[1, 5]);
}

/// Rotates pairs with their cosines and sines.
fn rotated(x: Tensor<4>, first: usize, dims: usize) -> Tensor<4> {
    let [_, _, positions, head] = x.dims();
    let half = dims / 2;
    let angle = |position: usize, pair: usize| {
        (first + position) as f32 * 100.0_f32.powf(2.0 * pair as f32 / dims as f32).recip()
    };
    let table = |function: fn(f32) -> f32| {
        let pairs = (0..positions).flat_map(|position| (0..half).map(move |pair| (position, pair)));
        let values: Vec<f32> = pairs.map(|(position, pair)| function(angle(position, pair))).collect();
        Tensor::<4>::from_data(TensorData::new(values, [1, 1, positions, half]), &Device::default())
    };
    let (cos, sin) = (table(f32::cos), table(f32::sin));
    let (low, high) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
    let mut parts = vec![low.clone() * cos.clone() - high.clone() * sin.clone(), high * cos + low * sin];
    if head > dims {
        parts.push(x.narrow(3, dims, head - dims));
    }
    Tensor::cat(parts, 3)
}

#[test]
fn rotary_positions_rotate_forward_and_their_gradients_back() {
    for dims in [8, 6] {
        let rotary = Rotary::new(dims, 100.0);
        let x = random([2, 9, 24]);
        let split = |x: Tensor<3>| x.reshape([2, 9, 3, 8]).swap_dims(1, 2);
        same([x], |[x]| rotary.rotate(split(x), 5), |[x]| rotated(split(x), 5, dims));
    }
    // Rows with first positions of their own.
    let rotary = Rotary::new(8, 100.0);
    let x = random([2, 3, 5, 8]);
    let of_rows = |[x]: [Tensor<4>; 1]| {
        Tensor::cat(vec![rotated(x.clone().narrow(0, 0, 1), 3, 8), rotated(x.narrow(0, 1, 1), 11, 8)], 0)
    };
    same([x], |[x]| rotary.rotate_rows(x, &[3, 11]), of_rows);
    let turned = rotary.clone().interleaved().rotate(random([1, 2, 4, 8]), 7);
    assert_eq!(turned.dims(), [1, 2, 4, 8]);
}

/// `softmax(q kᵀ · scale) v` with a mask, each head of keys and values repeated.
fn composed([q, k, v]: [Tensor<4>; 3], mask: &Tensor<4, Bool>, scale: f64) -> Tensor<4> {
    let ([batch, heads, ..], [_, groups, keys, head], [_, _, _, value]) = (q.dims(), k.dims(), v.dims());
    let each = heads / groups;
    // Not `repeat_dim`, whose gradient is wrong for one repetition.
    let k = Tensor::cat(vec![k.unsqueeze_dim::<5>(2); each], 2).reshape([batch, heads, keys, head]);
    let v = Tensor::cat(vec![v.unsqueeze_dim::<5>(2); each], 2).reshape([batch, heads, keys, value]);
    let scores = q.matmul(k.swap_dims(2, 3)) * scale;
    let shape = scores.dims();
    softmax(scores.mask_fill(mask.clone().expand(shape), f32::MIN), 3).matmul(v)
}

fn hidden(sight: Sight, queries: usize, keys: usize) -> Tensor<4, Bool> {
    let pairs = (0..queries).flat_map(|query| (0..keys).map(move |key| (query, key)));
    let values: Vec<bool> = pairs.map(|(query, key)| !sight.sees(query, key, queries, keys)).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, queries, keys]), &Device::default())
}

const SIGHTS: [Sight; 6] = [
    Sight { prefixes: 0, before: None, after: None },
    Sight { prefixes: 0, before: None, after: Some(0) },
    Sight { prefixes: 5, before: None, after: Some(0) },
    Sight { prefixes: 0, before: Some(9), after: Some(0) },
    Sight { prefixes: 3, before: Some(2), after: Some(0) },
    Sight { prefixes: 0, before: Some(40), after: Some(40) },
];

#[test]
fn queries_attend_to_the_keys_that_they_see() {
    for sight in SIGHTS {
        for (queries, heads, groups) in [(1, 2, 2), (3, 4, 2), (130, 3, 1), (61, 2, 2)] {
            let keys = queries + sight.prefixes;
            let inputs =
                [random([2, heads, queries, 16]), random([2, groups, keys, 16]), random([2, groups, keys, 16])];
            let options = AttentionOptions { scale: Some(0.4), dropout: None, ..Default::default() };
            let mask = hidden(sight, queries, keys);
            let ours = |[q, k, v]: [Tensor<4>; 3]| sighted_attention(q, k, v, None, sight, options);
            same(inputs, ours, |inputs| composed(inputs, &mask, 0.4));
        }
    }
}

#[test]
fn queries_that_continue_see_earlier_keys() {
    for queries in [1, 2, 20] {
        let sight = Sight::causal();
        let inputs = [random([1, 4, queries, 8]), random([1, 2, 70, 8]), random([1, 2, 70, 8])];
        let mask = hidden(sight, queries, 70);
        let options = AttentionOptions { scale: Some(0.5), dropout: None, ..Default::default() };
        let ours = |[q, k, v]: [Tensor<4>; 3]| sighted_attention(q, k, v, None, sight, options);
        same(inputs, ours, |inputs| composed(inputs, &mask, 0.5));
    }
}

#[test]
fn padding_is_masked_within_sight() {
    let values: Vec<bool> = (0..2).flat_map(|row| (0..60).map(move |key| row == 1 && key >= 33)).collect();
    let padding = Tensor::<4, Bool>::from_data(TensorData::new(values, [2, 1, 1, 60]), &Device::default());
    let sight = Sight::causal();
    let shape = [2, 1, 60, 60];
    let both = padding.clone().expand(shape).bool_or(hidden(sight, 60, 60).expand(shape));
    let inputs = [random([2, 4, 60, 8]), random([2, 2, 60, 8]), random([2, 2, 60, 8])];
    let options = AttentionOptions { scale: Some(0.5), dropout: None, ..Default::default() };
    let ours = |[q, k, v]: [Tensor<4>; 3]| sighted_attention(q, k, v, Some(padding.clone()), sight, options);
    let theirs = |[q, k, v]: [Tensor<4>; 3]| {
        let each = |x: Tensor<4>| Tensor::cat(vec![x.unsqueeze_dim::<5>(2); 2], 2).reshape([2, 4, 60, 8]);
        let scores = q.matmul(each(k).swap_dims(2, 3)) * 0.5;
        softmax(scores.mask_fill(both.clone().expand([2, 4, 60, 60]), f32::MIN), 3).matmul(each(v))
    };
    same(inputs, ours, theirs);
}

#[test]
fn packed_sequences_attend_as_they_would_alone() {
    let lengths = [3, 70, 1, 26];
    for sight in [Sight::causal(), Sight { before: Some(7), ..Sight::causal() }] {
        let inputs = [random([100, 4, 8]), random([100, 4, 8]), random([100, 4, 8])];
        let options = AttentionOptions { scale: Some(0.5), dropout: None, ..Default::default() };
        let alone = |[q, k, v]: [Tensor<3>; 3]| {
            let mut first = 0;
            let parts = lengths.map(|length| {
                let part = |x: &Tensor<3>| x.clone().narrow(0, first, length).swap_dims(0, 1).unsqueeze::<4>();
                let inputs = [part(&q), part(&k), part(&v)];
                first += length;
                composed(inputs, &hidden(sight, length, length), 0.5).squeeze_dim::<3>(0).swap_dims(0, 1)
            });
            Tensor::cat(parts.to_vec(), 0)
        };
        let ours = |[q, k, v]: [Tensor<3>; 3]| packed_sighted_attention(q, k, v, &lengths, sight, options);
        same(inputs, ours, alone);
    }
}

#[test]
fn rounded_factors_move_results_by_the_precision_of_bf16() {
    for sight in SIGHTS {
        for queries in [2, 70] {
            let keys = queries + sight.prefixes;
            let inputs: [Tensor<4>; 3] =
                [random([2, 4, queries, 17]), random([2, 2, keys, 17]), random([2, 2, keys, 17])];
            let run = |rounded| {
                let options = AttentionOptions { rounded, ..Default::default() };
                let [q, k, v] = inputs.each_ref().map(tracked);
                let output = sighted_attention(q.clone(), k.clone(), v.clone(), None, sight, options);
                // Each output counts with another weight.
                let gradients = (output.clone() * output.clone()).sum().backward();
                [output.inner(), q.grad(&gradients).unwrap(), k.grad(&gradients).unwrap(), v.grad(&gradients).unwrap()]
            };
            for (number, (rounded, exact)) in run(true).into_iter().zip(run(false)).enumerate() {
                let most = exact.clone().abs().max().into_scalar::<f32>();
                let apart = (rounded - exact).abs().max().into_scalar::<f32>();
                assert!(apart < 0.02 * most, "{number}, {sight:?}, {queries}: {apart} of {most}");
            }
        }
    }
}

#[test]
fn dropout_is_the_same_in_both_computations() {
    let inputs: [Tensor<4>; 3] = [random([2, 2, 60, 8]), random([2, 1, 60, 8]), random([2, 1, 60, 8])];
    let options = AttentionOptions {
        scale: Some(0.5),
        dropout: Some(Dropout { probability: 0.4, seed: 3 }),
        ..Default::default()
    };
    let run = |inputs: [Tensor<4>; 3]| {
        let [q, k, v] = inputs;
        sighted_attention(q, k, v, None, Sight::causal(), options)
    };
    let once = run(inputs.clone());
    if once.clone().sub(run(inputs.clone())).abs().max().into_scalar::<f32>() > 0.0 {
        return; // Without kernels, dropout draws from the device's generator.
    }
    let leaves = inputs.each_ref().map(tracked);
    let output = run(leaves.clone());
    close(output.clone().inner(), once);
    // The values enter linearly: the gradient of v, times v, is the output again.
    let gradients = output.clone().sum().backward();
    let along = (leaves[2].grad(&gradients).unwrap() * inputs[2].clone()).sum().into_scalar::<f32>();
    let sum = output.inner().sum().into_scalar::<f32>();
    assert!((along - sum).abs() < 1e-3 * sum.abs().max(1.0), "{along} is not {sum}");
    // A small step along the gradient of q changes the sum as it tells.
    let of_q = leaves[0].grad(&gradients).unwrap();
    let squares = of_q.clone().powi_scalar(2).sum().into_scalar::<f32>();
    let moved = [inputs[0].clone() + of_q * (1e-2 / squares.sqrt()), inputs[1].clone(), inputs[2].clone()];
    let gain = run(moved).sum().into_scalar::<f32>() - sum;
    assert!((gain - 1e-2 * squares.sqrt()).abs() < 0.05 * 1e-2 * squares.sqrt() + 1e-4, "{gain}");
}
