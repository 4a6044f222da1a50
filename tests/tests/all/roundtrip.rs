//! What we write: read back bit for bit here, and (by `tests/python/check_roundtrip.py`) by the reference.
//!
//! Every golden case is trained for one step, so that its weights are none that the reference wrote, and saved. With
//! `BURN_ADAPTERS_ROUNDTRIP_DIR` the folders stay there for the reference to read.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, load_adapter, load_head, save_adapter, save_head};
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_tests::pairs;
use burn_adapters_tests::{Case, Golden, cases, family_cases, logits, values};
use burn_adapters_transformers::AutoModel;
use safetensors::tensor::{Dtype, TensorView};

#[test]
fn what_is_saved_runs_bit_for_bit_the_same_when_it_is_loaded() {
    let kept = std::env::var_os("BURN_ADAPTERS_ROUNDTRIP_DIR");
    let temporary = tempfile::tempdir().unwrap();
    let root = kept.as_ref().map_or(temporary.path(), Path::new);
    if kept.is_some() && root.exists() {
        std::fs::remove_dir_all(root).unwrap();
    }
    let cases = cases(|_| true);
    for case in cases.iter().filter(|case| !case.folder.ends_with("_act_prelu")) {
        round_trip(case, &root.join(&case.folder));
    }
    for case in family_cases() {
        let family = case.root.split('/').nth(1).unwrap();
        round_trip(&case, &root.join(format!("{family}__{}", case.folder)));
    }
    for pair in pairs::pairs() {
        let (model, golden) = pairs::load(&pair);
        for (dir, _) in pairs::cases(&pair) {
            let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
            of_pair(&model, &golden, &dir, &root.join(format!("{}__{}", name(&pair), name(&dir))));
        }
    }
}

/// An adapter of a pair, which has no head.
fn of_pair(model: &AutoModel, golden: &Golden, dir: &Path, folder: &Path) {
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    load_adapter(dir, &mut bank, None).unwrap();
    let run = |bank: &AdapterBank| {
        let hooks = bank.hooks(&Setup::adapter("task")).unwrap();
        pairs::logits(model, &hooks, &golden.batch())
    };
    let expected = run(&bank);
    let adapter = folder.join("adapter");
    save_adapter(&adapter, &bank, "task", &SaveOptions::default()).unwrap();
    let mut loaded = AdapterBank::new(model.spec(), bank.device());
    load_adapter(&adapter, &mut loaded, None).unwrap();
    assert_eq!(values(run(&loaded)), values(expected.clone()), "{}", folder.display());
    let base = dir.ancestors().nth(2).unwrap().join("model");
    let shape = [&golden.0["decoder_input_ids"].0[..], &expected.dims()[1..]].concat();
    write_files(folder, &base, golden, (shape, &values(expected)));
}

fn round_trip(case: &Case, folder: &Path) {
    let device = Device::default();
    let (model, bank) = case.load(&device);
    let bank = step(case, &model, bank);
    let expected = run(case, &model, &bank);

    let adapter = folder.join("adapter");
    std::fs::create_dir_all(&adapter).unwrap();
    let options = SaveOptions::default();
    save_adapter(&adapter, &bank, &case.name, &options).unwrap();
    save_head(&adapter, &bank, &case.name, &options).unwrap();
    write_expected(case, folder, &expected);

    let mut loaded = AdapterBank::new(model.spec(), bank.device());
    load_adapter(&adapter, &mut loaded, None).unwrap_or_else(|error| panic!("{}: {error}", case.folder));
    load_head(&adapter, &mut loaded, None).unwrap();
    assert_eq!(run(case, &model, &loaded), expected, "{}", case.folder);

    // Saving what was loaded writes the same bytes.
    let again = folder.join("again");
    save_adapter(&again, &loaded, &case.name, &options).unwrap();
    save_head(&again, &loaded, &case.name, &options).unwrap();
    for entry in std::fs::read_dir(&adapter).unwrap() {
        let name = entry.unwrap().file_name();
        let (first, second) = (std::fs::read(adapter.join(&name)).unwrap(), std::fs::read(again.join(&name)).unwrap());
        assert!(first == second, "{}: {name:?} differs", case.folder);
    }
    std::fs::remove_dir_all(again).unwrap();
}

fn step(case: &Case, model: &AutoModel, mut bank: AdapterBank) -> AdapterBank {
    let golden = case.golden();
    let setup = case.setup().training();
    bank.train_only(&setup).unwrap();
    let hooks = bank.hooks(&setup).unwrap();
    let head = bank.head_of(&setup).unwrap();
    let found = logits(model, &bank, &setup, &hooks, &golden.batch());
    let loss = head.loss(&found, &golden.labels(head)).unwrap();
    drop(hooks);
    let gradients = GradientsParams::from_grads(loss.backward(), &bank);
    SgdConfig::new().init().step(case.learning_rate, bank, gradients)
}

fn run(case: &Case, model: &AutoModel, bank: &AdapterBank) -> Vec<f32> {
    let setup = case.setup();
    let hooks = bank.hooks(&setup).unwrap();
    values(logits(model, bank, &setup, &hooks, &case.golden().batch()).into_values())
}

/// The base model's place, the batch, and the logits, as the reference's side reads them.
fn write_expected(case: &Case, folder: &Path, logits: &[f32]) {
    if let Some(attention) = &case.attention {
        std::fs::write(folder.join("attention.txt"), attention).unwrap();
    }
    let golden = case.golden();
    write_files(folder, &case.model_dir(), &golden, (golden.0["logits"].0.clone(), logits));
}

fn write_files(folder: &Path, base: &Path, golden: &Golden, (shape, logits): (Vec<usize>, &[f32])) {
    std::fs::write(folder.join("model.txt"), base.to_str().unwrap()).unwrap();
    let mut tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for name in ["input_ids", "attention_mask", "token_type_ids", "decoder_input_ids"] {
        let Some((shape, values)) = golden.0.get(name) else { continue };
        let bytes = values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect();
        tensors.insert(name.into(), (Dtype::I64, shape.clone(), bytes));
    }
    let bytes = logits.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensors.insert("logits".into(), (Dtype::F32, shape, bytes));
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.join("expected.safetensors"), bytes).unwrap();
}
