//! Pairs of an encoder and a decoder: equal to `EncoderDecoderModel` of Transformers, alone and with adapters of the
//! reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_adapters_checkpoint::{SaveOptions, load_adapter, save_adapter};
use burn_adapters_generate::{GenerationOptions, generate};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, MergedModel, Setup, TokenBatch};
use burn_adapters_tests::pairs::{cases, load, logits, pairs};
use burn_adapters_tests::{
    Golden, adapter_copy, goldens, largest_difference, read_json, row_sums, sums_difference, train_and_read_back,
    values,
};
use burn_adapters_transformers::{AutoModel, LoadError, ModelSaveError};
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

fn loss(logits: Tensor<2>, labels: &[f32]) -> Tensor<1> {
    let labels: Vec<i32> = labels.iter().map(|label| *label as i32).collect();
    let device = logits.device().without_autodiff();
    let labels: Tensor<2, Int> = Tensor::from_data(TensorData::new(labels.clone(), [labels.len(), 1]), &device);
    log_softmax(logits, 1).gather(1, labels).mean().neg()
}

#[test]
fn a_pair_computes_what_transformers_computes() {
    for pair in pairs() {
        let (model, golden) = load(&pair);
        let found = values(logits(&model, &Hooks::none(), &golden.batch()));
        let difference = largest_difference(&found, golden.values("logits"));
        assert!(difference <= TOLERANCE, "{}: {difference:e}", pair.display());
    }
}

#[test]
fn a_pair_generates_what_transformers_generates() {
    #[derive(Deserialize)]
    struct Generated {
        prompts: Vec<Vec<u32>>,
        greedy: Vec<Vec<u32>>,
    }
    for pair in pairs() {
        let (model, _) = load(&pair);
        let golden: Generated = read_json(&pair.join("generated.json"));
        let options = GenerationOptions::greedy().with_max_new_tokens(8);
        let logits = |states| model.token_logits(states).map_err(Into::into);
        let prompts = TokenBatch::new(golden.prompts.iter().map(Vec::as_slice));
        let found = generate(&model, &Hooks::none(), &prompts, &logits, &options).unwrap();
        let found: Vec<_> = found.into_iter().map(|text| text.ids).collect();
        assert_eq!(found, golden.greedy, "{}", pair.display());
    }
}

#[test]
fn adapters_of_a_pair_equal_the_references() {
    let (mut failures, mut compared) = (Vec::new(), 0);
    for pair in pairs() {
        let (model, golden) = load(&pair);
        for (dir, config) in cases(&pair) {
            let found = check(&model, &golden, &dir, &config);
            failures.extend(found.into_iter().map(|what| format!("{}: {what}", dir.display())));
            compared += 1;
        }
    }
    assert_eq!(compared, 160);
    assert!(failures.is_empty(), "{} failures in {compared} cases:\n{}", failures.len(), failures.join("\n"));
}

/// Runs one case; gives what differs.
fn check(model: &AutoModel, base: &Golden, dir: &Path, config: &str) -> Vec<String> {
    let golden = Golden::read(&dir.join("golden.safetensors"));
    let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
    if let Err(error) = load_adapter(adapter_copy(dir, config).path(), &mut bank, None) {
        return vec![error.to_string()];
    }
    let mut failures = Vec::new();
    let mut compare = |what: &str, difference: f32| {
        if difference.is_nan() || difference > TOLERANCE {
            failures.push(format!("{what} differs by {difference:e}"));
        }
    };
    let setup = Setup::adapter("task").training();
    bank.train_only(&setup).unwrap();
    let found = logits(model, &bank.hooks(&setup).unwrap(), &base.batch());
    let vocabulary = found.dims()[1];
    let sums = row_sums("logits", &values(found.clone()), vocabulary);
    compare("the logits", largest_difference(&sums, golden.values("logits.sums")));
    let loss = loss(found, base.values("labels"));
    compare("the loss", largest_difference(&values(loss.clone()), golden.values("loss")));

    // What is written has the reference's names and shapes.
    let folder = tempfile::tempdir().unwrap();
    save_adapter(folder.path(), &bank, "task", &SaveOptions::default()).unwrap();
    let shapes = |file: &Path| -> BTreeMap<String, Vec<usize>> {
        Golden::read(file).0.into_iter().map(|(name, (shape, _))| (name, shape)).collect()
    };
    let written = shapes(&folder.path().join("adapter.safetensors"));
    if dir.join("adapter.safetensors").exists() {
        assert_eq!(written, shapes(&dir.join("adapter.safetensors")), "{}", dir.display());
    }
    let config = |dir: &Path| -> serde_json::Value { read_json(&dir.join("adapter_config.json")) };
    for key in ["model_class", "model_type", "hidden_size"] {
        assert_eq!(config(folder.path())[key], config(dir)[key], "{key} of {}", dir.display());
    }

    let gradients = GradientsParams::from_grads(loss.backward(), &bank);
    let bank = SgdConfig::new().init().step(0.1, bank, gradients);
    save_adapter(folder.path(), &bank, "task", &SaveOptions::default()).unwrap();
    let saved = Golden::read(&folder.path().join("adapter.safetensors"));
    for (name, expected) in golden.after() {
        match saved.0.get(name).or_else(|| saved.0.get(&pool_name(name))) {
            Some((_, values)) => compare(name, sums_difference(name, values, expected)),
            None => compare(&format!("{name} is not saved: it"), f32::NAN),
        }
    }
    failures
}

