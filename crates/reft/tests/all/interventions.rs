//! Properties of interventions beyond the reference's numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Bool, Device, Distribution, Tensor, Tolerance};
use burn_adapters_config::{ReftConfig, ReftLayers};
use burn_adapters_core::{Init, Mode, ModelSpec, StackSpec};
use burn_adapters_reft::{Projection, Reft, ReftError};

fn reft(config: &ReftConfig, hidden: usize, device: &Device) -> Reft {
    Reft::new(config, hidden, &mut Init::from_seed(1), device).unwrap()
}

fn open(batch: usize, sequence: usize, device: &Device) -> Tensor<2, Bool> {
    Tensor::full([batch, sequence], false, device)
}

#[test]
fn parameters_are_counted_as_the_reference_counts_them_and_before_they_are_drawn() {
    let kinds = [ReftConfig::loreft(), ReftConfig::noreft(), ReftConfig::direft()];
    for (layers, hidden, expected) in [(12, 768, 36_888), (24, 1024, 98_352), (2, 128, 1_028), (6, 384, 9_228)] {
        let spec = ModelSpec::new("bert", hidden).with_stack(StackSpec::encoder(layers, hidden, 2, 4 * hidden));
        for config in &kinds {
            let sites = spec.whole_layers();
            let found = sites
                .filter(|(site, _)| Reft::acts_in_layer(config, spec.layer_number(*site)))
                .map(|(_, hidden)| reft(config, hidden, &Device::default()).num_trained());
            assert_eq!(found.sum::<usize>(), expected, "{config:?}");
        }
    }
    let drawn = reft(&kinds[0], 768, &Device::default());
    let Projection::Orthogonal(orthogonal) = &drawn.units[0].projection else { panic!("not orthogonal") };
    assert!(!orthogonal.base.is_initialized() && !drawn.units[0].learned_source.weight.is_initialized());
}

#[test]
fn layers_are_chosen_by_number() {
    let config = ReftConfig::loreft().with_layers(ReftLayers::Some(vec![0, 2]));
    let acts: Vec<_> = (0..4).map(|layer| Reft::acts_in_layer(&config, layer)).collect();
    assert_eq!(acts, [true, false, true, false]);
}

#[test]
fn other_positions_stay_bit_for_bit() {
    let device = Device::default();
    let hidden = Tensor::<3>::random([2, 6, 8], Distribution::Default, &device);
    let config = ReftConfig::loreft().with_prefix_positions(1).with_suffix_positions(1);
    let reft = reft(&config, 8, &device);
    let output = reft.forward(hidden.clone(), &reft.positions(&open(2, 6, &device)), Mode::Inference);
    let middle = |hidden: Tensor<3>| hidden.narrow(1, 1, 4).into_data();
    assert_eq!(middle(output.clone()), middle(hidden.clone()));
    let ends = |hidden: Tensor<3>| hidden.clone().narrow(1, 0, 1) + hidden.narrow(1, 5, 1);
    assert!((ends(output) - ends(hidden)).abs().min().into_scalar::<f32>() > 0.0);
}

#[test]
fn rows_stay_orthonormal_in_training_even_with_weight_decay() {
    let device = Device::default().autodiff();
    let mut reft = reft(&ReftConfig::loreft().with_r(3).with_dropout(0.0), 8, &device);
    let Projection::Orthogonal(new) = &reft.units[0].projection else { panic!("not orthogonal") };
    let (base, before) = (new.base.val().into_data(), new.weight().into_data());
    // Read now: some backends read data lazily, after the change.
    let _ = (base.as_bytes(), before.as_bytes());
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.1).init();
    let hidden = Tensor::<3>::random([4, 5, 8], Distribution::Default, &Device::default());
    for _ in 0..20 {
        let positions = reft.positions(&open(4, 5, &Device::default()));
        let output = reft.forward(hidden.clone(), &positions, Mode::Training);
        let gradients = GradientsParams::from_grads((output.clone() * output).sum().backward(), &reft);
        reft = optimizer.step(0.05, reft, gradients);
    }
    let Projection::Orthogonal(trained) = &reft.units[0].projection else { panic!("not orthogonal") };
    let weight = trained.weight();
    let product = weight.clone().matmul(weight.clone().transpose());
    let identity = Tensor::<2>::eye(3, &product.device()).into_data();
    product.into_data().assert_approx_eq::<f32>(&identity, Tolerance::absolute(1e-5));
    assert_eq!(trained.base.val().into_data(), base);
    assert_ne!(weight.into_data(), before);
}

#[test]
fn dropout_acts_on_the_whole_intervened_state_in_training_only() {
    let device = Device::default();
    device.seed(4);
    let reft = reft(&ReftConfig::noreft().with_dropout(0.25), 512, &device);
    let hidden = Tensor::<3>::ones([8, 4, 512], &device);
    let positions = reft.positions(&open(8, 4, &device));
    let zeros = |mode| {
        let output = reft.forward(hidden.clone(), &positions, mode);
        let near = |hidden: Tensor<3>| hidden.abs().lower_elem(1e-5).float().mean().into_scalar::<f32>();
        (near(output.clone().narrow(1, 0, 3)), near(output.narrow(1, 3, 1)))
    };
    assert!(zeros(Mode::Inference).0 < 0.01);
    let (intervened, others) = zeros(Mode::Training);
    assert!((intervened - 0.25).abs() < 0.03, "{intervened}");
    assert_eq!(others, 0.0);
}

#[test]
fn an_adapter_survives_freezing_and_moving_between_devices() {
    let device = Device::default();
    let reft = reft(&ReftConfig::loreft().with_r(2), 6, &device.clone().autodiff());
    let weight = reft.units[0].projection.weight().into_data();
    let valid = reft.valid();
    assert_eq!(valid.units[0].projection.weight().into_data(), weight);
    assert_eq!(valid.num_trained(), reft.num_trained());
}

#[test]
fn what_cannot_be_is_an_error() {
    let new = |config: ReftConfig| Reft::new(&config, 4, &mut Init::from_seed(1), &Device::default()).unwrap_err();
    assert_eq!(new(ReftConfig::loreft().with_r(0)), ReftError::ZeroRank);
    assert_eq!(new(ReftConfig::loreft().with_r(4)), ReftError::OrthogonalRank { r: 4, hidden_size: 4 });
    assert_eq!(new(ReftConfig::loreft().with_prefix_positions(0)), ReftError::NoPositions);
}
