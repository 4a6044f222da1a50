//! What holds of every fusion.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, Tolerance};
use burn_adapters_core::{Fill, Init, Mode};
use burn_adapters_fusion::{Fusion, FusionConfig};

fn random(seed: u64, device: &Device) -> Tensor<3> {
    let drawn = Init::from_seed(seed).param([2, 4, 8], Fill::Normal { std: 1.0 }, &Device::default());
    Tensor::from_data(drawn.val().into_data(), device)
}

fn fusion(config: FusionConfig, device: &Device) -> Fusion {
    Fusion::new(&config, 8, 0.1, &mut Init::from_seed(3), device).unwrap()
}

fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
    found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
}

#[test]
fn a_new_fusion_of_one_adapter_is_that_adapter() {
    let device = Device::default();
    for config in [FusionConfig::r#static(), FusionConfig::dynamic()] {
        let (x, up) = (random(1, &device), random(2, &device));
        let output = fusion(config, &device).forward(x.clone(), std::slice::from_ref(&up), x.clone(), Mode::Inference);
        output.hidden.into_data().assert_approx_eq::<f32>(&(up + x).into_data(), Tolerance::absolute(1e-4));
        assert_close(output.attention, Tensor::ones([2, 4, 1], &device));
    }
}

#[test]
fn the_attention_follows_the_order_of_the_adapters_and_the_output_does_not_depend_on_it() {
    let device = Device::default();
    let fusion = fusion(FusionConfig::dynamic().with_key(false).with_query(false), &device);
    let (x, a, b) = (random(3, &device), random(4, &device), random(5, &device));
    let one = fusion.forward(x.clone(), &[a.clone(), b.clone()], x.clone(), Mode::Inference);
    let other = fusion.forward(x.clone(), &[b, a], x, Mode::Inference);
    assert_close(one.hidden, other.hidden);
    assert_close(one.attention.clone(), other.attention.flip([2]));
    assert_close(one.attention.sum_dim(2), Tensor::ones([2, 4, 1], &device));
}

#[test]
fn no_adapters_leave_the_residual() {
    let device = Device::default();
    let x = random(6, &device);
    let output = fusion(FusionConfig::dynamic(), &device).forward(x.clone(), &[], x.clone(), Mode::Inference);
    assert_close(output.hidden, x);
    assert_eq!(output.attention.dims(), [2, 4, 0]);
}

#[test]
fn dropout_is_on_the_scores_and_only_in_training() {
    let device = Device::default();
    let config = FusionConfig::r#static().with_key(false).with_query(false);
    let ups = [random(7, &device), random(8, &device)];
    let attention = |fusion: &Fusion, mode| {
        let x = Tensor::ones([2, 4, 8], &device);
        fusion.forward(x.clone(), &ups, x, mode).attention
    };
    // Nearly every score is dropped: the attention is even.
    let dropping = fusion(config.clone().with_dropout_prob(0.999_999_9), &device);
    assert_close(attention(&dropping, Mode::Training), Tensor::full([2, 4, 2], 0.5, &device));
    let inference = attention(&dropping, Mode::Inference);
    assert!((inference.clone() - 0.5).abs().max().into_scalar::<f32>() > 0.1);
    // `dropout_prob=0.0` is none at all, and the model's own is taken only where none is given.
    let without = fusion(config.clone().with_dropout_prob(0.0), &device);
    assert_close(attention(&without, Mode::Training), inference);
    assert_eq!((without.dropout, fusion(config, &device).dropout), (0.0, 0.1));
}

