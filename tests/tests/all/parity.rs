//! Equal to the reference: logits, loss, and every trained parameter after one step of SGD.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use burn_adapters_config::AdapterConfig;
use burn_adapters_tests::{
    Case, cases, family_cases, largest_difference, logits, saved, saved_name, sums_difference, values,
};

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

/// Configurations of the reference that are refused here, and why.
const REFUSED: [(&str, &str); 1] = [("seq_bn_act_prelu", "an activation with parameters of its own")];

/// Parameters that the reference trains although its configuration says otherwise (`learn_phm=False`).
const NOT_TRAINED_HERE: [(&str, &str); 1] = [("compacter_fixed_rule", "phm_rule")];

fn check_all(methods: &[&str]) {
    let mut cases = cases(|method| methods.contains(&method));
    cases.retain(|case| !REFUSED.iter().any(|(name, _)| case.folder.ends_with(&format!("__{name}"))));
    assert!(!cases.is_empty(), "no goldens of {methods:?}");
    let failures: Vec<String> = cases.iter().flat_map(check).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Runs one case; gives what differs.
fn check(case: &Case) -> Vec<String> {
    let device = Device::default();
    let golden = case.golden();
    let mut failures = Vec::new();
    let mut compare = |what: &str, difference: f32| {
        if difference.is_nan() || difference > TOLERANCE {
            failures.push(format!("{}: {what} differs by {difference:e}", case.folder));
        }
    };

    let (model, mut bank) = case.load(&device);
    let config: AdapterConfig = case.config.parse().unwrap();
    assert_eq!(bank.adapter(&case.name).unwrap().config(), &config, "{}", case.folder);

    let setup = case.setup();
    let hooks = bank.hooks(&setup).unwrap();
    let found = logits(&model, &bank, &setup, &hooks, &golden.batch());
    compare("the logits", largest_difference(&values(found.into_values()), golden.values("logits")));
    drop(hooks);

    let setup = setup.training();
    bank.train_only(&setup).unwrap();
    let hooks = bank.hooks(&setup).unwrap();
    let head = bank.head_of(&setup).unwrap();
    let found = logits(&model, &bank, &setup, &hooks, &golden.batch());
    let loss = head.loss(&found, &golden.labels(head)).unwrap();
    compare("the loss", largest_difference(&values(loss.clone()), golden.values("loss")));
    drop(hooks);

    let gradients = GradientsParams::from_grads(loss.backward(), &bank);
    let bank = SgdConfig::new().init().step(case.learning_rate, bank, gradients);
    let found = saved(tempfile::tempdir().unwrap().path(), &bank, &case.name);
    for (name, expected) in golden.after() {
        let here = |(folder, leaf): &(&str, &str)| case.folder.ends_with(folder) && name.ends_with(leaf);
        if NOT_TRAINED_HERE.iter().any(here) {
            continue;
        }
        match found.0.get(&saved_name(name)) {
            Some((_, found)) => compare(name, sums_difference(name, found, expected)),
            None => panic!("{}: the reference trains `{name}`, we save no such parameter", case.folder),
        }
    }
    failures
}

#[test]
fn bottleneck_adapters() {
    check_all(&["bottleneck"]);
}

#[test]
fn lora() {
    check_all(&["lora"]);
}

#[test]
fn heads() {
    check_all(&["head"]);
}

#[test]
fn invertible_adapters() {
    check_all(&["invertible"]);
}

#[test]
fn compacter() {
    check_all(&["compacter"]);
}

#[test]
fn prefix_tuning() {
    check_all(&["prefix_tuning"]);
}

#[test]
fn prompt_tuning() {
    check_all(&["prompt_tuning"]);
}

#[test]
fn ia3() {
    check_all(&["ia3"]);
}

#[test]
fn unions() {
    check_all(&["mam", "unipelt", "union"]);
}

#[test]
fn dora() {
    check_all(&["dora"]);
}

#[test]
fn vera() {
    check_all(&["vera", "dvora"]);
}

#[test]
fn mtl_lora() {
    check_all(&["mtl_lora"]);
}

#[test]
fn reft() {
    check_all(&["reft"]);
}

#[test]
fn other_families() {
    let failures: Vec<String> = family_cases().iter().flat_map(check).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_golden_is_checked_by_one_of_these_tests() {
    let checked = [
        "bottleneck",
        "lora",
        "head",
        "invertible",
        "compacter",
        "prefix_tuning",
        "prompt_tuning",
        "ia3",
        "mam",
        "unipelt",
        "union",
        "dora",
        "vera",
        "dvora",
        "mtl_lora",
        "reft",
    ];
    let unchecked: Vec<_> = cases(|method| !checked.contains(&method)).into_iter().map(|case| case.folder).collect();
    assert!(unchecked.is_empty(), "{unchecked:?}");
}
