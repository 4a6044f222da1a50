//! Direct preference optimization: rewards, loss, gradients and a step of SGD, equal to those of PyTorch with PEFT.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{ExportOptions, FolderSave, load_adapter, stage_peft};
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_tests::{Golden, goldens, largest_difference, read_json, values};
use burn_adapters_train::tasks::preference::{REWARD_ACCURACY, REWARD_MARGIN};
use burn_adapters_train::{
    AdamWOptions, Row, Schedule, TokenData, TrainConfig, Trained, Trainer, evaluate, run_batch, score_batch,
};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    beta: f64,
    rate: f64,
    rows: Vec<Answer>,
}

/// The tokens of a prompt with an answer, which begins at a token.
#[derive(Deserialize)]
struct Answer {
    ids: Vec<u32>,
    answer: usize,
}

fn folder(name: &str) -> PathBuf {
    goldens().join("preferences").join(name)
}

fn golden(name: &str) -> Golden {
    Golden::read(&folder(name).join("golden.safetensors"))
}

/// The model, its LoRA, and the pairs.
fn load(name: &str, device: &Device) -> (AutoModel, AdapterBank, TokenData, Case) {
    let model_dir = goldens().join("outputs/language_models").join(name);
    let model = AutoModel::from_dir(&model_dir, &Device::default()).unwrap().0;
    let mut bank = AdapterBank::new(model.spec(), device);
    load_adapter(folder(name), &mut bank, None).unwrap();
    bank.add_model_head(name, &HeadConfig::preference(model.limits().vocabulary)).unwrap();
    let case: Case = read_json(&folder(name).join("case.json"));
    let data = pairs(&case).with_reference(&model, case.beta, 2, &mut |_, _| {}).unwrap();
    (model, bank, data, case)
}

fn pairs(case: &Case) -> TokenData {
    let rows = case.rows.iter().map(|row| Row::new(row.ids.clone())).collect();
    let answers: Vec<_> = case.rows.iter().map(|row| row.answer..row.ids.len()).collect();
    TokenData::new("pairs", rows, None).unwrap().preferring(&answers).unwrap()
}

const NAMES: [&str; 2] = ["llama", "gpt2"];

#[test]
fn rewards_and_losses_are_those_of_pytorch() {
    for name in NAMES {
        let (model, bank, data, case) = load(name, &Device::default());
        let golden = golden(name);
        let all: Vec<usize> = (0..data.len()).collect();
        let scored = score_batch(&model, &bank, &Setup::adapter(name), &data, &all).unwrap().remove(0).values;
        let sums: Vec<f32> = scored.iter().map(|row| row.iter().step_by(2).sum()).collect();
        let difference = largest_difference(&sums, golden.values("policy"));
        assert!(difference < 1e-4, "{name}: {difference:e}");
        let Some(Targets::Preferences(targets)) = data.labels() else { panic!("no pairs") };
        let rewards: Vec<f32> = sums
            .iter()
            .zip(targets)
            .map(|(sum, target)| (case.beta * (f64::from(*sum) - target.reference.unwrap())) as f32)
            .collect();
        let difference = largest_difference(&rewards, golden.values("rewards"));
        assert!(difference < 1e-4, "{name}: {difference:e}");

        let expected = golden.values("rewards").chunks(2).map(|pair| f64::from(pair[0] - pair[1]));
        let margin = expected.clone().sum::<f64>() / 5.0;
        let accuracy = expected.filter(|margin| *margin > 0.0).count() as f64 / 5.0;
        // Whatever pairs are evaluated together.
        for batch_size in [1, 2, 64] {
            let found = evaluate(&model, &bank, &Setup::adapter(name), &data, batch_size).unwrap();
            assert!((found.loss - f64::from(golden.values("loss")[0])).abs() < 1e-5, "{name}: {}", found.loss);
            assert_eq!((found.examples, found.metric(REWARD_ACCURACY)), (5, Some(accuracy)), "{name}");
            assert!((found.metric(REWARD_MARGIN).unwrap() - margin).abs() < 1e-4, "{name}");
        }
        // The loss of whole logits, for loops of one's own.
        let logits = run_batch(&model, &bank, &Setup::adapter(name), &data, &all).unwrap().remove(0).logits;
        let whole = values(bank.head(name).unwrap().loss(&logits, data.labels().unwrap()).unwrap())[0];
        assert!((whole - golden.values("loss")[0]).abs() < 1e-5, "{name}: {whole}");
        // Without the adapter, the model is its own reference.
        let base = evaluate(&model, &bank, &Setup::base().with_head(name), &data, 2).unwrap();
        assert!((base.loss - 2f64.ln()).abs() < 1e-5 && base.metric(REWARD_MARGIN).unwrap().abs() < 1e-5, "{name}");
    }
}

