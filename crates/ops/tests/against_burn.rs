//! Each function against Burn's own operations, forward and backward, on the device that `BURN_DEVICE` names.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use burn::tensor::activation::softmax as burn_softmax;
use burn::tensor::{Bool, DType, Device, Distribution, FloatDType, Tensor};
use burn_adapters_ops::{
    AttentionOptions, Dropout, Rows, attention, dropout, gelu, layer_norm, linear, packed_attention, softmax, take_rows,
};

use crate::common::tracked;

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.5), &Device::default())
}

fn bound() -> f32 {
    1e-6
}

#[track_caller]
fn close<const D: usize>(ours: Tensor<D>, theirs: Tensor<D>) {
    common::close(bound(), ours, theirs);
}

#[track_caller]
fn same<const N: usize, const D: usize>(
    inputs: [Tensor<D>; N],
    ours: impl Fn([Tensor<D>; N]) -> Tensor<D>,
    theirs: impl Fn([Tensor<D>; N]) -> Tensor<D>,
) {
    common::same((bound(), 1.5), inputs, ours, theirs);
}

fn exact_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let cdf = (x.clone() / std::f64::consts::SQRT_2).erf() + 1.0;
    x * cdf * 0.5
}

#[test]
fn gelu_is_its_definition() {
    same([random([3, 37, 200])], |[x]| gelu(x), |[x]| exact_gelu(x));
    same([random([5, 7]).swap_dims(0, 1)], |[x]| gelu(x), |[x]| exact_gelu(x));
}

#[test]
fn linear_is_a_product_and_a_sum() {
    // The last shapes have more rows than a transposed weight is multiplied by as it is stored.
    for [rows, d_input, d_output] in [[1, 1, 1], [3, 5, 7], [9, 64, 1], [100, 33, 20], [70, 128, 384]] {
        let bias = random([d_output]);
        let (x, weight) = (random([rows, d_input]), random([d_input, d_output]));
        let sum = |x: Tensor<2>, weight: Tensor<2>| x.matmul(weight) + bias.clone().unsqueeze();
        same(
            [x.clone(), weight.clone()],
            |[x, weight]| linear(x, weight, Some(bias.clone())),
            |[x, weight]| sum(x, weight),
        );
        same([x.clone(), weight.clone()], |[x, weight]| linear(x, weight, None), |[x, weight]| x.matmul(weight));
        // Only the bias is trained; every matrix is transposed.
        let across = weight.clone().transpose().reshape([d_output, d_input]);
        same(
            [bias.clone()],
            |[bias]| linear(x.clone(), across.clone().transpose(), Some(bias)).flatten(0, 1),
            |[bias]| (x.clone().matmul(weight.clone()) + bias.unsqueeze()).flatten(0, 1),
        );
        let turned = x.clone().transpose().reshape([d_input, rows]);
        same([turned], |[x]| linear(x.transpose(), weight.clone(), None), |[x]| x.transpose().matmul(weight.clone()));
        let row = x.clone().narrow(0, 0, 1);
        close(linear(row.clone().flatten::<1>(0, 1), weight.clone(), None), row.matmul(weight).flatten(0, 1));
    }
    // Batches of sequences, and a frozen weight.
    let weight = random([40, 24]);
    same([random([4, 50, 40])], |[x]| linear(x, weight.clone(), None), |[x]| x.matmul(weight.clone().unsqueeze()));
}

#[test]
fn linear_multiplies_by_a_weight_in_bf16() {
    let device = Device::default();
    if !device.supports_dtype(FloatDType::BF16) {
        return;
    }
    let bias = random([33]);
    for rows in [1, 5, 90] {
        let x = random([2, rows, 50]);
        let half = random([50, 33]).cast(FloatDType::BF16);
        let weight = half.clone().cast(FloatDType::F32);
        let near = |ours: Tensor<3>, theirs: Tensor<3>| {
            let largest = theirs.clone().abs().max().into_scalar::<f32>();
            let far = (ours - theirs).abs().max().into_scalar::<f32>();
            assert!(far <= largest / 128.0, "{far} of {largest}");
        };
        let turned = Tensor::<2>::from_data(half.clone().transpose().to_data(), (&device, DType::BF16));
        for half in [half.clone(), turned.transpose()] {
            let run = |linear: &dyn Fn(Tensor<3>) -> Tensor<3>| {
                let leaf = tracked(&x);
                let output = linear(leaf.clone());
                let gradients = output.clone().powi_scalar(2).sum().backward();
                (output.inner(), leaf.grad(&gradients).unwrap())
            };
            let (ours, our_gradient) = run(&|x| linear(x, half.clone(), Some(bias.clone())));
            let (theirs, their_gradient) = run(&|x| linear(x, weight.clone(), Some(bias.clone())));
            near(ours, theirs);
            near(our_gradient, their_gradient);
        }
        // A weight that is trained has a gradient, in bf16 too.
        let leaf = Tensor::<2>::from_data(half.to_data(), (&device.clone().autodiff(), DType::BF16)).require_grad();
        let gradients = linear(x, leaf.clone(), None).sum().backward();
        assert_eq!(leaf.grad(&gradients).unwrap().dims(), [50, 33]);
    }
}

