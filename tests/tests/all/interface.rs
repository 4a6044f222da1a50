//! Families that the reference supports through its plug-in interface, in what it refuses there or fails to run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Mode, Place, Site};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup};
use burn_adapters_tests::{Golden, families, largest_difference, train_and_read_back, values};
use burn_adapters_transformers::AutoModel;

/// Refused by the interface; DoRA and VeRA crash on fused matrices, VeRA with grouped heads.
const REFUSED: [&str; 8] = [
    "prefix_tuning[prefix_length=3,bottleneck_size=4]",
    "prefix_tuning_flat[prefix_length=3]",
    "prefix_tuning[prefix_length=3,bottleneck_size=4]|par_bn[reduction_factor=8]",
    "prefix_tuning[prefix_length=3,bottleneck_size=4,use_gating=True]|seq_bn[reduction_factor=8,use_gating=True]|\
     lora[r=2,use_gating=True]",
    "prompt_tuning[prompt_length=3]",
    "mtl_lora[r=2]",
    "vera[r=4]",
    "dora[r=2]",
];

/// The families with an interface: those whose files hold it.
fn with_interface() -> Vec<PathBuf> {
    let holds = |family: &PathBuf| family.join("cases/seq_bn/adapter_interface.json").is_file();
    families().into_iter().filter(holds).collect()
}

fn load(family: &std::path::Path) -> (AutoModel, Golden) {
    let (model, _) = AutoModel::from_dir(&family.join("models/tiny"), &Device::default()).unwrap();
    (model, Golden::read(&family.join("models/tiny/hidden.safetensors")))
}

#[test]
fn what_the_interface_refuses_is_trained_and_comes_back_from_its_files() {
    let families = with_interface();
    assert_eq!(families.len(), 6);
    for family in families {
        let (model, golden) = load(&family);
        for config in REFUSED {
            let found = train_and_read_back(&model, &golden.batch(), config, 8, 0.05);
            found.unwrap_or_else(|what| panic!("{} {config}: {what}", family.display()));
        }
    }
}

#[test]
fn prefixes_are_seen_by_every_position_from_the_first_on() {
    for family in with_interface() {
        let (model, golden) = load(&family);
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        bank.add_seeded("a", "prefix_tuning_flat[prefix_length=2]".parse().unwrap(), 1).unwrap();
        let batch = golden.batch();
        let plain = model.hidden_states(&batch, &Hooks::none()).unwrap();
        let with = model.hidden_states(&batch, &bank.hooks(&Setup::adapter("a")).unwrap()).unwrap();
        let [rows, _, hidden] = plain[1].dims();
        // Even the first position of each row, which sees no other in a decoder.
        let first = |states: &Tensor<3>| values(states.clone().slice([0..rows, 0..1, 0..hidden]));
        let (plain, with) = (first(&plain[1]), first(&with[1]));
        for (plain, with) in plain.chunks(hidden).zip(with.chunks(hidden)) {
            assert!(largest_difference(with, plain) > 1e-4, "{}", family.display());
        }
    }
}

#[test]
fn a_parallel_adapter_reads_the_input_of_a_layer_whose_blocks_are_parallel() {
    let family = with_interface().into_iter().find(|family| family.ends_with("phi")).unwrap();
    let (model, golden) = load(&family);
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    let config = "par_bn[reduction_factor=4,leave_out=[1],init_weights='bert']";
    bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
    let batch = golden.batch();
    let plain = model.hidden_states(&batch, &Hooks::none()).unwrap();
    let with = model.hidden_states(&batch, &bank.hooks(&Setup::adapter("a")).unwrap()).unwrap();
    let site = Site::decoder(0, Place::FeedForward);
    let adapter = bank.adapter("a").unwrap().bottleneck.get(&site).unwrap();
    let input = plain[0].clone();
    let up = adapter.forward(input.clone(), input, None, Mode::Inference).up;
    let expected = values(plain[1].clone() + up);
    assert!(largest_difference(&values(with[1].clone()), &expected) <= 1e-5);
}

#[test]
fn an_adapter_without_the_residual_of_the_model_is_refused_where_the_model_adds_it() {
    for family in with_interface() {
        let (model, _) = load(&family);
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        let added = bank.add("a", "adapter_plus".parse().unwrap());
        // Qwen's layers are Llama's, so that adapters may take part in their residual.
        match family.file_name().unwrap().to_str().unwrap() {
            "qwen2" | "qwen3" => assert!(added.is_ok(), "{}", family.display()),
            _ => assert!(added.unwrap_err().to_string().contains("set original_ln_after=True")),
        }
    }
}
