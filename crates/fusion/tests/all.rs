//! Against the Python library `adapters`: see `goldens/make.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData, Tolerance};
use burn_adapters_core::{Fill, Init, Mode};
use burn_adapters_fusion::{
    CONFIG_FILE, Fusion, FusionConfig, FusionOutput, PYTORCH_FILE, SAFETENSORS_FILE, parameter_name,
};
use burn_adapters_tensors::parameters;
use serde_json::Value;

const HIDDEN: usize = 6;

fn goldens() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("goldens/fusion.json.xz"))).unwrap()
}

fn data(golden: &Value) -> TensorData {
    let shape: Vec<usize> = serde_json::from_value(golden["shape"].clone()).unwrap();
    let values: Vec<f32> = serde_json::from_value(golden["data"].clone()).unwrap();
    TensorData::new(values, shape)
}

fn tensor<const D: usize>(golden: &Value, device: &Device) -> Tensor<D> {
    Tensor::from_data(data(golden), device)
}

fn assert_golden<const D: usize>(found: Tensor<D>, golden: &Value) {
    let found = found.into_data();
    let expected = data(golden);
    assert_eq!(found.shape(), expected.shape());
    // Graphics processors round otherwise: there it is the tolerance of all parity tests.
    let graphics = std::env::var("BURN_DEVICE").is_ok_and(|device| device == "wgpu");
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(if graphics { 1e-4 } else { 1e-5 }));
}

fn layers(fusion: &mut Fusion) -> Vec<(&'static str, &mut Linear)> {
    let layers = [
        ("query", &mut fusion.query),
        ("key", &mut fusion.key),
        ("value", &mut fusion.value),
        ("dense", &mut fusion.dense),
    ];
    layers.into_iter().filter_map(|(name, layer)| Some((name, layer.as_mut()?))).collect()
}

fn new(golden: &Value, device: &Device) -> Fusion {
    let config = FusionConfig::from_json_value(&golden["config"]).unwrap();
    Fusion::new(&config, HIDDEN, 0.1, &mut Init::from_seed(1), device).unwrap()
}

/// The module with the parameters and the temperature of a golden.
fn module(golden: &Value, device: &Device) -> Fusion {
    let mut fusion = new(golden, device);
    for (name, layer) in layers(&mut fusion) {
        let of = |part: &str| &golden["before"][format!("{name}.{part}")];
        let set = tensor::<2>(of("weight"), device).transpose();
        layer.weight = Param::initialized(layer.weight.id, set).set_require_grad(true);
        if let Some(bias) = &mut layer.bias {
            *bias = Param::initialized(bias.id, tensor(of("bias"), device)).set_require_grad(true);
        }
    }
    for _ in 0..golden["passes_before"].as_u64().unwrap() {
        fusion.cool();
    }
    fusion
}

struct Inputs {
    query: Tensor<3>,
    ups: Vec<Tensor<3>>,
    residual: Tensor<3>,
}

impl Inputs {
    fn new(golden: &Value, read: impl Fn(&Value) -> Tensor<3>) -> Self {
        let ups = golden["ups"].as_array().unwrap().iter().map(&read).collect();
        Self { query: read(&golden["query"]), ups, residual: read(&golden["residual"]) }
    }

    fn fuse(&self, fusion: &Fusion) -> FusionOutput {
        fusion.forward(self.query.clone(), &self.ups, self.residual.clone(), Mode::Inference)
    }
}

fn names(fusion: &Fusion) -> BTreeMap<String, Vec<usize>> {
    let reversed = |mut shape: Vec<usize>| {
        shape.reverse();
        shape
    };
    parameters(fusion).into_iter().map(|parameter| (parameter.path, reversed(parameter.shape))).collect()
}

#[test]
fn hidden_states_and_attention_are_those_of_the_reference_in_every_configuration() {
    let device = Device::default();
    for (name, golden) in goldens()["cases"].as_object().unwrap() {
        println!("{name}");
        let fusion = module(golden, &device);
        assert!((fusion.temperature - golden["temperature"].as_f64().unwrap()).abs() < 1e-9);
        let output = Inputs::new(golden, |golden| tensor(golden, &device)).fuse(&fusion);
        assert_golden(output.hidden, &golden["hidden"]);
        assert_golden(output.attention, &golden["attention"]);
        match (fusion.regularization_loss(), golden["penalty"].as_f64()) {
            (Some(loss), Some(expected)) => assert!((loss.into_scalar::<f32>() as f64 - expected).abs() < 1e-5),
            (loss, expected) => assert!(loss.is_none() && expected.is_none()),
        }
    }
}