#[test]
fn rows_are_taken_and_put_back() {
    let from = [Some(4), None, Some(0), Some(2), None];
    let rows = Rows::new(from, 6).unwrap();
    let theirs = |x: Tensor<2>| {
        let zeros = Tensor::<2>::zeros([1, 700], &x.device());
        let parts = from.map(|row| row.map_or_else(|| zeros.clone(), |row| x.clone().narrow(0, row, 1)));
        Tensor::cat(parts.to_vec(), 0)
    };
    same([random([6, 700])], |[x]| take_rows(x, &rows), |[x]| theirs(x));
    let x = random([6, 3]);
    let back = take_rows(take_rows(x.clone(), &rows), &rows.inverse());
    let kept = Tensor::<2>::from_data([[1.0], [0.0], [1.0], [0.0], [1.0], [0.0]], &Device::default());
    close(back, x * kept);
    assert_eq!(Rows::new([Some(1), Some(1)], 3), None);
    assert_eq!(Rows::new([Some(3)], 3), None);
}

#[test]
fn softmax_is_burns() {
    same([random([3, 5, 40, 33])], |[x]| softmax(x), |[x]| burn_softmax(x, 3));
    same([random([3, 40]).swap_dims(0, 1)], |[x]| softmax(x), |[x]| burn_softmax(x, 1));
}

#[test]
fn layer_norm_is_burns_with_frozen_weights() {
    for (rows, width) in [(3, 1), (50, 100), (129, 384)] {
        let (gamma, beta) = (random([width]), random([width]));
        same(
            [random([2, rows, width]) + 3.0],
            |[x]| layer_norm(x, gamma.clone(), Some(beta.clone()), 1e-5),
            |[x]| burn::tensor::module::layer_norm(x, gamma.clone(), Some(beta.clone()), 1e-5),
        );
    }
}

#[test]
fn layer_norm_has_the_gradients_of_its_weights() {
    let (x, gamma, beta, weight) = (random([2, 60, 384]), random([384]), random([384]), random([2, 60, 384]));
    let run = |ours: bool| {
        let (x, gamma, beta) = (tracked(&x), tracked(&gamma), tracked(&beta));
        let function = if ours { layer_norm } else { burn::tensor::module::layer_norm };
        let output = function(x.clone(), gamma.clone(), Some(beta.clone()), 1e-12);
        let gradients = (output * weight.clone()).sum().backward();
        (x.grad(&gradients).unwrap(), gamma.grad(&gradients).unwrap(), beta.grad(&gradients).unwrap())
    };
    let (ours, theirs) = (run(true), run(false));
    close(ours.0, theirs.0);
    close(ours.1, theirs.1);
    close(ours.2, theirs.2);
    let x = layer_norm(x.clone(), gamma.clone(), None, 1e-12);
    assert_eq!(x.dims(), [2, 60, 384]);
}

fn composed(
    [q, k, v]: [Tensor<4>; 3],
    scale: f64,
    mask: Option<Tensor<4, Bool>>,
    keep: Option<Tensor<4>>,
) -> Tensor<4> {
    let mut scores = (q * scale).matmul(k.swap_dims(2, 3));
    if let Some(mask) = mask {
        let lowest = Tensor::<4>::zeros(mask.dims(), &Device::default()).mask_fill(mask, f32::MIN);
        scores = scores + lowest;
    }
    let mut shares = burn_softmax(scores, 3);
    if let Some(keep) = keep {
        shares = shares * keep;
    }
    shares.matmul(v)
}

