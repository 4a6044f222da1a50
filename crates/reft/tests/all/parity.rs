//! Parity with the Python library `adapters`: see `goldens/make.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::Param;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData, Tolerance};
use burn_adapters_config::{Activation, ReftConfig};
use burn_adapters_core::{Init, Mode};
use burn_adapters_reft::{Projection, Reft};
use serde_json::Value;

fn goldens() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("../goldens/reft.json.xz"))).unwrap()
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
