//! Coupling blocks compute the same as the reference's (`goldens/invertible.py`), and their inverses undo it.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData, Tolerance};
use burn_adapters_config::{Activation, BottleneckConfig, InvertibleKind};
use burn_adapters_core::{Fill, Init};
use burn_adapters_invertible::{Invertible, InvertibleError, Subnet};
use proptest::prelude::*;
use serde_json::Value;

fn tensor<const D: usize>(value: &Value) -> Tensor<D> {
    let list = |key: &str| value[key].as_array().unwrap().clone();
    let values: Vec<f32> = list("values").iter().map(|v| v.as_f64().unwrap() as f32).collect();
    let shape: Vec<usize> = list("shape").iter().map(|v| v.as_u64().unwrap() as usize).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::default())
}

fn config(kind: InvertibleKind, factor: f64, non_linearity: Activation) -> BottleneckConfig {
    BottleneckConfig::seq_bn_inv()
        .with_inv_adapter(kind)
        .with_inv_adapter_reduction_factor(factor)
        .with_non_linearity(non_linearity)
}

fn new(config: &BottleneckConfig, hidden_size: usize) -> Result<Invertible, InvertibleError> {
    Invertible::new(config, hidden_size, &mut Init::from_seed(1), &Device::default())
}

/// The networks of a block.
fn subnets(adapter: &mut Invertible) -> [&mut Subnet; 2] {
    match adapter {
        Invertible::Nice(block) => [&mut block.f, &mut block.g],
        Invertible::Glow(block) => [&mut block.s1, &mut block.s2],
    }
}

#[test]
fn both_blocks_give_the_references_numbers() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("goldens/invertible.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let kind = InvertibleKind::from_name(case["kind"].as_str().unwrap()).unwrap();
        let non_linearity = Activation::from_name(case["non_linearity"].as_str().unwrap()).unwrap();
        let config = config(kind, case["reduction_factor"].as_f64().unwrap(), non_linearity);
        let mut adapter = new(&config, case["hidden"].as_u64().unwrap() as usize).unwrap();
        let names = match kind {
            InvertibleKind::Nice => ["F", "G"],
            InvertibleKind::Glow => ["s1", "s2"],
        };
        for (name, subnet) in names.iter().zip(subnets(&mut adapter)) {
            let load = |linear: &mut Linear, index: usize| {
                let parameter = |suffix: &str| &case["parameters"][format!("{name}.{index}.{suffix}")];
                let weight = tensor::<2>(parameter("weight")).transpose();
                assert_eq!(weight.dims(), linear.weight.dims());
                linear.weight = Param::from_tensor(weight);
                linear.bias = Some(Param::from_tensor(tensor(parameter("bias"))));
            };
            load(&mut subnet.down, 0);
            load(&mut subnet.up, 2);
        }
        let (x, y) = (tensor::<3>(&case["x"]), tensor::<3>(&case["y"]));
        let close = |found: Tensor<3>, expected: &Tensor<3>, bound| {
            // GPUs round differently: there the tolerance is that of all parity tests.
            let graphics = std::env::var("BURN_DEVICE").is_ok_and(|device| device == "wgpu");
            let bound = if graphics { 1e-4 } else { bound };
            let tolerance = Tolerance::rel_abs(bound, bound);
            found.into_data().assert_approx_eq::<f32>(&expected.to_data(), tolerance);
        };
        close(adapter.forward(x.clone()), &y, 1e-5);
        close(adapter.inverse(y), &x, 1e-4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_inverse_takes_a_block_back(
        seed: u64,
        glow: bool,
        half in 1usize..9,
        batch in 1usize..4,
        sequence in 1usize..6,
        non_linearity in prop::sample::select(Activation::ALL),
    ) {
        let kind = if glow { InvertibleKind::Glow } else { InvertibleKind::Nice };
        let device = Device::default();
        let mut adapter = new(&config(kind, 0.5, non_linearity), 2 * half).unwrap();
        let mut init = Init::from_seed(seed);
        for subnet in subnets(&mut adapter) {
            for linear in [&mut subnet.down, &mut subnet.up] {
                let [d_input, d_output] = linear.weight.dims();
                let fill = Fill::Normal { std: 0.5 / (d_input as f64).sqrt() };
                *linear = init.linear([d_input, d_output], fill, Some(fill), &device);
            }
        }
        let x = init.param([batch, sequence, 2 * half], Fill::Normal { std: 1.0 }, &device).val();
        let y = adapter.forward(x.clone());
        prop_assert!((y.clone() - x.clone()).abs().max().into_scalar::<f32>() > 1e-4);
        prop_assert!((adapter.inverse(y) - x).abs().max().into_scalar::<f32>() < 1e-5);
    }
}

#[test]
fn a_new_block_changes_little_and_its_parameters_are_drawn_when_read() {
    for kind in [InvertibleKind::Nice, InvertibleKind::Glow] {
        let adapter = new(&config(kind, 2.0, Activation::Relu), 128).unwrap();
        let outputs = if kind == InvertibleKind::Nice { 64 } else { 128 };
        assert_eq!(Module::num_params(&adapter), 2 * (64 * 32 + 32 + 32 * outputs + outputs));
        let mut copy = adapter.clone();
        assert!(subnets(&mut copy).iter().all(|subnet| !subnet.up.weight.is_initialized()));
        let x = Tensor::ones([1, 2, 128], &Device::default());
        let moved = (adapter.forward(x.clone()) - x).abs().max().into_scalar::<f32>();
        assert!(moved > 0.0 && moved < 0.2, "{moved}");
    }
}

#[test]
fn parameters_are_as_many_as_the_references() {
    // The reference's counts for `seq_bn_inv` and `double_seq_bn_inv`, minus those for `seq_bn` and `double_seq_bn`.
    let printed = [
        (768, 1_190_592 - 894_528),
        (768, 2_085_120 - 1_789_056),
        (1024, 3_697_664 - 3_171_840),
        (1024, 6_869_504 - 6_343_680),
        (128, 12_752 - 4_368),
        (384, 187_344 - 113_040),
        (384, 300_384 - 226_080),
    ];
    for (hidden_size, expected) in printed {
        for config in [BottleneckConfig::seq_bn_inv(), BottleneckConfig::double_seq_bn_inv()] {
            assert_eq!(Module::num_params(&new(&config, hidden_size).unwrap()), expected);
        }
    }
}

#[test]
fn what_cannot_be_built_is_an_error_with_its_numbers() {
    let config = BottleneckConfig::seq_bn_inv();
    let error = |config: &BottleneckConfig, hidden_size| new(config, hidden_size).unwrap_err();
    assert_eq!(error(&config, 33), InvertibleError::OddHiddenSize { hidden_size: 33 });
    assert_eq!(error(&BottleneckConfig::seq_bn(), 32), InvertibleError::NotConfigured);
    let without = config.clone().with_inv_adapter_reduction_factor(None);
    assert_eq!(error(&without, 32), InvertibleError::NoReductionFactor);
    for found in [17.0, 0.0, -2.0, f64::INFINITY] {
        let expected = InvertibleError::BadReductionFactor { found, hidden_size: 32, half: 16 };
        assert_eq!(error(&config.clone().with_inv_adapter_reduction_factor(found), 32), expected);
    }
    let nan = error(&config.with_inv_adapter_reduction_factor(f64::NAN), 32);
    assert!(matches!(nan, InvertibleError::BadReductionFactor { .. }));
}
