//! Language-model heads, equal to the reference: logits with an adapter, also behind the inverse of an invertible adapter,
//! the loss, every trained parameter after one step of SGD, and what is saved.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use burn_adapters_checkpoint::{HeadFolder, SaveOptions, load_head, save_adapter, save_head};
use burn_adapters_composition::{Composition, Route};
use burn_adapters_core::Init;
use burn_adapters_heads::{Head, HeadConfig, HeadError, Logits};
use burn_adapters_model::{AdapterBank, BankError, BaseModel, Forward, HeadOutput, Setup, TokenBatch};
use burn_adapters_tests::{Case, Golden, cases_in, largest_difference, sums_difference, values};
use burn_adapters_train::{Row, TokenData, TrainConfig, Trainer, evaluate, run_batch};
use burn_adapters_transformers::AutoModel;

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

fn cases() -> Vec<Case> {
    let cases = cases_in("outputs/cases", |_| true);
    assert!(cases.len() > 5);
    cases
}

/// The reference's logits of tokens: it has some for padding and the prompt, too.
fn expected(case: &Case, golden: &Golden) -> Vec<f32> {
    let (shape, values) = &golden.0["logits"];
    let prompt = case.config_json.get("prompt_length").map_or(0, |length| length.as_u64().unwrap() as usize);
    let rows = values.chunks(shape[1] * shape[2]).zip(golden.label_lengths());
    rows.flat_map(|(row, length)| row[prompt * shape[2]..(prompt + length) * shape[2]].to_vec()).collect()
}

fn logits(model: &AutoModel, bank: &AdapterBank, setup: &Setup, batch: &TokenBatch) -> Logits {
    let output = model.forward_reading(batch, &bank.hooks(setup).unwrap(), bank.reads(setup)).unwrap();
    bank.logits(setup, &output).unwrap().remove(0).logits
}

#[test]
fn language_model_heads_equal_the_reference() {
    for case in cases() {
        let golden = case.golden();
        let (model, mut bank) = case.load(&Device::default());
        let near = |what: &str, found: &[f32], expected: &[f32]| {
            let difference = largest_difference(found, expected);
            assert!(difference <= TOLERANCE, "{}: {what} differs by {difference:e}", case.folder);
        };
        let found = logits(&model, &bank, &case.setup(), &golden.batch());
        near("the logits", &values(found.into_values()), &expected(&case, &golden));

        let setup = case.setup().training();
        bank.train_only(&setup).unwrap();
        let found = logits(&model, &bank, &setup, &golden.batch());
        let head = bank.head_of(&setup).unwrap();
        let loss = head.loss(&found, &golden.labels(head)).unwrap();
        near("the loss", &values(loss.clone()), golden.values("loss"));
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        let bank = SgdConfig::new().init().step(case.learning_rate, bank, gradients);

        let dir = tempfile::tempdir().unwrap();
        let options = SaveOptions::default();
        save_adapter(dir.path(), &bank, &case.name, &options).unwrap();
        save_head(dir.path(), &bank, &case.name, &options).unwrap();
        let mut saved = Golden::read(&dir.path().join("adapter.safetensors"));
        let head = Golden::read(&dir.path().join("model_head.safetensors"));
        let names: Vec<_> = Golden::read(&case.dir().join("model_head.safetensors")).0.into_keys().collect();
        assert!(head.0.keys().eq(names.iter()), "{}", case.folder);
        saved.0.extend(head.0);
        let mut trained = 0;
        for (name, expected) in golden.after() {
            let difference = sums_difference(name, saved.values(name), expected);
            assert!(difference <= TOLERANCE, "{name} differs by {difference:e}");
            trained += 1;
        }
        assert!(trained > 1, "{}", case.folder);
        let found = HeadFolder::read(dir.path()).unwrap();
        assert_eq!(found.config, HeadFolder::read(case.dir()).unwrap().config, "{}", case.folder);
    }
}