/// Small enough that scores stay below five: rounding alone changes the exponential of larger ones by up to a millionth.
fn heads(batch: usize, heads: usize, tokens: usize, width: usize) -> Tensor<4> {
    random([batch, tokens, heads, width]).swap_dims(1, 2) * 0.45
}

/// The first rows of the batch are shorter than the last, and the first row is padding only.
fn padding(batch: usize, keys: usize) -> Tensor<4, Bool> {
    let kept = |row: usize| keys * row / (batch - 1);
    let mask: Vec<bool> = (0..batch).flat_map(|row| (0..keys).map(move |key| key >= kept(row))).collect();
    Tensor::<1, Bool>::from_data(mask.as_slice(), &Device::default()).reshape([batch, 1, 1, keys])
}

#[test]
fn attention_is_softmax_of_the_scores_times_the_values() {
    let inputs = || [heads(3, 4, 9, 16), heads(3, 4, 21, 16), heads(3, 4, 21, 16)];
    let options = AttentionOptions::default();
    let many = [heads(9, 2, 9, 16), heads(9, 2, 37, 16), heads(9, 2, 37, 16)];
    same(many, |[q, k, v]| attention(q, k, v, None, options), |input| composed(input, 0.25, None, None));
    same(inputs(), |[q, k, v]| attention(q, k, v, None, options), |input| composed(input, 0.25, None, None));
    let options = AttentionOptions { scale: Some(0.7), ..options };
    same(inputs(), |[q, k, v]| attention(q, k, v, None, options), |input| composed(input, 0.7, None, None));
}

#[test]
fn attention_leaves_out_what_is_masked() {
    let inputs = || [heads(4, 3, 19, 8), heads(4, 3, 19, 8), heads(4, 3, 19, 8)];
    let causal = random([1, 1, 19, 19]).greater_elem(0.3);
    let by_head = random([1, 3, 1, 19]).greater_elem(0.3);
    for mask in [padding(4, 19), causal, by_head] {
        let options = AttentionOptions { scale: Some(0.5), dropout: None, ..Default::default() };
        let with = || Some(mask.clone());
        same(inputs(), |[q, k, v]| attention(q, k, v, with(), options), |input| composed(input, 0.5, with(), None));
    }
}

#[test]
fn sequences_that_are_packed_attend_as_they_would_alone() {
    let (queries, keys) = ([3, 1, 20, 7], [3, 5, 20, 2]);
    let options = AttentionOptions { scale: Some(0.4), dropout: None, ..Default::default() };
    // As small as those of `heads`.
    let inputs = [random([31, 2, 8]), random([30, 2, 8]), random([30, 2, 8])].map(|x| x * 0.45);
    let alone = |[q, k, v]: [Tensor<3>; 3]| {
        let (mut query, mut key, mut parts) = (0, 0, Vec::new());
        for (queries, keys) in queries.into_iter().zip(keys) {
            let [q, k, v] = [(&q, query, queries), (&k, key, keys), (&v, key, keys)]
                .map(|(x, from, count)| x.clone().narrow(0, from, count).swap_dims(0, 1).unsqueeze::<4>());
            parts.push(composed([q, k, v], 0.4, None, None).squeeze_dim::<3>(0).swap_dims(0, 1));
            (query, key) = (query + queries, key + keys);
        }
        Tensor::cat(parts, 0)
    };
    same(inputs.clone(), |[q, k, v]| packed_attention(q, k, v, &queries, &keys, options), alone);
    // As slices of one tensor, side by side.
    let side_by_side = Tensor::cat(inputs.map(|x| x.narrow(0, 0, 30)).to_vec(), 2);
    let parts = |x: Tensor<3>| [0, 8, 16].map(|from| x.clone().narrow(2, from, 8));
    let lengths = [10, 20];
    let packed = |x| {
        let [q, k, v] = parts(x);
        packed_attention(q, k, v, &lengths, &lengths, options)
    };
    let dense = |x: Tensor<3>| {
        let rows = |from: usize, count: usize| {
            let heads = parts(x.clone()).map(|x| x.narrow(0, from, count).swap_dims(0, 1).unsqueeze::<4>());
            composed(heads, 0.4, None, None).squeeze_dim::<3>(0).swap_dims(0, 1)
        };
        Tensor::cat(vec![rows(0, 10), rows(10, 20)], 0)
    };
    same([side_by_side], |[x]| packed(x), |[x]| dense(x));
}

