//! Parity with the Python library `adapters`: see `goldens/make.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData, Tolerance};
use burn_adapters_config::{Activation, PrefixTuningConfig};
use burn_adapters_core::{Init, Mode, ModelSpec, Place, Site, StackSpec};
use burn_adapters_prefix_tuning::{Attended, PrefixError, PrefixGroup, PrefixSource, PrefixTuning};
use serde_json::Value;

const TUNING: &str = "bert.prefix_tuning.prefix_tunings.a.self_prefix";

fn goldens() -> Value {
    serde_json::from_str(&burn_adapters_goldens::text(include_bytes!("goldens/prefix.json.xz"))).unwrap()
}

fn data(golden: &Value) -> TensorData {
    let shape: Vec<usize> = serde_json::from_value(golden["shape"].clone()).unwrap();
    let values: Vec<f32> = serde_json::from_value(golden["data"].clone()).unwrap();
    TensorData::new(values, shape)
}

fn tensor<const D: usize>(golden: &Value, device: &Device) -> Tensor<D> {
    Tensor::from_data(data(golden), device)
}

fn mask(golden: &Value, device: &Device) -> Tensor<4, Bool> {
    let rows: Vec<Vec<u8>> = serde_json::from_value(golden.clone()).unwrap();
    let shape = [rows.len(), 1, 1, rows[0].len()];
    let values: Vec<bool> = rows.into_iter().flatten().map(|padded| padded == 1).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn config() -> PrefixTuningConfig {
    PrefixTuningConfig::prefix_tuning().with_prefix_length(3).with_bottleneck_size(5)
}

fn cases() -> [(&'static str, PrefixTuningConfig); 5] {
    [
        ("mlp", config()),
        ("mlp_left_out", config().with_leave_out([1]).with_non_linearity(Activation::Silu)),
        ("flat", config().with_flat(true).with_leave_out([0])),
        ("shared_gate", config().with_use_gating(true)),
        ("two_gates", config().with_use_gating(true).with_shared_gating(false)),
    ]
}

fn site(layer: usize) -> Site {
    Site::encoder(layer, Place::Attention)
}

fn set<const D: usize>(param: &mut Param<Tensor<D>>, value: Tensor<D>) {
    *param = Param::initialized(param.id, value).set_require_grad(true);
}

fn set_linear(linear: &mut Linear, goldens: &Value, name: &str, device: &Device) {
    set(&mut linear.weight, tensor::<2>(&goldens[format!("{name}.weight")], device).transpose());
    set(linear.bias.as_mut().unwrap(), tensor(&goldens[format!("{name}.bias")], device));
}

fn gate_name(site: Site) -> String {
    format!("bert.encoder.layer.{}.attention.self.prefix_tuning.prefix_gates.a", site.layer)
}

/// The module with the parameters of a golden.
fn module(config: &PrefixTuningConfig, before: &Value, device: &Device) -> PrefixTuning {
    let spec = ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(3, 8, 2, 8));
    let group = PrefixGroup::of_model(config, &spec).remove(0);
    let mut tuning = PrefixTuning::new(config, group, &mut Init::from_seed(1), device).unwrap();
    match &mut tuning.source {
        PrefixSource::Flat(flat) => set(flat, tensor(&before[format!("{TUNING}.control_trans")], device)),
        PrefixSource::Mlp(mlp) => {
            set(&mut mlp.wte.weight, tensor(&before[format!("{TUNING}.wte.weight")], device));
            set_linear(&mut mlp.control_in, before, &format!("{TUNING}.control_trans.0"), device);
            set_linear(&mut mlp.control_out, before, &format!("{TUNING}.control_trans.2"), device);
        }
    }
    for (site, gate) in tuning.gates.iter_mut() {
        set_linear(&mut gate.projection, before, &gate_name(*site), device);
    }
    tuning
}

fn assert_close<const D: usize>(found: Tensor<D>, golden: &Value, what: &str) {
    let (found, expected) = (found.into_data(), data(golden));
    assert_eq!(found.shape(), expected.shape(), "{what}");
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-5));
}

fn assert_linear(linear: &Linear, goldens: &Value, name: &str) {
    let weight = linear.weight.val().transpose();
    assert_close(weight, &goldens[format!("{name}.weight")], name);
    let bias = linear.bias.as_ref().unwrap().val();
    assert_close(bias, &goldens[format!("{name}.bias")], name);
}

