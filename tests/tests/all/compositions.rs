//! Compositions, equal to the reference where it is right.
//!
//! Where the reference divides an average by the number of adapters twice, or attends to the padding of prefixes of
//! different lengths, a golden holds what was intended beside what it computed (`intended.`), and that is what must come
//! out here.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, save_fusion};
use burn_adapters_composition::Composition;
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{Forward, Setup};
use burn_adapters_tests::composed::{Case, cases};
use burn_adapters_tests::{Golden, goldens, largest_difference, sums_difference, values};

/// 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

/// Cases in which the reference computes something else than its documentation says, and we do not (docs/REFERENCE.md).
const DIFFERENT: [(&str, &str); 19] = [
    ("batch_split_dora", "the last adapter's magnitude is used for all rows"),
    ("parallel_dora", "the last adapter's magnitude is used for all rows"),
    ("average_dora", "the last adapter's magnitude is used for all"),
    ("average_dora_weights", "the last adapter's magnitude is used for all"),
    ("average_dora_not_normalized", "the last adapter's magnitude is used for all"),
    ("batch_split_seq_empty", "a part without rows is refused here"),
    ("batch_split_prefix_empty", "a part without rows is refused here"),
    ("average_seq_compensated", "weights that make up for the second division"),
    ("average_lora_compensated", "weights that make up for the second division"),
    ("average_ia3_compensated", "weights that make up for the second division"),
    ("average_seq_upper", "where one adapter is absent, the other is scaled by the mean weight"),
    ("average_lora_upper", "where one adapter is absent, the other is scaled by the mean weight"),
    ("average_seq_lora", "where one adapter is absent, the other is scaled by the mean weight"),
    ("stack_lora_ia3", "the last adapter decides whether both are added or multiplied"),
    ("stack_ia3_lora", "the last adapter decides whether both are added or multiplied"),
    ("stack_prompt_prompt", "only the first acts"),
    ("stack_noreft_noreft", "only the first acts"),
    ("batch_split_seq_par", "the last adapter's residuals are used for all rows"),
    ("drop_all_parallel", "nothing is repeated where all layers are dropped, and each head gets half of the rows"),
];

fn is_different(case: &Case) -> bool {
    DIFFERENT.iter().any(|(name, _)| case.folder.split_once("__").is_some_and(|(_, folder)| folder == *name))
}

/// What differs from the golden.
fn check(case: &Case) -> Vec<String> {
    let device = Device::default();
    let golden = case.golden();
    if let Err(error) = Composition::parse(&case.setup) {
        return vec![format!("{}: refused: {error}", case.folder)];
    }
    let (model, bank) = case.load(&device);
    let setup = case.setup().observe_fusions();
    let hooks = match bank.hooks(&setup) {
        Ok(hooks) => hooks,
        Err(error) => return vec![format!("{}: {error}", case.folder)],
    };
    let output = model.forward(&golden.batch(), &hooks).unwrap();
    let heads = bank.logits(&setup, &output).unwrap();
    let mut failures = Vec::new();
    let mut compare = |name: &str, found: Vec<f32>| {
        let intended = format!("intended.{name}");
        let expected = golden.0.get(&intended).or_else(|| golden.0.get(name));
        let (_, expected) = expected.unwrap_or_else(|| panic!("{}: no `{name}`", case.folder));
        let difference =
            if found.len() == expected.len() { largest_difference(&found, expected) } else { f32::INFINITY };
        if difference > TOLERANCE {
            failures.push(format!("{}: `{}`: {name} differs by {difference:e}", case.folder, case.setup));
        }
    };
    if golden.0.contains_key("logits") {
        // Several heads on parts of a batch are one table in the golden.
        let all = heads.into_iter().flat_map(|head| values(head.logits.into_values())).collect();
        compare("logits", all);
    } else {
        for head in heads {
            compare(&format!("logits.{}", head.head), values(head.logits.into_values()));
        }
    }
    for (name, (_, expected)) in &golden.0 {
        // `attentions.<fusion>.<layer>.<location>`: the fusion's name may hold commas, but no dots.
        let Some(rest) = name.strip_prefix("attentions.") else { continue };
        let parts: Vec<&str> = rest.split('.').collect();
        let place = if parts[2] == "mh_adapter" { Place::Attention } else { Place::FeedForward };
        let site = Site::encoder(parts[1].parse().unwrap(), place);
        let observed = hooks.observed().fusions;
        let found = observed.get(parts[0]).and_then(|sites| sites.get(&site));
        let found = found.unwrap_or_else(|| panic!("{}: no attention `{name}`", case.folder)).clone();
        let difference = largest_difference(&values(found), expected);
        if difference > TOLERANCE {
            failures.push(format!("{}: {name} differs by {difference:e}", case.folder));
        }
    }
    failures
}

