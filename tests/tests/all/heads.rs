//! Heads with a form of their own, equal to the reference: logits with and without an adapter, loss, every trained
//! parameter after one step of SGD, and what is saved.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use burn_adapters_checkpoint::{HeadFolder, SaveOptions, load_adapter, load_head, save_head};
use burn_adapters_core::{Output, TokenSpan};
use burn_adapters_heads::{Logits, Transform};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup};
use burn_adapters_tests::{
    Case, Golden, cases_in, goldens, largest_difference, read_json, saved, saved_name, sums_difference, values,
};
use burn_adapters_transformers::AutoModel;

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

const POSITIONS: usize = 11;

/// The prompt of a case: before which position it stands, and its length.
fn prompt(case: &Case) -> Option<(usize, usize)> {
    let length = case.config_json.get("prompt_length")?.as_u64()? as usize;
    Some((usize::from(case.config_json["combine"] == "prefix_after_bos"), length))
}

/// Every position of the input as a token, padding too: the reference computes all of them.
fn output(
    model: &AutoModel,
    bank: &AdapterBank,
    setup: &Setup,
    golden: &Golden,
    prompt: Option<(usize, usize)>,
) -> Output {
    let hooks = bank.hooks(setup).unwrap();
    let run = model.forward(&golden.batch(), &hooks).unwrap();
    let [rows, _, _] = run.hidden.dims();
    let mut span = TokenSpan::new(POSITIONS);
    prompt.into_iter().for_each(|(at, count)| span.insert(at, count));
    Output { hidden: run.hidden, pooled: run.pooled, tokens: vec![span; rows], row_position: run.row_position }
}

/// The reference's logits at the positions of the input; it has some for the prompt, too. Those of choices have no
/// positions.
fn expected(golden: &Golden, name: &str, prompt: Option<(usize, usize)>) -> Vec<f32> {
    let (shape, values) = &golden.0[name];
    if shape.len() == 2 {
        return values.clone();
    }
    let (at, count) = prompt.unwrap_or((0, 0));
    let is_token = |position: usize| position < at || position >= at + count;
    let vectors = values.chunks(shape[2]).enumerate();
    vectors.filter(|(index, _)| is_token(index % shape[1])).flat_map(|(_, vector)| vector.to_vec()).collect()
}

fn logits(bank: &AdapterBank, setup: &Setup, output: &Output) -> Logits {
    bank.logits(setup, output).unwrap().remove(0).logits
}

#[test]
fn heads_equal_the_reference() {
    let cases = cases_in("heads", |_| true);
    assert_eq!(cases.len(), 13);
    let device = Device::default();
    for case in cases {
        let (golden, prompt) = (case.golden(), prompt(&case));
        let (model, mut bank) = case.load(&device);
        let near = |what: &str, found: &[f32], expected: &[f32]| {
            let difference = largest_difference(found, expected);
            assert!(difference <= TOLERANCE, "{}: {what} differs by {difference:e}", case.folder);
        };
        let found = logits(&bank, &case.setup(), &output(&model, &bank, &case.setup(), &golden, prompt));
        near("the logits", &values(found.into_values()), &expected(&golden, "logits", prompt));
        if golden.0.contains_key("logits_without_adapter") {
            let alone = Setup::base().with_head(case.name.as_str());
            let found = logits(&bank, &alone, &output(&model, &bank, &alone, &golden, None));
            near("the head alone", &values(found.into_values()), &expected(&golden, "logits_without_adapter", None));
        }

        let setup = case.setup().training();
        bank.train_only(&setup).unwrap();
        let found = logits(&bank, &setup, &output(&model, &bank, &setup, &golden, prompt));
        let head = bank.head_of(&setup).unwrap();
        let loss = head.loss(&found, &golden.labels(head)).unwrap();
        near("the loss", &values(loss.clone()), golden.values("loss"));
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        let bank = SgdConfig::new().init().step(case.learning_rate, bank, gradients);

        let dir = tempfile::tempdir().unwrap();
        let after = saved(dir.path(), &bank, &case.name);
        let mut compared = 0;
        for (name, expected) in golden.after() {
            let saved = saved_name(name);
            let difference = sums_difference(name, after.values(&saved), expected);
            assert!(difference <= TOLERANCE, "{}: {name} differs by {difference:e}", case.folder);
            compared += usize::from(saved.starts_with("heads."));
        }
        assert!(compared >= 2, "{}: the head is trained", case.folder);
    }
}

