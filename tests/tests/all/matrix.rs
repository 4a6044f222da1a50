//! Every configuration of the reference's table, and its further methods, on every model family: logits, loss and every
//! trained parameter after one step of SGD, from the reference's files; and what the reference refuses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use burn_adapters_checkpoint::{load_adapter, load_head};
use burn_adapters_core::StackKind;
use burn_adapters_heads::Targets;
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_tests::matrix::{Entry, MatrixCase, batch, matrix};
use burn_adapters_tests::{
    largest_difference, logits, saved, saved_name, sums_difference, train_and_read_back, values,
};
use burn_adapters_transformers::AutoModel;

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens. Sums have the same tolerance.
const TOLERANCE: f32 = 9.9e-5;

/// The learning rate of the step.
const LEARNING_RATE: f64 = 0.1;

/// Adapters that are converted when they are read, so that their parameters are others: the family and the
/// configurations. Their logits and their loss are the same.
const CONVERTED: (&str, [&str; 3]) = ("deberta", ["lora", "lora_everywhere", "ia3"]);

/// A file of the reference that cannot be converted.
const NOT_CONVERTED: (&str, &str) = ("deberta", "unipelt");

/// Families whose layers add their residual themselves, so that AdapterPlus is refused here, too.
const ADD_RESIDUAL: [&str; 4] = ["gemma2", "gemma3_text", "modernbert", "phi"];

fn name(family: &Path) -> &str {
    family.file_name().unwrap().to_str().unwrap()
}

fn model(family: &Path) -> AutoModel {
    AutoModel::from_dir(&family.join("models/tiny"), &Device::default()).unwrap().0
}

/// Families of which the stacks are of these kinds.
fn families_of(kinds: &[StackKind]) -> Vec<(String, std::path::PathBuf, AutoModel, BTreeMap<String, Entry>)> {
    let all = matrix().into_iter().map(|(family, entries)| (name(&family).to_owned(), model(&family), family, entries));
    let of_kind = |model: &AutoModel| model.spec().stacks.iter().map(|stack| stack.kind).eq(kinds.iter().copied());
    all.filter(|(_, model, ..)| of_kind(model))
        .map(|(name, model, family, entries)| (name, family, model, entries))
        .collect()
}

/// On a GPU every new shape compiles kernels, which takes most of the time: one of so many cases is enough there.
fn one_of() -> usize {
    if std::env::var("BURN_DEVICE").is_ok_and(|device| device.starts_with("wgpu")) { 10 } else { 1 }
}

fn check_all(kinds: &[StackKind]) {
    let (mut failures, mut compared) = (Vec::new(), 0);
    for (name, family, model, entries) in families_of(kinds) {
        for (config, entry) in &entries {
            let Entry::Case(case) = entry else { continue };
            compared += 1;
            if compared % one_of() != 0 {
                continue;
            }
            if (name.as_str(), config.as_str()) == NOT_CONVERTED {
                let error = check(&family, &model, case, true).concat();
                assert!(error.contains("no gate of one matrix computes the same"), "{error}");
                continue;
            }
            let is_converted = name == CONVERTED.0 && CONVERTED.1.contains(&config.as_str());
            let found = check(&family, &model, case, is_converted);
            failures.extend(found.into_iter().map(|what| format!("{name} {config}: {what}")));
        }
    }
    assert!(compared > 20, "{compared} cases");
    assert!(failures.is_empty(), "{} differences in {compared} cases:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_configuration_equals_the_reference_on_encoders() {
    check_all(&[StackKind::Encoder]);
}

#[test]
fn every_configuration_equals_the_reference_on_decoders() {
    check_all(&[StackKind::Decoder]);
}

#[test]
fn every_configuration_equals_the_reference_on_encoder_decoders() {
    check_all(&[StackKind::Encoder, StackKind::Decoder]);
}

/// Runs one case; gives what differs.
fn check(family: &Path, model: &AutoModel, case: &MatrixCase, is_converted: bool) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    case.write(dir.path());
    let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
    if let Err(error) = load_adapter(dir.path(), &mut bank, None) {
        return vec![error.to_string()];
    }
    load_head(dir.path(), &mut bank, None).unwrap();
    let batch = batch(family, case.padding).batch();
    let setup = Setup::adapter("task");
    let mut failures = Vec::new();
    let mut compare = |what: &str, difference: f32| {
        if difference.is_nan() || difference > TOLERANCE {
            failures.push(format!("{what} differs by {difference:e}"));
        }
    };
    let found = values(logits(model, &bank, &setup, &bank.hooks(&setup).unwrap(), &batch).into_values());
    compare("the logits", largest_difference(&found, &case.logits));

    let setup = setup.training();
    bank.train_only(&setup).unwrap();
    let found = logits(model, &bank, &setup, &bank.hooks(&setup).unwrap(), &batch);
    let loss = bank.head("task").unwrap().loss(&found, &Targets::Classes(case.labels.clone())).unwrap();
    compare("the loss", (values(loss.clone())[0] - case.loss).abs());
    if is_converted {
        return failures;
    }
    let gradients = GradientsParams::from_grads(loss.backward(), &bank);
    let bank = SgdConfig::new().init().step(LEARNING_RATE, bank, gradients);
    let found = saved(tempfile::tempdir().unwrap().path(), &bank, "task");
    // What we write has the names and the shapes of what the reference writes.
    let expected: BTreeMap<String, Vec<usize>> =
        case.shapes().into_iter().map(|(name, shape)| (saved_name(name), shape)).collect();
    for (name, shape) in &expected {
        if found.0.get(name).map(|(found, _)| found) != Some(shape) {
            failures.push(format!(
                "the reference saves `{name}` of {shape:?}, we {:?}",
                found.0.get(name).map(|(found, _)| found)
            ));
        }
    }
    failures.extend(
        found.0.keys().filter(|name| !expected.contains_key(*name)).map(|name| format!("we alone save `{name}`")),
    );
    for (name, expected) in &case.after {
        let Some((_, values)) = found.0.get(&saved_name(name)) else {
            failures.push(format!("the reference trains `{name}`, we save no such parameter"));
            continue;
        };
        let difference = sums_difference(name, values, *expected);
        if difference.is_nan() || difference > TOLERANCE {
            failures.push(format!("{name} differs by {difference:e}"));
        }
    }
    failures
}

#[test]
fn what_the_reference_refuses_is_trained_and_comes_back_from_its_files() {
    let (mut failures, mut refused) = (Vec::new(), 0);
    for (family, entries) in matrix() {
        let model = model(&family);
        for (config, entry) in &entries {
            let Entry::Refused { config: text, .. } = entry else { continue };
            refused += 1;
            if refused % one_of() != 0 {
                continue;
            }
            let is_refused = config == "adapter_plus" && ADD_RESIDUAL.contains(&name(&family));
            match train_and_read_back(&model, &batch(&family, true).batch(), text, 4, 0.02) {
                Ok(()) if !is_refused => {}
                Err(error) if is_refused && error.contains("set original_ln_after=True") => {}
                result => failures.push(format!("{} {config}: {result:?}", name(&family))),
            }
        }
    }
    assert!(refused > 50, "{refused} configurations");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