/// Runs all layers, checks their results, and returns the loss.
fn run(tuning: &PrefixTuning, name: &str, goldens: &Value, device: &Device) -> Tensor<1> {
    let prefixes = tuning.compute(Mode::Inference);
    let mut loss = Tensor::zeros([1], device);
    for layer in 0..3 {
        let given = &goldens["inputs"][layer];
        let call = &goldens["cases"][name]["calls"][layer];
        let attended = Attended {
            keys: tensor(&given["keys"], device),
            values: tensor(&given["values"], device),
            mask: Some(mask(&goldens["padding"], device)),
        };
        let Ok(extended) = prefixes.extend(site(layer), attended, Some(&tensor(&given["hidden"], device))) else {
            assert!(!tuning.group.sites.contains(&site(layer)));
            assert_eq!(call["keys"], given["keys"], "{name}: layer {layer} has a prefix");
            continue;
        };
        let Attended { keys, values, mask: padding } = extended.attended;
        assert_close(keys.clone(), &call["keys"], name);
        assert_close(values.clone(), &call["values"], name);
        assert_eq!(padding.unwrap().into_data(), mask(&call["padding"], device).into_data(), "{name}");
        loss = loss + (keys * tensor(&given["keys_weight"], device)).sum();
        loss = loss + (values * tensor(&given["values_weight"], device)).sum();
    }
    loss
}

#[test]
fn keys_values_and_masks_are_those_of_the_reference() {
    let (goldens, device) = (goldens(), Device::default());
    for (name, config) in cases() {
        let tuning = module(&config, &goldens["cases"][name]["before"], &device);
        run(&tuning, name, &goldens, &device);
    }
}

#[test]
fn ejected_prefixes_give_the_same_and_have_no_mlp() {
    let (goldens, device) = (goldens(), Device::default());
    for (name, config) in cases() {
        let tuning = module(&config, &goldens["cases"][name]["before"], &device).eject();
        assert!(tuning.is_flat());
        run(&tuning, name, &goldens, &device);
    }
}

#[test]
fn a_training_step_is_that_of_the_reference_for_every_parameter() {
    let (goldens, device) = (goldens(), Device::default().autodiff());
    for (name, config) in cases() {
        let golden = &goldens["cases"][name];
        let tuning = module(&config, &golden["before"], &device);
        let gradients = run(&tuning, name, &goldens, &device).backward();
        let gradients = GradientsParams::from_grads(gradients, &tuning);
        let tuning = SgdConfig::new().init().step(0.1, tuning, gradients);
        let after = &golden["after"];
        match &tuning.source {
            PrefixSource::Flat(flat) => assert_close(flat.val(), &after[format!("{TUNING}.control_trans")], name),
            PrefixSource::Mlp(mlp) => {
                assert_close(mlp.wte.weight.val(), &after[format!("{TUNING}.wte.weight")], name);
                assert_linear(&mlp.control_in, after, &format!("{TUNING}.control_trans.0"));
                assert_linear(&mlp.control_out, after, &format!("{TUNING}.control_trans.2"));
            }
        }
        for (site, gate) in tuning.gates.iter() {
            assert_linear(&gate.projection, after, &gate_name(*site));
        }
    }
}

// Properties of prefixes beyond the reference's numbers.

fn tuning(config: &PrefixTuningConfig, spec: &ModelSpec, device: &Device) -> PrefixTuning {
    let group = PrefixGroup::of_model(config, spec).remove(0);
    PrefixTuning::new(config, group, &mut Init::from_seed(1), device).unwrap()
}

fn bert(layers: usize, hidden: usize, heads: usize) -> ModelSpec {
    ModelSpec::new("bert", hidden).with_stack(StackSpec::encoder(layers, hidden, heads, 4 * hidden))
}

fn attended(device: &Device) -> Attended {
    Attended { keys: Tensor::zeros([2, 2, 3, 4], device), values: Tensor::zeros([2, 2, 3, 4], device), mask: None }
}

#[test]
fn parameters_are_counted_as_the_reference_counts_them_and_before_they_are_drawn() {
    let (mlp, flat) = (PrefixTuningConfig::prefix_tuning(), PrefixTuningConfig::prefix_tuning_flat());
    let (base, large, tiny, minilm) = (bert(12, 768, 12), bert(24, 1024, 16), bert(2, 128, 2), bert(6, 384, 12));
    let rows = [
        (&base, flat, 552_960),
        (&base, mlp.clone(), 9_872_384),
        (&large, mlp.clone().with_prefix_length(10), 25_750_016),
        (&tiny, mlp.clone(), 332_544),
        (&minilm, mlp.clone(), 2_572_544),
        (&minilm, mlp.with_prefix_length(10), 2_564_864),
    ];
    for (spec, config, expected) in rows {
        let tuning = tuning(&config, spec, &Device::default());
        assert_eq!(Module::num_params(&tuning), expected, "{config:?}");
        match &tuning.source {
            PrefixSource::Mlp(mlp) => assert!(!mlp.control_out.weight.is_initialized()),
            PrefixSource::Flat(flat) => assert!(!flat.is_initialized()),
        }
    }
}

