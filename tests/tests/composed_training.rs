//! A step of training several adapters at once, equal to the reference's: the loss is the sum of the heads' losses.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn_adapters_checkpoint::{SaveOptions, save_adapter, save_head};
use burn_adapters_heads::Targets;
use burn_adapters_model::{AdapterBank, Hooks};
use burn_adapters_tests::composed::{self, Case};
use burn_adapters_tests::{Golden, largest_difference, values};
use burn_adapters_train::{
    BoxError, Encoded, Row, TextEncoder, TokenBatch, TokenData, TrainConfig, TrainError, Trainer,
};
use burn_adapters_transformers::Bert;

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

/// What the reference's step left of each parameter, once: it names prefixes anew in every layer.
fn after(golden: &Golden) -> BTreeMap<String, &[f32]> {
    let once = |name: &str| match name.split_once(".attention.self.prefix_tuning.pool.") {
        Some((_, rest)) => format!("bert.prefix_tuning.{rest}"),
        None => name.to_owned(),
    };
    let steps = golden.0.iter().filter_map(|(name, (_, values))| Some((name.strip_prefix("after.")?, values)));
    steps.map(|(name, values)| (once(name), values.as_slice())).collect()
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
        let output = model.forward(golden.input(&device), &bank.hooks(&setup).unwrap()).unwrap();
        let heads = bank.logits(&setup, &output.into()).unwrap();
        let labels = classes(&golden);
        let loss = heads.into_iter().map(|head| {
            let labels = Targets::Classes(head.rows.iter().map(|row| labels[*row]).collect());
            bank.head(&head.head).unwrap().loss(&head.logits, &labels).unwrap()
        });
        let loss: Tensor<1> = loss.reduce(|sum, loss| sum + loss).unwrap();
        let mut compare = |what: &str, found: &[f32], expected: &[f32]| {
            let difference = largest_difference(found, expected);
            if difference > TOLERANCE {
                failures.push(format!("{}: {what} differs by {difference:e}", case.folder));
            }
        };
        compare("the loss", &values(loss.clone()), golden.values("loss"));
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        let bank = SgdConfig::new().init().step(case.learning_rate, bank, gradients);
        let found = saved(case, &bank);
        for (name, expected) in after(&golden) {
            let found = found.get(&name).unwrap_or_else(|| panic!("{}: no parameter `{name}`", case.folder));
            compare(&name, found, expected);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The golden's batch, padding within the rows and all: the one token of a row is its number there.
struct OfGolden {
    model: Bert,
    golden: Golden,
}

impl TextEncoder for OfGolden {
    fn encode(&self, batch: &TokenBatch<'_>, hooks: &Hooks<'_>) -> Result<Encoded, BoxError> {
        let reordered = ["input_ids", "attention_mask", "token_type_ids"].map(|name| {
            let (shape, values) = &self.golden.0[name];
            let width = shape[1];
            let rows = batch.rows().iter().flat_map(|row| &values[row.ids[0] as usize * width..][..width]);
            (name.to_owned(), (vec![batch.len(), width], rows.copied().collect()))
        });
        Ok(self.model.forward(Golden(reordered.into()).input(&self.device()), hooks)?.into())
    }

    fn device(&self) -> Device {
        Bert::device(&self.model)
    }
}

#[test]
fn the_trainer_computes_the_references_loss_and_gradients() {
    let device = Device::default();
    for case in cases() {
        let golden = case.golden();
        let (model, bank) = case.load(&device);
        let encoder = OfGolden { model, golden: case.golden() };
        let labels = classes(&golden);
        let rows = (0..labels.len()).map(|row| Row::new(vec![row as u32])).collect();
        let data = TokenData::new("golden", rows, Some(Targets::Classes(labels))).unwrap();
        let before = saved(&case, &bank);
        let trainer = Trainer::new(TrainConfig::new().with_epochs(1).with_batch_size(4).with_base_dropout(false));
        let trained = trainer.train(&encoder, bank, &case.setup(), &data, None, &mut ());
        if case.setup.starts_with("BatchSplit") {
            // Which rows are whose would change with every batch.
            assert!(matches!(trained.unwrap_err(), TrainError::HeadsOfRows));
            continue;
        }
        let step = &trained.unwrap().history.steps[0];
        let loss = f64::from(golden.values("loss")[0]);
        assert!((step.loss - loss).abs() < f64::from(TOLERANCE), "{}: {} is not {loss}", case.folder, step.loss);
        let square = |(name, after): (String, &[f32])| {
            let gradients = before[&name].iter().zip(after).map(|(a, b)| f64::from(a - b) / case.learning_rate);
            gradients.map(|gradient| gradient * gradient).sum::<f64>()
        };
        let norm = after(&golden).into_iter().map(square).sum::<f64>().sqrt();
        let found = step.gradient_norm;
        assert!((found - norm).abs() < 1e-3 * norm + 1e-4, "{}: a norm of {found}, not {norm}", case.folder);
    }
}