#[test]
fn a_head_is_saved_as_the_reference_saves_it() {
    for case in cases_in("heads", |_| true) {
        let (_, bank) = case.load(&Device::default());
        let dir = tempfile::tempdir().unwrap();
        save_head(dir.path(), &bank, &case.name, &SaveOptions::default()).unwrap();
        let config = |dir: &std::path::Path| read_json::<serde_json::Value>(&dir.join("head_config.json"));
        let (found, expected) = (config(dir.path()), config(&case.dir()));
        for key in ["config", "hidden_size", "name", "model_type", "model_class"] {
            assert_eq!(found[key], expected[key], "{}: {key}", case.folder);
        }
        let weights = |dir: &std::path::Path| Golden::read(&dir.join("model_head.safetensors")).0;
        assert_eq!(weights(dir.path()), weights(&case.dir()), "{}", case.folder);
    }
}

/// Reads an adapter of Hugging Face's own class with its head, and compares the logits.
fn of_own_class(name: &str) -> HeadFolder {
    let device = Device::default();
    let dir = goldens().join("heads").join(name);
    let folder = HeadFolder::read(dir.join("adapter")).unwrap();
    let (model, _) = AutoModel::from_dir(&goldens().join("models/tiny-a"), &device).unwrap();
    let mut bank = AdapterBank::new(model.spec(), &device.clone().autodiff());
    load_adapter(dir.join("adapter"), &mut bank, None).unwrap();
    load_head(dir.join("adapter"), &mut bank, None).unwrap();
    let (golden, setup) = (Golden::read(&dir.join("golden.safetensors")), Setup::adapter("static"));
    let found = logits(&bank, &setup, &output(&model, &bank, &setup, &golden, None));
    let difference = largest_difference(&values(found.into_values()), &expected(&golden, "logits", None));
    assert!(difference <= TOLERANCE, "{name}: {difference:e}");
    assert!(!folder.notes[0].contains("problem_type"), "{:?}", folder.notes);
    folder
}

#[test]
fn the_heads_of_hugging_faces_own_classes_are_read() {
    let tagging = of_own_class("static_bert_tokens").config;
    assert_eq!(tagging.task().name(), "tagging");
    assert_eq!(tagging.labels(), ["B-LOC", "B-PER", "I-PER", "O"]);
    assert_eq!(of_own_class("static_bert_answers").config.task().name(), "question-answering");
    let choices = of_own_class("static_bert_choices").config;
    assert_eq!((choices.task().name(), choices.use_pooler), ("multiple-choice", true));
}

/// The logits of an adapter with a head.
fn adapted(model: &AutoModel, bank: &AdapterBank, head: &str, golden: &Golden) -> Vec<f32> {
    let setup = Setup::adapter("static").with_head(head);
    let hooks = bank.hooks(&setup).unwrap();
    values(burn_adapters_tests::logits(model, bank, &setup, &hooks, &golden.batch()).into_values())
}

#[test]
fn heads_of_classes_that_begin_with_a_transform_are_read_and_come_back() {
    let family = goldens().join("families/modernbert");
    let device = Device::default();
    for (folder, task) in [
        ("static", "classification"),
        ("static_mean", "classification"),
        ("static_tokens", "tagging"),
        ("static_answers", "question-answering"),
        ("static_choices", "multiple-choice"),
    ] {
        let dir = family.join(folder).join("adapter");
        let base: serde_json::Value = read_json(&dir.join("head_config.json"));
        let (model, _) = AutoModel::from_dir(&family.join(base["model_name"].as_str().unwrap()), &device).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &device.clone().autodiff());
        load_adapter(&dir, &mut bank, None).unwrap();
        load_head(&dir, &mut bank, None).unwrap();
        let config = bank.head("static").unwrap().config();
        assert_eq!(config.task().name(), task);
        let has_biases = folder == "static_mean" || folder == "static_choices";
        assert_eq!(config.transform, Some(Transform { bias: has_biases, norm_bias: has_biases }), "{folder}");

        let golden = Golden::read(&family.join(folder).join("golden.safetensors"));
        let (shape, expected) = &golden.0["logits"];
        let mask = golden.values("attention_mask");
        let vectors = expected.chunks(shape[shape.len() - 1]).enumerate();
        let is_read = |index: usize| shape.len() == 2 || mask[index] == 1.0;
        let expected: Vec<f32> =
            vectors.filter(|(index, _)| is_read(*index)).flat_map(|(_, vector)| vector.to_vec()).collect();
        let found = adapted(&model, &bank, "static", &golden);
        let difference = largest_difference(&found, &expected);
        assert!(difference <= TOLERANCE, "{folder}: {difference:e}");

        let saved = tempfile::tempdir().unwrap();
        save_head(saved.path(), &bank, "static", &SaveOptions::default()).unwrap();
        load_head(saved.path(), &mut bank, Some("again")).unwrap();
        assert_eq!(adapted(&model, &bank, "again", &golden), found, "{folder}");
    }
}