#[test]
fn a_matrix_that_is_the_models_is_shared_and_never_trained() {
    for case in cases() {
        let (model, mut bank) = case.load(&Device::default());
        let golden = case.golden();
        let setup = case.setup();
        let is_tied = model.spec().output_layer.is_tied;
        assert_eq!(bank.head(&case.name).unwrap().is_tied(), is_tied, "{}", case.folder);
        let before = values(logits(&model, &bank, &setup, &golden.batch()).into_values());
        bank.tie_heads(&model).unwrap();
        let after = values(logits(&model, &bank, &setup, &golden.batch()).into_values());
        assert!(largest_difference(&after, &before) < 1e-5, "{}", case.folder);
        bank.train_only(&setup.training()).unwrap();
        let trains = bank.head(&case.name).unwrap().output.weight.val().is_require_grad();
        assert_eq!(trains, !is_tied, "{}", case.folder);
    }
}

#[test]
fn a_new_head_of_a_tied_model_asks_for_the_matrix() {
    let case = cases().into_iter().find(|case| case.folder == "causal_inverse").unwrap();
    let (model, mut bank) = case.load(&Device::default());
    let config = HeadConfig::causal_lm(model.limits().vocabulary);
    bank.add_head_seeded("new", &config, 1).unwrap();
    let setup = Setup::base().with_head("new");
    let output = model.forward(&case.golden().batch(), &bank.hooks(&setup).unwrap()).unwrap();
    let error = bank.logits(&setup, &output).unwrap_err();
    assert!(matches!(&error, BankError::Head { source: HeadError::NotTied, .. }), "{error}");
    bank.tie_heads(&model).unwrap();
    let found = bank.logits(&setup, &output).unwrap().remove(0).logits.into_values();
    // One layer with the word embeddings is the model's own head.
    let batch = case.golden().batch();
    let rows = output.tokens.iter().enumerate();
    let own: Vec<f32> = rows
        .flat_map(|(row, span)| {
            let states = output.hidden.clone().narrow(0, row, 1).squeeze_dim::<2>(0).narrow(0, 0, span.length);
            values(model.token_logits(states).unwrap())
        })
        .collect();
    assert_eq!(own.len() % batch.len(), 0);
    assert!(largest_difference(&values(found), &own) < 1e-5);
}

#[test]
fn each_row_passes_the_inverse_of_its_own_adapter() {
    let case = cases().into_iter().find(|case| case.folder == "masked_inverse").unwrap();
    let (model, mut bank) = case.load(&Device::default());
    bank.add_seeded("other", "seq_bn_inv[reduction_factor=2]".parse().unwrap(), 3).unwrap();
    bank.add_seeded("plain", "lora[r=2]".parse().unwrap(), 4).unwrap();
    let batch = case.golden().batch();
    let names = [Some(case.name.as_str()), Some("other"), Some("plain")];
    let routed = Setup::compose(Composition::Route(Route::new(names))).with_head(case.name.as_str());
    let together = logits(&model, &bank, &routed, &batch);
    let all = values(together.values().clone());
    for (row, found) in together.split(&all).into_iter().enumerate() {
        let alone = Setup::adapter(names[row].unwrap()).with_head(case.name.as_str());
        let expected = logits(&model, &bank, &alone, &batch);
        let values = values(expected.values().clone());
        assert!(largest_difference(found, expected.split(&values)[row]) < 2e-5, "row {row}");
    }
    let both = Composition::Parallel(vec![case.name.as_str().into(), "other".into()]);
    let heads = burn_adapters_composition::HeadSetup::Several(vec![case.name.clone(), case.name.clone()]);
    let setup = Setup::compose(both).with_head(heads);
    let output = model.forward(&batch, &bank.hooks(&setup).unwrap()).unwrap();
    for (name, found) in [case.name.as_str(), "other"].into_iter().zip(bank.logits(&setup, &output).unwrap()) {
        let alone = Setup::adapter(name).with_head(case.name.as_str());
        let expected = values(logits(&model, &bank, &alone, &batch).into_values());
        assert!(largest_difference(&values(found.logits.into_values()), &expected) < 2e-5, "{name}");
    }
}

