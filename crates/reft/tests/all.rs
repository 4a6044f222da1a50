//! Parity with the Python library `adapters`: see `goldens/make.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::{Module, Param};
use burn::optim::{AdamWConfig, GradientsParams, SgdConfig};
use burn::tensor::{Bool, Device, Distribution, Tensor, TensorData, Tolerance};
use burn_adapters_config::{Activation, ReftConfig, ReftLayers};
use burn_adapters_core::{Init, Mode, ModelSpec, StackSpec};
use burn_adapters_reft::{Projection, Reft, ReftError};
use serde_json::Value;

fn goldens() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("goldens/reft.json.xz"))).unwrap()
}

fn cases() -> Vec<(&'static str, ReftConfig)> {
    let (loreft, noreft) = (ReftConfig::loreft(), ReftConfig::noreft());
    let loreft = |r, prefix, suffix| {
        let config = loreft.clone().with_r(r).with_prefix_positions(prefix);
        config.with_suffix_positions(suffix)
    };
    let noreft = |r, prefix, suffix| {
        let config = noreft.clone().with_r(r).with_prefix_positions(prefix);
        config.with_suffix_positions(suffix)
    };
    vec![
        ("loreft_new", loreft(2, 3, 0)),
        ("loreft_rank_1", loreft(1, 3, 0)),
        ("loreft_rank_3_tied_both_ends", loreft(3, 3, 2).with_tied_weights(true)),
        ("loreft_padded_left", loreft(2, 2, 1)),
        ("loreft_suffix_alone", loreft(2, 0, 2)),
        ("noreft", noreft(2, 3, 2)),
        ("noreft_overlapping_ends", noreft(2, 4, 3)),
        ("noreft_activated", noreft(3, 3, 0).with_non_linearity(Activation::Silu)),
        ("noreft_longer_than_the_sequence", noreft(1, 9, 0)),
        ("direft", ReftConfig::direft().with_r(2).with_suffix_positions(1)),
    ]
}

fn data(golden: &Value) -> TensorData {
    let shape: Vec<usize> = serde_json::from_value(golden["shape"].clone()).unwrap();
    let values: Vec<f32> = serde_json::from_value(golden["data"].clone()).unwrap();
    TensorData::new(values, shape)
}

fn tensor<const D: usize>(golden: &Value, device: &Device) -> Tensor<D> {
    Tensor::from_data(data(golden), device)
}

fn padding(golden: &Value) -> Tensor<2, Bool> {
    let rows: Vec<Vec<u8>> = serde_json::from_value(golden["padding"].clone()).unwrap();
    let shape = [rows.len(), rows[0].len()];
    let values: Vec<bool> = rows.into_iter().flatten().map(|padded| padded == 1).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::default())
}

fn set<const D: usize>(param: &mut Param<Tensor<D>>, value: Tensor<D>, trained: bool) {
    *param = Param::initialized(param.id, value).set_require_grad(trained);
}

/// The module with the parameters of a golden.
fn module(config: &ReftConfig, golden: &Value, device: &Device) -> Reft {
    let mut reft = Reft::new(config, 6, &mut Init::from_seed(1), device).unwrap();
    for (index, unit) in reft.units.iter_mut().enumerate() {
        let of = |name: &str| &golden["before"][format!("units.{index}.{name}")];
        let source = &mut unit.learned_source;
        set(&mut source.weight, tensor::<2>(of("learned_source.weight"), device).transpose(), true);
        let bias = source.bias.as_mut().unwrap();
        set(bias, tensor(of("learned_source.bias"), device), true);
        match &mut unit.projection {
            Projection::Free(linear) => {
                let weight = tensor::<2>(of("projection.weight"), device).transpose();
                set(&mut linear.weight, weight, true);
            }
            Projection::Orthogonal(orthogonal) => {
                let of = |name: &str| of(&format!("projection.parametrizations.weight.{name}"));
                set(&mut orthogonal.original, tensor(of("original"), device), true);
                set(&mut orthogonal.base, tensor(of("0.base"), device), false);
                orthogonal.check_signs().unwrap();
            }
        }
    }
    reft
}

fn assert_close<const D: usize>(found: Tensor<D>, golden: &Value) {
    let found = found.into_data();
    let expected = data(golden);
    assert_eq!(found.shape(), expected.shape());
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
}

fn output(reft: &Reft, golden: &Value) -> Tensor<3> {
    let positions = reft.positions(&padding(golden));
    // The hidden states of a frozen model have no gradients.
    let hidden = tensor(&golden["hidden"], &Device::default());
    reft.forward(hidden, &positions, Mode::Inference)
}

fn step(reft: Reft, golden: &Value) -> Reft {
    let loss = (output(&reft, golden) * tensor(&golden["weight"], &Device::default())).sum();
    let gradients = GradientsParams::from_grads(loss.backward(), &reft);
    SgdConfig::new().init().step(0.02, reft, gradients)
}

#[test]
fn hidden_states_and_projections_are_those_of_the_reference() {
    let goldens = goldens();
    for (name, config) in cases() {
        println!("{name}");
        let golden = &goldens[name];
        let reft = module(&config, golden, &Device::default());
        assert_close(output(&reft, golden), &golden["output"]);
        for (unit, projection) in reft.units.iter().zip(golden["projection"].as_array().unwrap()) {
            assert_close(unit.projection.weight(), projection);
        }
    }
}

#[test]
fn training_steps_are_those_of_the_reference_for_every_parameter() {
    let (goldens, device) = (goldens(), Device::default().autodiff());
    for (name, config) in cases() {
        println!("{name}");
        let golden = &goldens[name];
        let reft = step(module(&config, golden, &device), golden);
        for (index, unit) in reft.units.iter().enumerate() {
            let of = |name: &str| &golden["after"][format!("units.{index}.{name}")];
            assert_close(unit.learned_source.weight.val().transpose(), of("learned_source.weight"));
            assert_close(unit.learned_source.bias.as_ref().unwrap().val(), of("learned_source.bias"));
            match &unit.projection {
                Projection::Free(_) => assert_close(unit.projection.weight(), of("projection.weight")),
                Projection::Orthogonal(orthogonal) => {
                    let of = |name: &str| of(&format!("projection.parametrizations.weight.{name}"));
                    assert_close(orthogonal.original.val(), of("original"));
                    assert_close(orthogonal.base.val(), of("0.base"));
                }
            }
        }
        let reft = step(reft, golden);
        assert_close(output(&reft, golden), &golden["output_after_two_steps"]);
    }
}

// Properties of interventions beyond the reference's numbers.

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
