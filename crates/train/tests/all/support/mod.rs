//! A small model, small data, and functions that all tests use.

#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use burn::tensor::Device;
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_train::{EvaluationRecord, Observer, Row, TokenData, TrainConfig, TrainError, Trained, Trainer};
use burn_adapters_transformers::{AutoModel, BertConfig};

/// Dropout draws from one generator per process: trainings that are compared bit for bit must not overlap.
pub fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

pub fn device() -> Device {
    Device::default()
}

pub fn bert() -> AutoModel {
    AutoModel::new_seeded(&BertConfig::new(40, 16, 2, 2, 32), 3, &device())
}

pub fn head() -> HeadConfig {
    HeadConfig::classification(2).with_labels(["even", "odd"])
}

/// A bank with an adapter and a head `task`.
pub fn bank(config: &str, head: &HeadConfig, seed: u64) -> AdapterBank {
    let mut bank = AdapterBank::new(bert().spec(), &device().autodiff());
    bank.add_seeded("task", config.parse().unwrap(), seed).unwrap();
    bank.add_head_seeded("task", head, seed + 1).unwrap();
    bank
}

pub fn setup() -> Setup {
    Setup::adapter("task")
}

/// Rows of 2 to 9 tokens; whether the first is even or odd is all there is to learn.
pub fn rows(count: usize, salt: usize) -> Vec<Row> {
    (0..count)
        .map(|index| {
            let index = index + 1000 * salt;
            let length = 2 + (index * 7) % 8;
            Row::new(
                (0..length).map(|position| ((index * 13 + position * 17 + position * index) % 39 + 1) as u32).collect(),
            )
        })
        .collect()
}

pub fn data(count: usize, salt: usize) -> TokenData {
    let rows = rows(count, salt);
    let labels = rows.iter().map(|row| row.ids[0] as usize % 2).collect();
    TokenData::new(format!("data {salt}"), rows, Some(Targets::Classes(labels))).unwrap()
}

pub fn config() -> TrainConfig {
    TrainConfig::new().with_epochs(4).with_batch_size(8).with_learning_rate(1e-2).with_seed(5)
}

pub fn train(config: TrainConfig, bank: AdapterBank, observer: &mut dyn Observer) -> Result<Trained, TrainError> {
    Trainer::new(config).train(&bert(), bank, &setup(), &data(60, 0), Some(&data(30, 1)), observer)
}

/// Every file below a folder, by its path there.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

/// Requests the end after this many evaluations, or after a step.
#[derive(Default)]
pub struct StopAfter {
    pub evaluations: Option<usize>,
    pub step: Option<usize>,
    pub seen: usize,
    pub last_step: usize,
}

impl Observer for StopAfter {
    fn step(&mut self, step: &burn_adapters_train::StepRecord) {
        self.last_step = step.step;
    }

    fn evaluated(&mut self, _record: &EvaluationRecord, _heads: &[burn_adapters_train::HeadEvaluation]) {
        self.seen += 1;
    }

    fn should_stop(&mut self) -> bool {
        self.evaluations.is_some_and(|count| self.seen >= count) || self.step.is_some_and(|step| self.last_step >= step)
    }
}