#[test]
fn the_states_of_wanted_tokens_give_their_logits() {
    for case in cases() {
        let (model, bank) = case.load(&Device::default());
        let setup = case.setup();
        let output = model.forward(&case.golden().batch(), &bank.hooks(&setup).unwrap()).unwrap();
        let whole = bank.logits(&setup, &output).unwrap().remove(0).logits;
        let all = values(whole.values().clone());
        let states = |wanted: &mut dyn FnMut(&str, usize) -> Vec<usize>| {
            bank.outputs(&model, &setup, &output, Some(wanted)).map(|mut outputs| outputs.remove(0))
        };
        let HeadOutput::States(part) = states(&mut |_, row| vec![row % 3, 2]).unwrap() else { panic!("no states") };
        let found = values(bank.token_logits(&model, &part.head, part.states, setup.mode()).unwrap());
        let width = bank.head_of(&setup).unwrap().config().num_labels;
        let rows = whole.split(&all).into_iter().enumerate();
        let expected: Vec<f32> = rows
            .flat_map(|(row, logits)| {
                let token = |token: usize| logits[token * width..(token + 1) * width].to_vec();
                [token(row % 3), token(2)].concat()
            })
            .collect();
        assert!(largest_difference(&found, &expected) < 1e-5, "{}", case.folder);
        let missing = states(&mut |_, _| vec![9]).unwrap_err().to_string();
        assert!(missing.contains("more than 9 tokens"), "{missing}");
    }
}

#[test]
fn dictionaries_of_language_model_heads_are_read_and_written() {
    let (mut init, device) = (Init::from_seed(0), Device::default());
    for config in [HeadConfig::masked_lm(9), HeadConfig::causal_lm(9), HeadConfig::seq2seq_lm(9)] {
        assert_eq!(HeadConfig::from_json_value(&config.to_json_value()).unwrap(), config);
        assert!(config.labels().is_empty() && config.label2id.is_none());
        let error = HeadConfig { use_pooler: true, ..config.clone() }.check().unwrap_err().to_string();
        assert!(error.contains("use_pooler"), "{error}");
        let narrow = config.clone().with_layers(1).with_embedding_size(Some(4));
        assert!(Head::new(&narrow, 8, &mut init, &device).is_err());
    }
    for value in [
        serde_json::json!({"head_type": "masked_lm"}),
        serde_json::json!({"head_type": "masked_lm", "vocab_size": 0}),
        serde_json::json!({"head_type": "masked_lm", "vocab_size": 9, "embedding_size": 0}),
        serde_json::json!({"head_type": "seq2seq_lm", "vocab_size": 9, "embedding_size": 4}),
        serde_json::json!({"head_type": "causal_lm", "vocab_size": 9, "num_labels": 9}),
        serde_json::json!({"head_type": "causal_lm", "vocab_size": 9, "shift_labels": 1}),
        serde_json::json!({"head_type": "tagging", "num_labels": 9, "layer_norm": true}),
    ] {
        assert!(HeadConfig::from_json_value(&value).is_err(), "{value}");
    }
    // A head of another model is an error that says so.
    let case = cases().remove(0);
    let mut bank = AdapterBank::new(burn_adapters_core::ModelSpec::new("other", 8), &device);
    assert!(load_head(case.dir(), &mut bank, None).is_err());
}

/// The rows of a case as data whose tokens are predicted, for the models that can.
fn predicting(case: &Case) -> Option<TokenData> {
    let rows = case.golden().batch();
    let rows: Vec<Row> = (0..rows.len()).map(|row| Row::new(rows.row(row).to_vec())).collect();
    let data = TokenData::new("rows", rows.clone(), None).unwrap();
    match case.config_json.get("head_type").and_then(|name| name.as_str()).unwrap_or(&case.folder) {
        name if name.contains("causal") => Some(data.predicting_next().unwrap()),
        name if name.contains("seq2seq") => Some(data.predicting(rows.into_iter().rev().collect()).unwrap()),
        _ => None,
    }
}

