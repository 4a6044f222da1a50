//! Bottlenecks with PHM layers as projections.
#![allow(clippy::unwrap_used)]

use burn::module::Module;
use burn::tensor::{Device, Tensor, Tolerance};
use burn_adapters_bottleneck::{Bottleneck, BottleneckError, shared_phm};
use burn_adapters_compacter::CompacterError;
use burn_adapters_config::{Activation, BottleneckConfig, BottleneckInit, ReductionFactor};
use burn_adapters_core::{Init, Mode, activate};
use burn_adapters_tensors::parameters;

/// The parameters of an adapter in a model of `layers` layers.
fn count(config: &BottleneckConfig, layers: usize, hidden_size: usize) -> usize {
    let (device, mut init) = (Device::default(), Init::from_seed(1));
    let per_layer = usize::from(config.mh_adapter) + usize::from(config.output_adapter);
    let shared = shared_phm(config, hidden_size, &mut init, &device).unwrap();
    let modules = (0..layers).flat_map(|layer| std::iter::repeat_n(layer, per_layer));
    modules
        .map(|layer| Module::num_params(&Bottleneck::new(config, hidden_size, layer, &mut init, &device).unwrap()))
        .sum::<usize>()
        + shared.map_or(0, |shared| Module::num_params(&shared))
}

#[test]
fn parameters_are_as_many_as_the_references() {
    // (layers, hidden size, compacter, compacter++)
    let printed =
        [(12, 768, 57_088, 28_576), (24, 1024, 152_128, 76_096), (2, 128, 1_648, 856), (6, 384, 14_320, 7_192)];
    for (layers, hidden_size, compacter, plus_plus) in printed {
        assert_eq!(count(&BottleneckConfig::compacter(), layers, hidden_size), compacter);
        assert_eq!(count(&BottleneckConfig::compacter_plus_plus(), layers, hidden_size), plus_plus);
    }
    // The variants, with the reference's counts for a model of 2 layers and 128 features.
    let config = BottleneckConfig::compacter().with_reduction_factor(16.0);
    let variants = [
        (config.clone().with_learn_phm(false), 1696),
        (config.clone().with_shared_w_phm(true), 880),
        (config.with_shared_phm_rule(false).with_leave_out([1]), 1072),
    ];
    for (config, expected) in variants {
        let layers = 2 - config.leave_out.len();
        assert_eq!(count(&config, layers, 128), expected);
    }
}

#[test]
fn a_compacter_is_a_bottleneck_with_the_dense_weights_of_its_layers() {
    let (device, mut init) = (Device::default(), Init::from_seed(5));
    let config = BottleneckConfig::compacter().with_reduction_factor(2.0).with_phm_init_range(1.0);
    let adapter = Bottleneck::new(&config, 16, 0, &mut init, &device).unwrap();
    let shared = shared_phm(&config, 16, &mut init, &device).unwrap();
    let x = Tensor::<3>::random([2, 3, 16], burn::tensor::Distribution::Default, &device);
    let found = adapter.apply(x.clone(), x.clone(), None, shared.as_ref(), Mode::Inference);

    let weight = |projection: &burn_adapters_bottleneck::Projection| {
        projection.as_phm().unwrap().dense_weight(shared.as_ref()).unsqueeze()
    };
    let down = activate(Activation::Gelu, x.clone().matmul(weight(&adapter.down_project)));
    let expected = down.matmul(weight(&adapter.up_project)) + x.clone() + x;
    found.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-4));
}

#[test]
fn parameters_are_named_after_the_kind_of_projection() {
    let paths = |config: &BottleneckConfig| {
        let (device, mut init) = (Device::default(), Init::from_seed(1));
        let bottleneck = Bottleneck::new(config, 16, 0, &mut init, &device).unwrap();
        let shared = shared_phm(config, 16, &mut init, &device).unwrap();
        let found = parameters(&bottleneck).into_iter().chain(parameters(&shared));
        found.map(|parameter| parameter.path).collect::<Vec<_>>()
    };
    let linear = [
        "down_project.Linear.weight",
        "down_project.Linear.bias",
        "up_project.Linear.weight",
        "up_project.Linear.bias",
    ];
    assert_eq!(paths(&BottleneckConfig::seq_bn()), linear);
    let config = BottleneckConfig::compacter().with_reduction_factor(2.0);
    let phm = [
        "down_project.Phm.weight.Factorized.left",
        "down_project.Phm.weight.Factorized.right",
        "down_project.Phm.bias",
        "up_project.Phm.weight.Factorized.left",
        "up_project.Phm.weight.Factorized.right",
        "up_project.Phm.bias",
        "rule.Full",
    ];
    assert_eq!(paths(&config), phm);
    let config = config.with_shared_phm_rule(false).with_shared_w_phm(true).with_factorized_phm_w(false);
    let phm = [
        "down_project.Phm.rule.Full",
        "down_project.Phm.bias",
        "up_project.Phm.rule.Full",
        "up_project.Phm.bias",
        "down.Full",
        "up.Full",
    ];
    assert_eq!(paths(&config), phm);
}

#[test]
fn what_phm_layers_cannot_be_is_an_error() {
    let (device, mut init) = (Device::default(), Init::from_seed(1));
    let config = BottleneckConfig::compacter();
    let error = Bottleneck::new(&config, 576, 0, &mut init, &device).unwrap_err();
    let expected = CompacterError::NotDivisible { what: "output size", size: 18, phm_dim: 4 };
    assert_eq!(error, BottleneckError::Phm(expected));

    let parallel = BottleneckConfig::par_bn().with_phm_layer(true);
    let error = Bottleneck::new(&parallel, 16, 0, &mut init, &device).unwrap_err();
    let found = BottleneckInit::MamAdapter;
    assert_eq!(error, BottleneckError::InitOfPhm { found });
    assert!(error.to_string().contains("mam_adapter"));

    let per_layer = config.with_reduction_factor(ReductionFactor::per_layer([(0, 2.0)], 4.0));
    assert!(shared_phm(&per_layer, 16, &mut init, &device).unwrap().is_some());
    let error = shared_phm(&per_layer.with_shared_w_phm(true), 16, &mut init, &device).unwrap_err();
    assert_eq!(error, BottleneckError::SharedWidths);
    assert!(shared_phm(&BottleneckConfig::seq_bn(), 16, &mut init, &device).unwrap().is_none());
}
