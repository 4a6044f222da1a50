//! PHM layers compute the same as the reference's (`goldens/phm.py`).
#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData, Tolerance};
use burn_adapters_compacter::{Factors, Matrices, PhmLinear, Position, SharedPhm, kronecker};
use burn_adapters_config::BottleneckConfig;
use burn_adapters_core::Init;
use serde_json::Value;

fn tensor<const D: usize>(value: &Value) -> Tensor<D> {
    let list = |key: &str| value[key].as_array().unwrap().clone();
    let values: Vec<f32> = list("values").iter().map(|v| v.as_f64().unwrap() as f32).collect();
    let shape: Vec<usize> = list("shape").iter().map(|v| v.as_u64().unwrap() as usize).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::default())
}

fn param<const D: usize>(value: &Value) -> Param<Tensor<D>> {
    Param::from_tensor(tensor(value))
}

/// The matrices whose parameters begin with `name`, if the file has them.
fn matrices(values: &Value, name: &str) -> Option<Matrices> {
    let get = |suffix: &str| values.get(format!("{name}{suffix}"));
    match (get(""), get("_left"), get("_right")) {
        (Some(full), None, None) => Some(Matrices::Full(param(full))),
        (None, Some(left), Some(right)) => {
            Some(Matrices::Factorized(Factors { left: param(left), right: param(right) }))
        }
        (None, None, None) => None,
        _ => panic!("{name}: half of it is missing"),
    }
}

fn config(attributes: &Value) -> BottleneckConfig {
    let mut config = BottleneckConfig::compacter();
    for (key, value) in attributes.as_object().unwrap() {
        let flag = || value.as_bool().unwrap();
        let number = || value.as_u64().unwrap() as usize;
        match key.as_str() {
            "shared_phm_rule" => config.shared_phm_rule = flag(),
            "factorized_phm_rule" => config.factorized_phm_rule = flag(),
            "shared_W_phm" => config.shared_w_phm = flag(),
            "factorized_phm_W" => config.factorized_phm_w = flag(),
            "phm_bias" => config.phm_bias = flag(),
            "phm_dim" => config.phm_dim = number(),
            "phm_rank" => config.phm_rank = number(),
            key => panic!("{key}"),
        }
    }
    config
}

#[test]
fn every_combination_of_sharing_and_factorizing_gives_the_references_numbers() {
    let cases: Vec<Value> =
        serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("../goldens/phm.json.xz"))).unwrap();
    assert_eq!(cases.len(), 36);
    for case in &cases {
        let config = config(&case["attributes"]);
        let position = match case["position"].as_str().unwrap() {
            "down" => Position::Down,
            _ => Position::Up,
        };
        let (x, y) = (tensor::<3>(&case["x"]), tensor::<3>(&case["y"]));
        let size = [x.dims()[2], y.dims()[2]];
        let (hidden, width) = match position {
            Position::Down => (size[0], size[1]),
            Position::Up => (size[1], size[0]),
        };
        let (device, mut init) = (Device::default(), Init::from_seed(1));
        let mut layer = PhmLinear::new(&config, size, position, &mut init, &device).unwrap();
        let mut shared = SharedPhm::new(&config, [hidden, width], &mut init, &device).unwrap();

        let replace = |slot: &mut Option<Matrices>, found: Option<Matrices>| {
            let shape = |m: &Option<Matrices>| m.as_ref().map(|m| (m.product().dims(), Module::num_params(m)));
            assert_eq!(shape(slot), shape(&found), "{}", case["attributes"]);
            *slot = found;
        };
        replace(&mut layer.rule, matrices(&case["layer"], "phm_rule"));
        replace(&mut layer.weight, matrices(&case["layer"], "W"));
        assert_eq!(layer.bias.is_some(), case["layer"].get("b").is_some());
        layer.bias = case["layer"].get("b").map(param);
        if let Some(shared) = &mut shared {
            replace(&mut shared.rule, matrices(&case["shared"], "phm_rule"));
            match position {
                Position::Down => replace(&mut shared.down, matrices(&case["shared"], "W_down")),
                Position::Up => replace(&mut shared.up, matrices(&case["shared"], "W_up")),
            }
        }

        let close = |found: Tensor<3>| {
            let tolerance = Tolerance::rel_abs(1e-5, 2e-5);
            found.into_data().assert_approx_eq::<f32>(&y.to_data(), tolerance);
        };
        close(layer.forward(x.clone(), shared.as_ref()));
        for strategy in [kronecker::Strategy::Dense, kronecker::Strategy::FoldLeft, kronecker::Strategy::FoldRight] {
            layer.strategy = strategy;
            close(layer.forward(x.clone(), shared.as_ref()));
        }
    }
}
