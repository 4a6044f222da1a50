//! Properties of prefixes beyond the reference's numbers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use burn_adapters_config::PrefixTuningConfig;
use burn_adapters_core::{Init, Mode, ModelSpec, Place, Site, StackSpec};
use burn_adapters_prefix_tuning::{Attended, PrefixError, PrefixGroup, PrefixSource, PrefixTuning};

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

fn site(layer: usize) -> Site {
    Site::encoder(layer, Place::Attention)
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