/// The name of a prefix in the pool of its model, which the reference registers again in every layer.
fn pool_name(name: &str) -> String {
    let model =
        if name.starts_with("encoder.") { "encoder" } else { &name[..name.match_indices('.').nth(1).unwrap().0] };
    name.split_once(".prefix_tuning.pool.").map_or(name.to_owned(), |(_, rest)| format!("{model}.prefix_tuning.{rest}"))
}

#[test]
fn what_the_reference_refuses_of_a_pair_is_trained() {
    #[derive(Deserialize)]
    struct Refused {
        config: String,
    }
    let mut trained = 0;
    for pair in pairs() {
        let (model, golden) = load(&pair);
        let refused: BTreeMap<String, Refused> = read_json(&pair.join("refused.json"));
        // The decoder reads the rows, too.
        let most = model.limits().vocabulary.min(model.decoder_limits().vocabulary) as u32 - 1;
        let mut rows = golden.rows();
        rows.iter_mut().flat_map(|row| &mut row.ids).for_each(|id| *id = most.min(*id));
        let batch = TokenBatch::from_rows(rows.iter().chain(&rows[..1]));
        for (name, Refused { config }) in refused {
            train_and_read_back(&model, &batch, &config, 3, 0.05)
                .unwrap_or_else(|error| panic!("{}, {name}: {error}", pair.display()));
            trained += 1;
        }
    }
    assert_eq!(trained, 32);
}

/// The first adapter acts in the last layer of the decoder alone, the second in the last layer of the encoder, too.
#[test]
fn branches_of_a_pair_are_run_alone() {
    let pair = &pairs()[2];
    let (model, golden) = load(pair);
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add_seeded("a", "lora[r=2,init_weights='bert',leave_out=[0,1]]".parse().unwrap(), 1).unwrap();
    bank.add_seeded("b", "ia3[init_weights='bert',leave_out=[0]]".parse().unwrap(), 2).unwrap();
    let run = |setup: Setup| {
        let output = model.forward(&golden.batch(), &bank.hooks(&setup).unwrap()).unwrap();
        values(output.hidden)
    };
    let both = run(Setup::compose("Parallel(a, b)".parse().unwrap()));
    let alone = [run(Setup::adapter("a")), run(Setup::adapter("b"))].concat();
    assert!(largest_difference(&both, &alone) < 1e-5);
}

/// A copy of a tied pair whose files hold the weights of the encoder beside those of the decoder, some of them changed.
fn with_both(pair: &Path, changed: f32) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(pair.join("model/config.json"), copy.path().join("config.json")).unwrap();
    let mut tensors = Golden::read(&pair.join("model/model.safetensors")).0;
    let of_decoder: Vec<_> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("decoder.bert.")?.to_owned(), tensor.clone())))
        .filter(|(path, _)| !path.contains("crossattention"))
        .collect();
    for (path, (shape, mut values)) in of_decoder {
        values[0] += changed;
        tensors.insert(format!("encoder.{path}"), (shape, values));
    }
    let bytes: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, values))| (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect::<Vec<(_, _, Vec<u8>)>>();
    let views =
        bytes.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, (*shape).clone(), data).unwrap()));
    std::fs::write(copy.path().join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    copy
}

#[test]
fn files_of_a_tied_pair_hold_its_weights_once_or_twice_but_not_two_of_them() {
    let pair = goldens().join("pairs/tied");
    let (model, golden) = load(&pair);
    let expected = values(logits(&model, &Hooks::none(), &golden.batch()));
    let (twice, _) = AutoModel::from_dir(with_both(&pair, 0.0).path(), &Device::default()).unwrap();
    assert_eq!(values(logits(&twice, &Hooks::none(), &golden.batch())), expected);
    let error = AutoModel::from_dir(with_both(&pair, 0.5).path(), &Device::default()).unwrap_err();
    assert!(matches!(error, LoadError::NotTied { .. }), "{error}");
}

#[test]
fn a_tied_pair_is_saved_as_it_was_read_and_not_with_weights_that_differ() {
    let pair = goldens().join("pairs/tied").join("model");
    let (model, _) = AutoModel::from_dir(&pair, &Device::default()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let file = copy.path().join("model.safetensors");
    assert_eq!(model.save(&pair, &file).unwrap().changed, 0);
    assert_eq!(Golden::read(&file).0, Golden::read(&pair.join("model.safetensors")).0);

    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add_seeded("a", "lora[r=2,init_weights='bert']".parse().unwrap(), 1).unwrap();
    let merged = MergedModel::merge(model, bank.adapter("a").unwrap()).unwrap();
    let error = merged.save(&pair, &file).unwrap_err();
    assert!(matches!(error, ModelSaveError::NotTied { .. }), "{error}");
}
