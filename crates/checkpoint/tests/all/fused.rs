//! A family that computes query, key and value by one matrix: its files hold the tensors of those that an adapter has as
//! one, in this order.

use crate::common::contents;
use burn::tensor::Device;
use burn_adapters_checkpoint::{
    AdapterFolder, CheckpointError, RawTensor, SaveOptions, Tensors, load_adapter, save_adapter,
};
use burn_adapters_core::{ModelSpec, Place, Site, SiteName, SiteNames, StackKind, StackNames, StackSpec};
use burn_adapters_model::AdapterBank;

const fn part(index: usize) -> SiteName {
    SiteName::Part { module: "attn.c_attn", index, of: 3 }
}

const NAMES: SiteNames = SiteNames {
    prefix: Some("transformer"),
    stacks: &[StackNames {
        kind: StackKind::Encoder,
        root: "",
        layer: "h.{}",
        places: &[
            (Place::Query, part(0)),
            (Place::Key, part(1)),
            (Place::Value, part(2)),
            (Place::FeedForwardUp, SiteName::Whole("mlp.c_fc")),
            (Place::FeedForwardDown, SiteName::Whole("mlp.c_proj")),
        ],
        attentions: &[],
    }],
    ..SiteNames::OWN
};

fn bank(config: &str) -> AdapterBank {
    let spec = ModelSpec::new("fused", 8).with_stack(StackSpec::encoder(2, 8, 2, 16)).with_names(NAMES);
    let mut bank = AdapterBank::new(spec, &Device::default());
    bank.add_seeded("a", config.parse().unwrap(), 7).unwrap();
    bank
}

fn saved(bank: &AdapterBank) -> Tensors {
    let dir = tempfile::tempdir().unwrap();
    save_adapter(dir.path(), bank, "a", &SaveOptions::default()).unwrap();
    AdapterFolder::read(dir.path()).unwrap().tensors
}

fn at(tensors: &Tensors, layer: usize, parameter: &str) -> RawTensor {
    tensors[&format!("transformer.h.{layer}.attn.c_attn.loras.a.{parameter}")].clone()
}

/// Our matrix as PyTorch has it.
fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

#[test]
fn the_parts_of_a_fused_matrix_are_rows_of_one_tensor_in_the_order_of_the_matrix() {
    let bank = bank("lora[r=2,attn_matrices=['v','q'],init_weights='bert',intermediate_lora=True]");
    let tensors = saved(&bank);
    assert_eq!(tensors.len(), 2 * 2 * 2, "two modules in two layers, with two tensors each");
    assert_eq!(tensors["transformer.h.0.mlp.c_fc.loras.a.lora_B"].shape, [16, 2]);
    for layer in 0..2 {
        let (a, b) = (at(&tensors, layer, "lora_A"), at(&tensors, layer, "lora_B"));
        assert_eq!((a.shape, b.shape), (vec![4, 8], vec![16, 2]));
        for (index, place) in [Place::Query, Place::Value].into_iter().enumerate() {
            let lora = bank.adapter("a").unwrap().lora.get(&Site::encoder(layer, place)).unwrap();
            let values = |tensor: burn::tensor::Tensor<2>| tensor.into_data().try_to_vec::<f32>().unwrap();
            let rows = &a.values[index * 16..(index + 1) * 16];
            assert_eq!(rows, transposed(&values(lora.a.val()), 2), "{place:?}");
            assert_eq!(&b.values[index * 16..(index + 1) * 16], transposed(&values(lora.b.val()), 8), "{place:?}");
        }
    }
}

#[test]
fn every_matrix_method_comes_back_bit_for_bit() {
    let cases = [
        ("lora[r=2,attn_matrices=['k'],init_weights='bert']", "lora_A", vec![2, 8]),
        ("lora[r=2,attn_matrices=['q','k','v'],init_weights='bert',use_gating=True]", "gate.weight", vec![3, 8]),
        ("lora[r=2,attn_matrices=['q','k','v'],init_weights='bert',use_gating=True]", "gate.bias", vec![3]),
        ("ia3", "lora_B", vec![16, 1]),
        ("vera[r=2,init_weights_seed=1]", "vera_B", vec![16, 8]),
    ];
    for (config, parameter, shape) in cases {
        let mut bank = bank(config);
        assert_eq!(at(&saved(&bank), 1, parameter).shape, shape, "{config}");
        let (dir, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let report = save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
        bank.remove("a").unwrap();
        let loaded = load_adapter(dir.path(), &mut bank, None).unwrap();
        assert_eq!(loaded.applied.len(), report.tensors, "{config}: every tensor once");
        assert_eq!(loaded.parameters, report.parameters, "{config}");
        save_adapter(again.path(), &bank, "a", &SaveOptions::default()).unwrap();
        assert!(contents(dir.path()) == contents(again.path()), "{config}");
    }
}

#[test]
fn a_tensor_for_other_matrices_is_a_misfit_that_is_reported_once() {
    let dir = tempfile::tempdir().unwrap();
    let bank = bank("lora[r=2,attn_matrices=['q','k','v']]");
    save_adapter(dir.path(), &bank, "a", &SaveOptions::default()).unwrap();
    let mut folder = AdapterFolder::read(dir.path()).unwrap();
    let name = "transformer.h.0.attn.c_attn.loras.a.lora_A";
    folder.tensors.insert(name.into(), RawTensor { shape: vec![4, 8], values: vec![0.0; 32] });
    folder.tensors.remove("transformer.h.1.attn.c_attn.loras.a.lora_B").unwrap();
    let error = folder.into_adapter(bank.spec(), bank.device(), None).unwrap_err();
    let CheckpointError::Mismatch { mismatch, .. } = error else { panic!("{error}") };
    let [reshaped] = mismatch.reshaped.as_slice() else { panic!("{mismatch:?}") };
    assert_eq!((reshaped.name.as_str(), &reshaped.expected), (name, &vec![6, 8]));
    let [missing] = mismatch.missing.as_slice() else { panic!("{mismatch:?}") };
    assert_eq!((missing.name.as_str(), &missing.shape), ("transformer.h.1.attn.c_attn.loras.a.lora_B", &vec![24, 2]));
    assert!(mismatch.unexpected.is_empty(), "{mismatch:?}");
}