#[test]
fn every_composition_gives_the_references_logits() {
    let all = cases();
    let (different, cases): (Vec<_>, Vec<_>) = all.into_iter().partition(is_different);
    // What is listed as different still is.
    for case in &different {
        assert!(!check(case).is_empty(), "{} no longer differs", case.folder);
    }
    assert!(cases.len() > 300);
    let failures: Vec<_> = cases.iter().flat_map(check).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn a_step_of_training_a_fusion_is_the_references() {
    let cases: Vec<_> = cases().into_iter().filter(|case| case.train.as_deref() == Some("fusion")).collect();
    assert!(cases.len() > 5);
    for case in &cases {
        let device = Device::default();
        let golden = case.golden();
        let (model, mut bank) = case.load(&device);
        let setup = case.setup().training().train_fusions();
        bank.train_only(&setup).unwrap();
        let hooks = bank.hooks(&setup).unwrap();
        let output = model.forward(&golden.batch(), &hooks).unwrap();
        let head = bank.head_of(&setup).unwrap();
        let logits = bank.logits(&setup, &output).unwrap().remove(0).logits;
        let loss = head.loss(&logits, &golden.labels(head)).unwrap();
        drop(hooks);
        let compare = |what: &str, found: &[f32], expected: &[f32]| {
            let difference = largest_difference(found, expected);
            assert!(difference < TOLERANCE, "{}: {what} differs by {difference:e}", case.folder);
        };
        compare("the loss", &values(loss.clone()), golden.values("loss"));
        let loss = match bank.regularization_loss(&setup) {
            Some(regularization) => {
                compare("the regularization", &values(regularization.clone()), golden.values("regularization_loss"));
                loss + regularization
            }
            None => loss,
        };
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        let bank = SgdConfig::new().init().step(case.learning_rate, bank, gradients);
        let dir = tempfile::tempdir().unwrap();
        let mut found = Golden::default();
        for fusion in setup.fusion_names() {
            save_fusion(dir.path(), &bank, &fusion, &SaveOptions::default()).unwrap();
            found.0.extend(Golden::read(&dir.path().join("model_adapter_fusion.safetensors")).0);
        }
        for (name, expected) in golden.after() {
            if let Some((_, found)) = found.0.get(name) {
                let difference = sums_difference(name, found, expected);
                assert!(difference < TOLERANCE, "{}: {name} differs by {difference:e}", case.folder);
            }
        }
    }
}

/// Adapters of four methods, a row of a batch each, none among them.
#[test]
fn a_routed_batch_equals_its_rows_run_alone() {
    let device = Device::default();
    let names = ["seq_a", "lora_a", "ia3_a", "prefix_a", "par_a", "prompt_a"];
    let case = Case {
        folder: String::new(),
        model: "tiny-a".into(),
        setup: String::new(),
        adapters: names.map(str::to_owned).to_vec(),
        fusions: Vec::new(),
        heads: None,
        skip_layers: Vec::new(),
        train: None,
        learning_rate: 0.0,
    };
    let (model, bank) = case.load(&device);
    let bank = burn::module::Module::valid(&bank);
    let golden = Golden::read(&goldens().join("models/tiny-a/hidden.safetensors"));
    for rows in [
        [Some("seq_a"), Some("lora_a"), None, Some("seq_a")],
        [Some("prefix_a"), Some("ia3_a"), Some("par_a"), Some("lora_a")],
        [Some("prompt_a"), None, Some("prefix_a"), Some("prompt_a")],
    ] {
        let setup = Setup::compose(Composition::route(rows));
        let together = model.forward(&golden.batch(), &bank.hooks(&setup).unwrap()).unwrap().hidden;
        for (row, name) in rows.into_iter().enumerate() {
            let setup = name.map_or_else(Setup::base, Setup::adapter);
            let alone = model.forward(&golden.batch(), &bank.hooks(&setup).unwrap()).unwrap().hidden;
            // The first position is what heads read; beside a prompt, other rows are padded at their ends.
            let first = |hidden: burn::tensor::Tensor<3>| values(hidden.narrow(0, row, 1).narrow(1, 0, 1));
            let difference = largest_difference(&first(together.clone()), &first(alone));
            assert!(difference < 1e-5, "row {row} of {rows:?}: {difference:e}");
        }
    }
}

#[test]
fn blocks_of_one_adapter_are_that_adapter() {
    let device = Device::default();
    for name in ["seq_a", "double_a", "par_a", "lora_a", "ia3_a", "compacter_a"] {
        let case = Case {
            folder: String::new(),
            model: "tiny-a".into(),
            setup: String::new(),
            adapters: vec![name.into()],
            fusions: Vec::new(),
            heads: None,
            skip_layers: Vec::new(),
            train: None,
            learning_rate: 0.0,
        };
        let (model, bank) = case.load(&device);
        let golden = Golden::read(&goldens().join("models/tiny-a/hidden.safetensors"));
        let run = |setup: &Setup| values(model.forward(&golden.batch(), &bank.hooks(setup).unwrap()).unwrap().hidden);
        let alone = run(&Setup::adapter(name));
        for text in [format!("Stack({name})"), format!("Average({name})"), format!("Parallel({name})")] {
            let found = run(&Setup::compose(Composition::parse(&text).unwrap()));
            assert!(largest_difference(&found, &alone) < 1e-6, "{text}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_the_pass() {
    let device = Device::default();
    let case = Case {
        folder: String::new(),
        model: "tiny-a".into(),
        setup: String::new(),
        adapters: vec!["prefix_a".into(), "lora_a".into()],
        fusions: Vec::new(),
        heads: None,
        skip_layers: Vec::new(),
        train: None,
        learning_rate: 0.0,
    };
    let (_, bank) = case.load(&device);
    let refused = |text: &str| bank.hooks(&Setup::compose(text.parse().unwrap())).unwrap_err().to_string();
    assert!(refused("Average(prefix_a, lora_a)").contains("prefix tuning"));
    assert!(refused("Split(lora_a, lora_a, splits=[5, 6])").contains("LoRA"));
    assert!(refused("Fuse(lora_a, prefix_a)").contains("no fusion named"));
    assert!(refused("Stack(lora_a, nobody)").contains("nobody"));
}