/// Trains for one step that is one of SGD: where ε is far above every gradient, AdamW divides by it alone.
fn step(name: &str, batch_size: usize, accumulation: usize) -> Trained {
    const EPSILON: f64 = 1e5;
    let (model, bank, data, case) = load(name, &Device::default().autodiff());
    let config = TrainConfig::new()
        .with_epochs(1)
        .with_batch_size(batch_size)
        .with_accumulation(accumulation)
        .with_schedule(Schedule::Constant)
        .with_learning_rate(case.rate * EPSILON)
        .with_adamw(AdamWOptions { epsilon: EPSILON, ..AdamWOptions::default() })
        .with_max_gradient_norm(None)
        .with_base_dropout(false);
    Trainer::new(config).train(&model, bank, &Setup::adapter(name), &data, None, &mut ()).unwrap()
}

/// The tensors of a folder of PEFT, without the prefixes that depend on the class of the model.
fn tensors(file: Golden, prefix: &str) -> BTreeMap<String, Vec<f32>> {
    let own = file.0.into_iter().filter_map(|(name, (_, values))| {
        let path = name.strip_prefix(prefix)?.trim_start_matches("base_model.model.").trim_start_matches("model.");
        Some((path.to_owned(), values))
    });
    own.collect()
}

fn exported(bank: &AdapterBank, name: &str, dir: &Path) -> BTreeMap<String, Vec<f32>> {
    let mut save = FolderSave::new(dir).unwrap();
    stage_peft(&mut save, bank, name, &ExportOptions { base_model: "org/base".into(), head: None }).unwrap();
    save.commit().unwrap();
    tensors(Golden::read(&dir.join("adapter_model.safetensors")), "")
}

#[test]
fn a_step_of_sgd_is_that_of_pytorch_in_one_batch_or_several() {
    let golden = golden("llama");
    let expected_norm = f64::from(golden.values("gradient_norm")[0]);
    let expected_loss = f64::from(golden.values("loss")[0]);
    let expected = tensors(golden, "after/");
    for (batch_size, accumulation) in [(8, 1), (1, 5), (2, 3)] {
        let trained = step("llama", batch_size, accumulation);
        let [record] = trained.history.steps.as_slice() else { panic!("{} steps", trained.history.steps.len()) };
        assert!((record.loss - expected_loss).abs() < 1e-5, "{}", record.loss);
        assert!((record.gradient_norm - expected_norm).abs() < 1e-4, "{}", record.gradient_norm);
        let found = exported(&trained.bank, "llama", &tempfile::tempdir().unwrap().path().join("out"));
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (path, values) in &expected {
            let difference = largest_difference(&found[path], values);
            assert!(difference < 1e-4, "{path} in batches of {batch_size}: {difference:e}");
        }
    }
}

#[test]
fn pairs_that_cannot_be_compared_are_errors() {
    let (model, bank, _, case) = load("llama", &Device::default());
    for beta in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = pairs(&case).with_reference(&model, beta, 2, &mut |_, _| {}).unwrap_err().to_string();
        assert!(error.contains("beta must be a number above 0"), "{error}");
    }
    assert!(pairs(&case).with_reference(&model, 0.1, 0, &mut |_, _| {}).is_err());
    let error = evaluate(&model, &bank, &Setup::adapter("llama"), &pairs(&case), 2).unwrap_err().to_string();
    assert!(error.contains("reference model"), "{error}");

    let rows = || TokenData::new("rows", vec![Row::new(vec![3, 4, 5]), Row::new(vec![3, 6])], None).unwrap();
    let texts = rows().predicting_next().unwrap().with_reference(&model, 0.1, 2, &mut |_, _| {}).unwrap_err();
    assert!(texts.to_string().contains("pairs of a preferred and a rejected answer"), "{texts}");
    // An answer that begins a row, that is empty, that ends behind its row; an answer too few.
    for answers in [vec![0..3, 1..2], vec![1..1, 1..2], vec![1..3, 1..3], std::iter::once(1..3).collect()] {
        assert!(rows().preferring(&answers).is_err(), "{answers:?}");
    }
    // A base model without an output layer, and an encoder.
    let base = AutoModel::from_dir(&goldens().join("outputs/models/llama"), &Device::default()).unwrap().0;
    let error = pairs(&case).with_reference(&base, 0.1, 2, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("no output layer of its own"), "{error}");
    let bert = AutoModel::from_dir(&goldens().join("outputs/language_models/bert"), &Device::default()).unwrap().0;
    let error = pairs(&case).with_reference(&bert, 0.1, 2, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("a decoder such as GPT-2"), "{error}");
}
