//! A step of training several adapters at once, equal to the reference's: the loss is the sum of the heads' losses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn_adapters_checkpoint::{SaveOptions, save_adapter, save_head};
use burn_adapters_heads::Targets;
use burn_adapters_model::{AdapterBank, Forward, Row, TokenBatch};
use burn_adapters_tests::composed::{self, Case};
use burn_adapters_tests::{Golden, largest_difference, saved_name, sums_difference, values};
use burn_adapters_train::{Gradients, TokenData, TrainConfig, TrainError, Trainer};
use burn_adapters_transformers::AutoModel;

/// 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

/// The cases in which the reference trains adapters; its average, which it divides twice, is another.
fn cases() -> Vec<Case> {
    let trained = |case: &Case| case.train.as_deref() == Some("adapters") && !case.setup.starts_with("Average");
    composed::cases().into_iter().filter(trained).collect()
}

/// Every parameter of the adapters and their heads, under the reference's names.
fn saved(case: &Case, bank: &AdapterBank) -> BTreeMap<String, Vec<f32>> {
    let mut all = BTreeMap::new();
    for name in &case.adapters {
        let dir = tempfile::tempdir().unwrap();
        save_adapter(dir.path(), bank, name, &SaveOptions::default()).unwrap();
        save_head(dir.path(), bank, name, &SaveOptions::default()).unwrap();
        for file in ["adapter.safetensors", "model_head.safetensors"] {
            let tensors = Golden::read(&dir.path().join(file)).0.into_iter();
            all.extend(tensors.map(|(name, (_, values))| (name, values)));
        }
    }
    all
}

fn classes(golden: &Golden) -> Vec<usize> {
    golden.values("labels").iter().map(|label| *label as usize).collect()
}

#[test]
fn a_step_of_sgd_is_the_references_in_every_parameter() {
    let cases = cases();
    assert!(cases.iter().filter(|case| case.setup.starts_with("Parallel")).count() >= 6);
    let device = Device::default();
    let mut failures = Vec::new();
    for case in &cases {
        let golden = case.golden();
        let (model, mut bank) = case.load(&device);
        let setup = case.setup().training();
        bank.train_only(&setup).unwrap();
        let output = model.forward(&golden.batch(), &bank.hooks(&setup).unwrap()).unwrap();
        let heads = bank.logits(&setup, &output).unwrap();
        let labels = classes(&golden);
        let loss = heads.into_iter().map(|head| {
            let labels = Targets::Classes(head.rows.iter().map(|row| labels[*row]).collect());
            bank.head(&head.head).unwrap().loss(&head.logits, &labels).unwrap()
        });
        let loss: Tensor<1> = loss.reduce(|sum, loss| sum + loss).unwrap();
        let mut compare = |what: &str, difference: f32| {
            if difference.is_nan() || difference > TOLERANCE {
                failures.push(format!("{}: {what} differs by {difference:e}", case.folder));
            }
        };
        compare("the loss", largest_difference(&values(loss.clone()), golden.values("loss")));
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        let bank = SgdConfig::new().init().step(case.learning_rate, bank, gradients);
        let found = saved(case, &bank);
        for (name, expected) in golden.after() {
            let found = found.get(&saved_name(name));
            let found = found.unwrap_or_else(|| panic!("{}: no parameter `{name}`", case.folder));
            compare(name, sums_difference(name, found, expected));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The loss of a pass over rows, and the norm of its gradients.
fn step_by_hand(model: &AutoModel, mut bank: AdapterBank, case: &Case, rows: &[Row], labels: &[usize]) -> (f64, f64) {
    let setup = case.setup().training().without_base_dropout();
    bank.train_only(&setup).unwrap();
    let output = model.forward(&TokenBatch::from_rows(rows), &bank.hooks(&setup).unwrap()).unwrap();
    let heads = bank.logits(&setup, &output).unwrap();
    let loss = heads.into_iter().map(|head| {
        let labels = Targets::Classes(head.rows.iter().map(|row| labels[*row]).collect());
        bank.head(&head.head).unwrap().loss(&head.logits, &labels).unwrap()
    });
    let loss: Tensor<1> = loss.reduce(|sum, loss| sum + loss).unwrap();
    let value = f64::from(values(loss.clone())[0]);
    (value, Gradients::collect(loss.backward(), &bank).norm())
}

/// The pass by hand is the reference's: see the test above, whose rows have padding on both sides. A trainer's have none.
#[test]
fn the_trainer_computes_the_loss_and_gradients_of_a_pass_by_hand() {
    let device = Device::default();
    for case in cases() {
        let golden = case.golden();
        let (model, bank) = case.load(&device);
        let (labels, rows) = (classes(&golden), golden.rows());
        let data = TokenData::new("golden", rows.clone(), Some(Targets::Classes(labels.clone()))).unwrap();
        let trainer = Trainer::new(TrainConfig::new().with_epochs(1).with_batch_size(4).with_base_dropout(false));
        let trained = trainer.train(&model, bank.clone(), &case.setup(), &data, None, &mut ());
        if case.setup.starts_with("BatchSplit") {
            // The rows of each adapter would change with every batch.
            assert!(matches!(trained.unwrap_err(), TrainError::HeadsOfRows));
            continue;
        }
        let (loss, norm) = step_by_hand(&model, bank, &case, &rows, &labels);
        let step = &trained.unwrap().history.steps[0];
        assert!((step.loss - loss).abs() < 1e-5, "{}: {} is not {loss}", case.folder, step.loss);
        let found = step.gradient_norm;
        assert!((found - norm).abs() < 1e-4 * norm + 1e-5, "{}: a norm of {found}, not {norm}", case.folder);
    }
}