#[test]
#[should_panic(expected = "do not match tensors of")]
fn packed_sequences_must_be_as_long_as_their_tensors() {
    let x = random([5, 1, 4]);
    packed_attention(x.clone(), x.clone(), x, &[2, 2], &[2, 3], AttentionOptions::default());
}

#[test]
fn packed_attention_is_thinned_out_by_its_seed() {
    let run = |seed: u64| {
        let x = Tensor::<3>::ones([64, 2, 4], &Device::default());
        let options = AttentionOptions { dropout: Some(Dropout { probability: 0.5, seed }), ..Default::default() };
        let lengths = [24, 40];
        let output = packed_attention(x.clone(), x.clone(), x, &lengths, &lengths, options);
        (output.clone().mean().into_scalar::<f32>(), output.into_data())
    };
    let (mean, data) = run(5);
    assert!((mean - 1.0).abs() < 0.1, "{mean}");
    if cfg!(feature = "flex") && Device::default() == Device::flex() {
        assert_eq!(run(5).1, data);
        assert_ne!(run(6).1, data);
    }
}

#[test]
fn attention_sees_a_mask_on_a_device_with_a_graph() {
    let [q, k, v] = [heads(3, 2, 7, 8), heads(3, 2, 7, 8), heads(3, 2, 7, 8)];
    let there = Tensor::from_data(padding(3, 7).to_data(), &Device::default().autodiff());
    let options = AttentionOptions::default();
    let ours = attention(tracked(&q), k.clone(), v.clone(), Some(there), options);
    close(ours.inner(), attention(q, k, v, Some(padding(3, 7)), options));
}

#[cfg(feature = "flex")]
#[test]
fn attention_drops_what_dropout_of_the_same_seed_drops() {
    if Device::default() != Device::flex() {
        return;
    }
    let inputs = || [heads(8, 3, 70, 8), heads(8, 3, 70, 8), heads(8, 3, 70, 8)];
    let keep = dropout(Tensor::ones([8, 3, 70, 70], &Device::default()), 0.3, 11);
    let options = AttentionOptions {
        scale: Some(0.5),
        dropout: Some(Dropout { probability: 0.3, seed: 11 }),
        ..Default::default()
    };
    let mask = || Some(padding(8, 70));
    same(
        inputs(),
        |[q, k, v]| attention(q, k, v, mask(), options),
        |input| composed(input, 0.5, mask(), Some(keep.clone())),
    );
}

#[cfg(feature = "flex")]
#[test]
fn dropout_follows_from_its_seed_forward_and_backward() {
    if Device::default() != Device::flex() {
        return;
    }
    let ones = || Tensor::<3>::ones([5, 100, 77], &Device::default());
    let keep = dropout(ones(), 0.1, 3);
    same([random([5, 100, 77])], |[x]| dropout(x, 0.1, 3), |[x]| x * keep.clone());
    assert_ne!(keep.to_data(), dropout(ones(), 0.1, 4).to_data());
    // Dropout of a tensor that is not contiguous goes by position, not by offset in memory.
    let scattered = Tensor::<3>::ones([77, 100, 5], &Device::default()).swap_dims(0, 2);
    assert_eq!(keep.to_data(), dropout(scattered, 0.1, 3).to_data());
}

#[test]
fn dropout_keeps_the_mean() {
    for device in [Device::default(), Device::default().autodiff()] {
        let x = dropout(Tensor::<2>::ones([300, 1000], &device), 0.25, 9);
        let mean = x.clone().mean().into_scalar::<f32>();
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        let zeros = x.equal_elem(0.0).int().sum().into_scalar::<i64>();
        assert!((70_000..80_000).contains(&zeros), "{zeros}");
    }
}

#[test]
fn dropout_of_nothing_or_everything_is_the_input_or_zero() {
    let x = random([4, 5]);
    assert_eq!(dropout(x.clone(), 0.0, 1).to_data(), x.to_data());
    assert_eq!(dropout(x.clone(), f64::NAN, 1).to_data(), x.to_data());
    close(dropout(x.clone(), 1.0, 1), x.zeros_like());
}