#[test]
fn evaluation_has_the_loss_of_all_logits_and_the_right_scores() {
    let mut compared = 0;
    for case in cases() {
        let Some(data) = predicting(&case) else { continue };
        let (model, bank) = case.load(&Device::default());
        let setup = case.setup();
        let all: Vec<usize> = (0..data.len()).collect();
        let found = evaluate(&model, &bank, &setup, &data, 2).unwrap();
        let logits = run_batch(&model, &bank, &setup, &data, &all).unwrap().remove(0).logits;
        let head = bank.head_of(&setup).unwrap();
        let dense = values(head.loss(&logits, data.labels().unwrap()).unwrap())[0];
        assert!((found.loss - f64::from(dense)).abs() < 1e-5, "{}: {} and {dense}", case.folder, found.loss);
        let perplexity = found.metric("perplexity".parse().unwrap()).unwrap();
        assert!((perplexity - found.loss.exp()).abs() < 1e-6 * perplexity, "{}", case.folder);
        let width = head.config().num_labels;
        let best = |logits: &[f32]| (0..width).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        let all = values(logits.values().clone());
        let targets: Vec<usize> = data.labels().unwrap().token_classes().collect();
        let right = all.chunks(width).zip(&targets).filter(|(logits, target)| best(logits) == Some(**target)).count();
        let accuracy = right as f64 / targets.len() as f64;
        assert!((found.accuracy().unwrap() - accuracy).abs() < 1e-9, "{}", case.folder);
        compared += 1;
    }
    assert!(compared > 2);
}

#[test]
fn rows_for_another_kind_of_model_are_an_error() {
    let case = cases().into_iter().find(|case| case.folder.contains("masked")).unwrap();
    let (model, bank) = case.load(&Device::default());
    let data = TokenData::new("rows", vec![Row::new(vec![3, 4, 5])], None).unwrap().predicting_next().unwrap();
    let error = run_batch(&model, &bank, &case.setup(), &data, &[0]).unwrap_err().to_string();
    assert!(error.contains("a decoder"), "{error}");
    assert!(TokenData::new("rows", vec![Row::new(vec![3])], None).unwrap().predicting_next().is_err());
}

#[test]
fn the_models_own_output_layer_is_a_head_without_parameters() {
    let case = cases().into_iter().find(|case| case.folder == "causal_inverse").unwrap();
    let (model, _) = case.load(&Device::default());
    assert!(model.has_token_logits());
    let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
    bank.add_seeded("a", "lora[r=2]".parse().unwrap(), 1).unwrap();
    bank.add_model_head("a", &HeadConfig::causal_lm(model.limits().vocabulary)).unwrap();
    assert_eq!((bank.head("a").unwrap().parameters(), bank.head("a").unwrap().is_of_model()), (0, true));
    let data = predicting(&case).unwrap();
    let own = |bank: &AdapterBank, setup: &Setup| evaluate(&model, bank, setup, &data, 8).unwrap().loss;
    let before = own(&bank, &Setup::adapter("a"));
    let config = TrainConfig::new().with_epochs(20).with_learning_rate(1e-2);
    let trained = Trainer::new(config).train(&model, bank, &Setup::adapter("a"), &data, None, &mut ()).unwrap();
    assert!(own(&trained.bank, &Setup::adapter("a")) < before - 0.1);
    // Nothing of the layer is saved, and the model alone is unchanged.
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(save_head(dir.path(), &trained.bank, "a", &SaveOptions::default()).unwrap().files.len(), 0);
    assert!((own(&trained.bank, &Setup::base().with_head("a")) - before).abs() < 1e-6);
    let output = model.forward(&case.golden().batch(), &trained.bank.hooks(&Setup::base()).unwrap()).unwrap();
    let error = trained.bank.logits(&Setup::base().with_head("a"), &output).unwrap_err();
    assert!(matches!(&error, BankError::Head { source: HeadError::OfModel, .. }), "{error}");
    assert!(bank_of_classes(&model).is_err());
}

/// A classification head cannot be the model's own output layer.
fn bank_of_classes(model: &AutoModel) -> Result<(), BankError> {
    AdapterBank::new(model.spec(), &Device::default()).add_model_head("b", &HeadConfig::classification(2))
}
