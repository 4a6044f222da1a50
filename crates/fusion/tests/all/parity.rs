//! Against the Python library `adapters`: see `goldens/make.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use burn::module::Param;
use burn::nn::Linear;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData, Tolerance};
use burn_adapters_core::{Init, Mode};
use burn_adapters_fusion::{
    CONFIG_FILE, Fusion, FusionConfig, FusionOutput, PYTORCH_FILE, SAFETENSORS_FILE, parameter_name,
};
use burn_adapters_tensors::parameters;
use serde_json::Value;

const HIDDEN: usize = 6;

fn goldens() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("../goldens/fusion.json.xz"))).unwrap()
}

fn data(golden: &Value) -> TensorData {
    let shape: Vec<usize> = serde_json::from_value(golden["shape"].clone()).unwrap();
    let values: Vec<f32> = serde_json::from_value(golden["data"].clone()).unwrap();
    TensorData::new(values, shape)
}

fn tensor<const D: usize>(golden: &Value, device: &Device) -> Tensor<D> {
    Tensor::from_data(data(golden), device)
}

fn assert_close<const D: usize>(found: Tensor<D>, golden: &Value) {
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
        assert_close(output.hidden, &golden["hidden"]);
        assert_close(output.attention, &golden["attention"]);
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
        assert_close(of(&inputs.query), &golden["gradients"]["query"]);
        assert_close(of(&inputs.residual), &golden["gradients"]["residual"]);
        for (up, golden) in inputs.ups.iter().zip(golden["gradients"]["ups"].as_array().unwrap()) {
            assert_close(of(up), golden);
        }
        let gradients = GradientsParams::from_grads(gradients, &fusion);
        let mut fusion = SgdConfig::new().init().step(0.02, fusion, gradients);
        fusion.cool();
        for (name, layer) in layers(&mut fusion) {
            let of = |part: &str| &golden["after"][format!("{name}.{part}")];
            assert_close(layer.weight.val().transpose(), of("weight"));
            if let Some(bias) = &layer.bias {
                assert_close(bias.val(), of("bias"));
            }
        }
        let output = inputs.fuse(&fusion);
        assert_close(output.hidden, &golden["hidden_after"]);
        assert_close(output.attention, &golden["attention_after"]);
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
                assert_close(bias.val(), of("bias"));
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