#[test]
fn dropped_scores_are_zero_while_kept_ones_hold_what_the_softmax_alone_would_not_see() {
    let device = Device::default();
    let config = FusionConfig::r#static().with_residual_before(true).with_dropout_prob(0.5);
    let mut fusion = fusion(config, &device);
    let key = fusion.key.as_mut().unwrap();
    key.bias = key.bias.take().map(|bias| bias.map(|bias| bias + 1.0));
    let (x, up, residual) = (random(9, &device), random(10, &device), random(11, &device));
    let query = fusion.query.as_ref().unwrap().forward(x.clone());
    let key = fusion.key.as_ref().unwrap().forward(up.clone() + residual.clone());
    let kept = (query * key).sum_dim(2) * 2.0;
    let kept: Vec<f32> = kept.into_data().try_into_vec().unwrap();
    let near = |a: f32, b: f32| (a - b).abs() < 1e-4;
    let mut uneven = 0;
    for _ in 0..20 {
        let output = fusion.forward(x.clone(), &[up.clone(), up.clone()], residual.clone(), Mode::Training);
        let [first, second] = [0, 1].map(|index| output.attention.clone().narrow(2, index, 1).log());
        let found: Vec<f32> = (first - second).into_data().try_into_vec().unwrap();
        // Of two equal adapters one is kept and one dropped, or both, or none.
        for (found, kept) in found.into_iter().zip(&kept) {
            assert!(near(found, 0.0) || near(found, *kept) || near(found, -kept), "{found} {kept}");
            uneven += usize::from(found.abs() > 1e-3);
        }
    }
    assert!((40..120).contains(&uneven), "{uneven} of 160");
}

#[test]
fn a_fusion_learns_to_listen_to_the_adapter_that_is_right() {
    let device = Device::default().autodiff();
    // The adapters and what they say know nothing of gradients.
    let plain = Device::default();
    let x = random(12, &plain);
    let ups = [random(13, &plain), random(14, &plain), random(15, &plain)];
    let target = x.clone() + ups[1].clone();
    let mut fusion = fusion(FusionConfig::dynamic().with_dropout_prob(0.0), &device);
    let forward = |fusion: &Fusion| fusion.forward(x.clone(), &ups, x.clone(), Mode::Training);
    let loss = |fusion: &Fusion| (forward(fusion).hidden - target.clone()).powi_scalar(2).mean();
    let before = loss(&fusion).into_scalar::<f32>();
    let mut optimizer = SgdConfig::new().init();
    for _ in 0..60 {
        let loss = loss(&fusion) + fusion.regularization_loss().unwrap();
        let gradients = GradientsParams::from_grads(loss.backward(), &fusion);
        fusion = optimizer.step(0.5, fusion, gradients);
    }
    assert!(loss(&fusion).into_scalar::<f32>() < 0.5 * before);
    let attention = forward(&fusion).attention.mean_dim(1).mean_dim(0);
    let attention: Vec<f32> = attention.into_data().try_into_vec().unwrap();
    assert!(attention[1] > attention[0] && attention[1] > attention[2], "{attention:?}");
}

#[test]
fn adapters_in_training_and_frozen_ones_can_be_fused() {
    let (plain, tracked) = (Device::default(), Device::default().autodiff());
    let x = random(16, &plain);
    let trained = random(17, &tracked).require_grad();
    // Nothing is projected, so only one of the scores has a graph.
    let fusion = fusion(FusionConfig::r#static().with_key(false).with_query(false), &plain);
    let ups = [random(18, &plain), trained.clone(), random(19, &plain)];
    let output = fusion.forward(x.clone(), &ups, x, Mode::Training);
    let gradients = output.hidden.sum().backward();
    assert!(trained.grad(&gradients).unwrap().abs().sum().into_scalar::<f32>() > 0.0);
}

#[test]
fn the_temperature_and_the_configuration_outlive_a_training_step() {
    let device = Device::default().autodiff();
    let mut fusion = fusion(FusionConfig::dynamic().with_temperature(true), &device);
    fusion.cool();
    let x = random(20, &device);
    let loss = fusion.forward(x.clone(), &[x.clone(), random(21, &device)], x, Mode::Training).hidden.sum();
    let gradients = GradientsParams::from_grads(loss.backward(), &fusion);
    let stepped = SgdConfig::new().init().step(0.1, fusion.clone(), gradients);
    for other in [stepped.clone(), stepped.valid()] {
        assert_eq!((other.temperature, other.config), (49.95, fusion.config.clone()));
    }
}

#[test]
fn a_new_fusion_regularizes_nearly_nothing_and_says_nothing_without_a_value_matrix() {
    let device = Device::default();
    let loss = fusion(FusionConfig::dynamic(), &device).regularization_loss().unwrap();
    assert!(loss.into_scalar::<f32>() < 1e-10);
    assert!(fusion(FusionConfig::r#static().with_regularization(true), &device).regularization_loss().is_none());
    assert!(fusion(FusionConfig::dynamic().with_regularization(false), &device).regularization_loss().is_none());
}
