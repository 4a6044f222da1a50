//! PHM layers compute the same as the reference's (`goldens/phm.py`).

#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData, Tolerance};
use burn_adapters_compacter::kronecker::Strategy;
use burn_adapters_compacter::{CompacterError, Factors, Matrices, PhmLinear, Position, SharedPhm, kronecker};
use burn_adapters_config::{BottleneckConfig, HypercomplexInit, PhmRuleInit};
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
        serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("goldens/phm.json.xz"))).unwrap();
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

// Properties of PHM layers beyond the reference's numbers.

fn layer(config: &BottleneckConfig, size: [usize; 2], device: &Device) -> PhmLinear {
    PhmLinear::new(config, size, Position::Down, &mut Init::from_seed(1), device).unwrap()
}

fn own() -> BottleneckConfig {
    BottleneckConfig::compacter().with_shared_phm_rule(false)
}

fn std_and_max(matrices: &Matrices) -> (f32, f32) {
    let values: Vec<f32> = matrices.product().into_data().try_to_vec().unwrap();
    let square = values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32;
    (square.sqrt(), values.iter().fold(0.0, |max, v| max.max(v.abs())))
}

#[test]
fn sizes_that_phm_dim_does_not_divide_are_errors_that_name_them() {
    let device = Device::default();
    let new = |size| PhmLinear::new(&own(), size, Position::Down, &mut Init::from_seed(1), &device).unwrap_err();
    let expected = |what, size| CompacterError::NotDivisible { what, size, phm_dim: 4 };
    assert_eq!(new([576, 18]), expected("output size", 18));
    assert_eq!(new([30, 8]), expected("input size", 30));
    assert!(new([576, 18]).to_string().contains("18 is not a multiple of 4"));

    let config = BottleneckConfig::compacter().with_shared_w_phm(true);
    let error = SharedPhm::new(&config, [576, 18], &mut Init::from_seed(1), &device).unwrap_err();
    assert_eq!(error, expected("output size", 18));
    for (config, key) in [(own().with_phm_dim(0), "phm_dim"), (own().with_phm_rank(0), "phm_rank")] {
        let error = PhmLinear::new(&config, [8, 8], Position::Up, &mut Init::from_seed(1), &device).unwrap_err();
        assert_eq!(error, CompacterError::Zero { key });
    }
}

#[test]
fn nothing_is_drawn_before_it_is_read() {
    let layer = layer(&own(), [768, 24], &Device::default());
    assert_eq!(Module::num_params(&layer), 64 + 768 + 24 + 24);
    assert!(!layer.bias.unwrap().is_initialized());
}

#[test]
fn the_way_through_the_factors_is_taken_where_it_is_shorter() {
    assert_eq!(Strategy::cheapest([768, 24], 4, 1), Strategy::FoldRight);
    assert_eq!(Strategy::cheapest([24, 768], 4, 1), Strategy::FoldLeft);
    assert_eq!(Strategy::cheapest([768, 24], 4, 8), Strategy::Dense);
    let whole = layer(&own().with_factorized_phm_w(false), [768, 24], &Device::default());
    assert_eq!(whole.strategy, Strategy::Dense);
}

#[test]
fn the_rule_is_trained_unless_learn_phm_is_off() {
    for learned in [true, false] {
        for shared_rule in [true, false] {
            let device = Device::default().autodiff();
            let config = BottleneckConfig::compacter()
                .with_learn_phm(learned)
                .with_shared_phm_rule(shared_rule)
                .with_phm_init_range(1.0);
            #[derive(Module, Debug)]
            struct Both {
                layer: PhmLinear,
                shared: Option<SharedPhm>,
            }
            let both = Both {
                layer: layer(&config, [16, 8], &device),
                shared: SharedPhm::new(&config, [16, 8], &mut Init::from_seed(2), &device).unwrap(),
            };
            let frozen = |both: &Both| {
                let shared = both.shared.as_ref().map(SharedPhm::frozen).unwrap_or_default();
                both.layer.frozen().len() + shared.len()
            };
            assert_eq!(frozen(&both), usize::from(!learned));
            fn rule(both: &Both) -> &Param<Tensor<3>> {
                let shared = both.shared.as_ref().and_then(|shared| shared.rule.as_ref());
                match both.layer.rule.as_ref().or(shared).unwrap() {
                    Matrices::Full(rule) => rule,
                    Matrices::Factorized(_) => unreachable!(),
                }
            }
            assert_eq!(rule(&both).is_require_grad(), learned);
            // Even if everything was unfrozen.
            let both = both.set_require_grad(true);
            let before = rule(&both).val().into_data();
            // Read now: some backends read data lazily, after the change.
            let _ = before.as_bytes();
            let loss = both.layer.forward(Tensor::ones([1, 2, 16], &device), both.shared.as_ref()).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &both);
            let weight = both.layer.dense_weight(both.shared.as_ref()).into_data();
            let _ = weight.as_bytes();
            let both = SgdConfig::new().init().step(0.1, both, gradients);
            assert_eq!(rule(&both).val().into_data() != before, learned);
            assert_ne!(both.layer.dense_weight(both.shared.as_ref()).into_data(), weight);
        }
    }
}

#[test]
fn weights_and_rules_are_drawn_with_the_spread_they_are_said_to_have() {
    let device = Device::default();
    let whole = |init| {
        let config = own().with_factorized_phm_w(false).with_hypercomplex_nonlinearity(init);
        std_and_max(layer(&config.with_phm_init_range(0.05), [768, 256], &device).weight.as_ref().unwrap())
    };
    // Glorot: a standard deviation of √(2 / (192 + 64)), and a uniform distribution ends at √3 of it.
    let glorot = (2.0f32 / 256.0).sqrt();
    let (std, max) = whole(HypercomplexInit::GlorotUniform);
    assert!((std / glorot - 1.0).abs() < 0.02 && max <= glorot * 3f32.sqrt() * 1.0001, "{std} {max}");
    let (std, max) = whole(HypercomplexInit::GlorotNormal);
    assert!((std / glorot - 1.0).abs() < 0.02 && max > glorot * 3.0, "{std} {max}");
    let (std, _) = whole(HypercomplexInit::Normal);
    assert!((std / 0.05 - 1.0).abs() < 0.02, "{std}");

    let rules = |init| {
        let config = BottleneckConfig::compacter().with_phm_dim(16).with_phm_c_init(init).with_phm_init_range(0.5);
        let shared = SharedPhm::new(&config, [64, 32], &mut Init::from_seed(4), &device).unwrap().unwrap();
        let own = layer(&config.with_shared_phm_rule(false), [64, 32], &device);
        (std_and_max(&shared.rule.unwrap()), std_and_max(&own.rule.unwrap()))
    };
    let ((shared, _), (own, _)) = rules(PhmRuleInit::Normal);
    assert!((shared / 0.5 - 1.0).abs() < 0.05 && (own / 0.01 - 1.0).abs() < 0.05, "{shared} {own}");
    let ((_, shared), (_, own)) = rules(PhmRuleInit::Uniform);
    assert!((0.99..=1.0).contains(&shared) && (0.0099..=0.0100001).contains(&own), "{shared} {own}");
}

#[test]
#[should_panic(expected = "shared_phm_rule")]
fn a_layer_without_the_parts_it_shares_says_so() {
    let device = Device::default();
    layer(&BottleneckConfig::compacter(), [16, 8], &device).forward(Tensor::ones([1, 1, 16], &device), None);
}