#[test]
fn dropout_differs_between_rows_and_acts_in_training_only() {
    let device = Device::default();
    device.seed(3);
    let config = PrefixTuningConfig::prefix_tuning_flat().with_prefix_length(500).with_dropout(0.25);
    let tuning = tuning(&config, &bert(1, 8, 2), &device);
    let keys = |mode| {
        let extended = tuning.compute(mode).extend(site(0), attended(&device), None);
        extended.unwrap().attended.keys.narrow(2, 0, 500)
    };
    let zeros = |keys: Tensor<4>| keys.equal_elem(0.0).float().mean().into_scalar::<f32>();
    assert_eq!(zeros(keys(Mode::Inference)), 0.0);
    let trained = keys(Mode::Training);
    assert!((zeros(trained.clone()) - 0.25).abs() < 0.03);
    let difference = trained.clone().narrow(0, 0, 1) - trained.narrow(0, 1, 1);
    assert!(difference.abs().max().into_scalar::<f32>() > 0.0);
}

#[test]
fn a_mask_by_query_is_opened_for_every_query() {
    let device = Device::default();
    let config = PrefixTuningConfig::prefix_tuning_flat().with_prefix_length(2);
    let tuning = tuning(&config, &bert(1, 8, 2), &device);
    let mask = Tensor::<4, Bool>::full([1, 1, 3, 3], true, &device);
    let attended = Attended { mask: Some(mask), ..attended(&device) };
    let extended = tuning.compute(Mode::Inference).extend(site(0), attended, None).unwrap();
    let mask = extended.attended.mask.unwrap();
    assert_eq!(mask.dims(), [1, 1, 3, 5]);
    let row = [false, false, true, true, true];
    assert_eq!(mask.into_data().iter::<bool>().collect::<Vec<_>>(), [row, row, row].concat());
}

#[test]
fn ejected_prefixes_are_trained_on() {
    let device = Device::default().autodiff();
    let tuning = tuning(&PrefixTuningConfig::prefix_tuning(), &bert(1, 8, 2), &device).eject();
    let gradients = tuning.compute(Mode::Training).at(site(0)).unwrap()[1].clone().sum().backward();
    let PrefixSource::Flat(flat) = &tuning.source else { panic!("still an MLP") };
    // The values are half of the elements.
    let gradient = flat.val().grad(&gradients).unwrap();
    assert_eq!(gradient.sum().into_scalar::<f32>(), 30.0 * 8.0);
}

#[test]
fn what_cannot_be_is_an_error() {
    let device = Device::default();
    let spec = bert(2, 8, 2);
    let config = PrefixTuningConfig::prefix_tuning().with_leave_out([1]).with_use_gating(true);
    let tuning = tuning(&config, &spec, &device);
    let prefixes = tuning.compute(Mode::Inference);
    let error = prefixes.extend(site(1), attended(&device), None).unwrap_err();
    assert_eq!(error.to_string(), "no prefix at encoder.1.attention; this group has prefixes at encoder.0.attention");
    assert_eq!(
        prefixes.extend(site(0), attended(&device), None).unwrap_err(),
        PrefixError::GateWithoutInput { site: site(0) }
    );
    let other = Attended { keys: Tensor::zeros([2, 4, 3, 2], &device), ..attended(&device) };
    assert!(matches!(prefixes.extend(site(0), other, None), Err(PrefixError::Heads { found_heads: 4, .. })));
    let group = PrefixGroup::of_model(&config, &spec).remove(0);
    let new = |config: &PrefixTuningConfig, group: &PrefixGroup| {
        PrefixTuning::new(config, group.clone(), &mut Init::from_seed(1), &device).unwrap_err()
    };
    assert_eq!(new(&config.clone().with_prefix_length(0), &group), PrefixError::ZeroLength);
    assert_eq!(new(&config.clone().with_bottleneck_size(0), &group), PrefixError::ZeroBottleneck);
    let empty = PrefixGroup { sites: vec![], ..group };
    assert_eq!(new(&config, &empty), PrefixError::NoSites { group: "self_prefix" });
}