#[test]
fn a_training_step_is_that_of_the_reference_for_every_parameter_and_input() {
    let device = Device::default().autodiff();
    for (name, golden) in goldens()["cases"].as_object().unwrap() {
        println!("{name}");
        let fusion = module(golden, &device);
        let inputs = Inputs::new(golden, |golden| tensor::<3>(golden, &device).require_grad());
        let mut loss = (inputs.fuse(&fusion).hidden * tensor(&golden["weights"], &device)).sum();
        if let Some(penalty) = fusion.regularization_loss() {
            loss = loss + penalty;
        }
        let gradients = loss.backward();
        let of = |tensor: &Tensor<3>| tensor.grad(&gradients).unwrap();
        assert_golden(of(&inputs.query), &golden["gradients"]["query"]);
        assert_golden(of(&inputs.residual), &golden["gradients"]["residual"]);
        for (up, golden) in inputs.ups.iter().zip(golden["gradients"]["ups"].as_array().unwrap()) {
            assert_golden(of(up), golden);
        }
        let gradients = GradientsParams::from_grads(gradients, &fusion);
        let mut fusion = SgdConfig::new().init().step(0.02, fusion, gradients);
        fusion.cool();
        for (name, layer) in layers(&mut fusion) {
            let of = |part: &str| &golden["after"][format!("{name}.{part}")];
            assert_golden(layer.weight.val().transpose(), of("weight"));
            if let Some(bias) = &layer.bias {
                assert_golden(bias.val(), of("bias"));
            }
        }
        let output = inputs.fuse(&fusion);
        assert_golden(output.hidden, &golden["hidden_after"]);
        assert_golden(output.attention, &golden["attention_after"]);
    }
}

#[test]
fn new_parameters_have_the_names_shapes_and_fixed_values_of_the_reference() {
    for (name, golden) in goldens()["cases"].as_object().unwrap() {
        println!("{name}");
        let mut fusion = new(golden, &Device::default());
        let expected = golden["new"].as_object().unwrap();
        let expected = expected.iter().map(|(name, golden)| (name.clone(), data(golden).shape().to_vec()));
        assert_eq!(names(&fusion), expected.collect());
        let near_identity = fusion.config.value_initialized;
        for (name, layer) in layers(&mut fusion) {
            let of = |part: &str| &golden["new"][format!("{name}.{part}")];
            if let Some(bias) = layer.bias.as_ref().filter(|_| name != "dense") {
                assert_golden(bias.val(), of("bias"));
            }
            if name == "value" && near_identity {
                let difference = layer.weight.val() - tensor(of("weight"), &Device::default());
                assert!(difference.abs().max().into_scalar::<f32>() < 1e-7);
            }
        }
    }
}

#[test]
fn files_and_their_tensors_have_the_names_of_the_reference() {
    for (name, saved) in goldens()["saved"].as_object().unwrap() {
        println!("{name}");
        let files: Vec<String> = serde_json::from_value(saved["files"].clone()).unwrap();
        assert_eq!(files, [CONFIG_FILE, SAFETENSORS_FILE, PYTORCH_FILE]);
        let fusion = new(&saved["adapter_fusion_config"], &Device::default());
        let tensors: BTreeMap<String, Vec<usize>> = serde_json::from_value(saved["tensors"].clone()).unwrap();
        let places: &[&str] = if name == "static" { &["attention.output", "output"] } else { &["output"] };
        let mut expected = BTreeMap::new();
        for layer in 0..2 {
            for place in places {
                let place = format!("bert.encoder.layer.{layer}.{place}");
                let named = names(&fusion).into_iter();
                expected.extend(named.map(|(name, shape)| (parameter_name(&place, "a,b", &name), shape)));
            }
        }
        assert_eq!(tensors, expected);
    }
}

#[test]
fn the_softmax_cools_as_in_the_reference() {
    let config = FusionConfig::r#static().with_temperature(true);
    let mut fusion = Fusion::new(&config, HIDDEN, 0.1, &mut Init::from_seed(1), &Device::default()).unwrap();
    let mut passed = 0;
    for golden in goldens()["temperatures"].as_array().unwrap() {
        while passed < golden[0].as_u64().unwrap() {
            fusion.cool();
            passed += 1;
        }
        assert!((fusion.temperature - golden[1].as_f64().unwrap()).abs() < 1e-9);
    }
}

#[test]
fn the_named_configurations_are_those_of_the_reference() {
    let goldens = goldens();
    assert_eq!(FusionConfig::r#static().to_json_value(), goldens["configs"]["static"]);
    assert_eq!(FusionConfig::dynamic().to_json_value(), goldens["configs"]["dynamic"]);
    assert_eq!(FusionConfig::default(), FusionConfig::dynamic());
}

#[test]
fn files_that_the_reference_saved_are_read_and_their_dictionary_is_written_alike() {
    let goldens = goldens();
    for (name, saved) in goldens["saved"].as_object().unwrap() {
        let file = &saved["adapter_fusion_config"];
        let config = FusionConfig::from_json_str(&file.to_string()).unwrap();
        assert_eq!(config.to_json_value(), file["config"], "{name}");
        assert_eq!(serde_json::from_value::<FusionConfig>(file["config"].clone()).unwrap(), config);
        assert_eq!(serde_json::to_value(&config).unwrap(), file["config"]);
    }
    for case in goldens["cases"].as_object().unwrap().values() {
        let config = FusionConfig::from_json_value(&case["config"]).unwrap();
        assert_eq!(config.to_json_value(), case["config"]);
    }
}

// What holds of every fusion.

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
