//! Support for the workspace's tests: the goldens of the Python reference, and running them.
//!
//! A golden case is a folder: an adapter and a head as the reference saved them, a batch, the logits and the loss of
//! the reference, and two sums over every trained parameter after one step of SGD. `cargo xtask goldens` makes them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod composed;
pub mod matrix;
pub mod pairs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn_adapters_checkpoint::{SaveOptions, load_adapter, load_head, save_adapter, save_head};
use burn_adapters_goldens::mixed;
use burn_adapters_heads::{ChoiceTarget, Head, HeadConfig, Logits, SpanTarget, Targets};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Row, Setup, TokenBatch};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

/// The folder of the goldens.
pub fn goldens() -> PathBuf {
    burn_adapters_goldens::folder().to_owned()
}

/// One golden case.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// The folder's name under `cases` or `heads`.
    #[serde(skip)]
    pub folder: String,
    /// `cases`, `heads`, or the folder `cases` of a family.
    #[serde(skip)]
    pub root: String,
    /// The folder's name under `models`.
    pub model: String,
    /// The adapter's name.
    pub name: String,
    /// The method, as the goldens are grouped.
    pub method: String,
    /// The configuration, as a string.
    pub config: String,
    /// The configuration, as the reference's dictionary.
    pub config_json: serde_json::Value,
    /// The number of labels of the head.
    pub num_labels: usize,
    /// The learning rate of the step of SGD.
    pub learning_rate: f64,
    /// Parameters of adapter and head that the reference does not train, under its names.
    pub frozen: Vec<String>,
    /// The implementation of attention that the reference ran with, where it fails with `eager`.
    pub attention: Option<String>,
}

impl Case {
    /// The case's folder.
    pub fn dir(&self) -> PathBuf {
        goldens().join(&self.root).join(&self.folder)
    }

    /// The folder of the base model.
    pub fn model_dir(&self) -> PathBuf {
        let cases = goldens().join(&self.root);
        cases.parent().unwrap().join("models").join(&self.model)
    }

    /// The batch and the reference's results.
    pub fn golden(&self) -> Golden {
        Golden::read(&self.dir().join("golden.safetensors"))
    }

    /// The base model, and a bank with the case's adapter and head.
    pub fn load(&self, device: &Device) -> (AutoModel, AdapterBank) {
        let (model, _) = AutoModel::from_dir(&self.model_dir(), device).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &device.clone().autodiff());
        let dir = adapter_copy(&self.dir(), &self.config);
        load_adapter(dir.path(), &mut bank, None).unwrap_or_else(|error| panic!("{}: {error}", self.folder));
        load_head(self.dir(), &mut bank, None).unwrap_or_else(|error| panic!("{}: {error}", self.folder));
        (model, bank)
    }

    /// The setup that runs the case's adapter.
    pub fn setup(&self) -> Setup {
        Setup::adapter(&self.name)
    }
}

/// Every case of the methods that the predicate accepts.
pub fn cases(take: impl Fn(&str) -> bool) -> Vec<Case> {
    cases_in("cases", take)
}

/// [`cases`] in one of the folders of goldens.
pub fn cases_in(root: &str, take: impl Fn(&str) -> bool) -> Vec<Case> {
    #[derive(Deserialize)]
    struct Entry {
        folder: String,
        method: String,
    }
    let folder = goldens().join(root);
    let index: Vec<Entry> = read_json(&folder.join("index.json"));
    index
        .into_iter()
        .filter(|entry| take(&entry.method))
        .map(|entry| {
            let mut case: Case = read_json(&folder.join(&entry.folder).join("case.json"));
            case.folder = entry.folder;
            case.root = root.to_owned();
            case
        })
        .collect()
}

/// The folders of the model families beside BERT, in order.
pub fn families() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(goldens().join("families")).unwrap();
    let mut families: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    families.sort();
    families
}

/// Every case of the model families beside BERT.
pub fn family_cases() -> Vec<Case> {
    let name = |family: &PathBuf| family.file_name().unwrap().to_str().unwrap().to_owned();
    families().iter().flat_map(|family| cases_in(&format!("families/{}/cases", name(family)), |_| true)).collect()
}

/// A copy of an adapter as the reference saved it. The reference does not save that DiReFT does not subtract the projection
/// (and reads it back as NoReFT); this copy does.
pub fn adapter_copy(dir: &Path, config: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    if config.starts_with("direft") {
        let path = copy.path().join("adapter_config.json");
        let mut config: serde_json::Value = read_json(&path);
        config["config"]["subtract_projection"] = false.into();
        std::fs::write(path, config.to_string()).unwrap();
    }
    copy
}

/// Reads a JSON file.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Tensors of a file, by name, as shapes and values; integers become floats.
#[derive(Debug, Default)]
pub struct Golden(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Golden {
    /// Reads a safetensors file.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let read = |name: &str| {
            let view = tensors.tensor(name).unwrap();
            let values = match view.dtype() {
                safetensors::Dtype::F32 => {
                    view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
                }
                safetensors::Dtype::I64 => {
                    view.data().chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f32).collect()
                }
                other => panic!("{name}: {other:?}"),
            };
            (view.shape().to_vec(), values)
        };
        Self(tensors.names().into_iter().map(|name| (name.to_owned(), read(name))).collect())
    }

    /// The values of a tensor.
    pub fn values(&self, name: &str) -> &[f32] {
        &self.0.get(name).unwrap_or_else(|| panic!("no tensor `{name}`")).1
    }

    /// The parameters after a step of training: their names, and two sums over their values ([`sums`]).
    pub fn after(&self) -> impl Iterator<Item = (&str, [f64; 2])> {
        self.0.iter().filter_map(|(name, (_, sums))| {
            Some((name.strip_prefix("after.")?, [f64::from(sums[0]), f64::from(sums[1])]))
        })
    }

    /// The batch: ids, and token types if the model has them, each row where its mask has it.
    pub fn batch(&self) -> TokenBatch {
        let starts = self.masked().map(|(_, mask)| mask.iter().take_while(|value| **value == 0.0).count());
        let batch = TokenBatch::from_rows(&self.rows()).with_starts(starts);
        let Some((shape, ids)) = self.0.get("decoder_input_ids") else { return batch };
        let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        batch.with_decoder(TokenBatch::new(ids.chunks(shape[1])))
    }

    /// The rows of the batch, without padding.
    pub fn rows(&self) -> Vec<Row> {
        let row = |(index, mask): (usize, &[f32])| {
            let part = |name: &str| {
                let values = self.0[name].1[index * mask.len()..].iter().zip(mask);
                values.filter(|(_, mask)| **mask == 1.0).map(|(value, _)| *value as u32).collect::<Vec<_>>()
            };
            let ids = part("input_ids");
            let typed = self.0.contains_key("token_type_ids");
            Row { token_type_ids: if typed { part("token_type_ids") } else { vec![0; ids.len()] }, ids }
        };
        self.masked().map(row).collect()
    }

    /// The number of tokens of each row that have logits: of the decoder, if there is one.
    pub fn label_lengths(&self) -> Vec<usize> {
        match self.0.get("decoder_input_ids") {
            Some((shape, _)) => vec![shape[1]; shape[0]],
            None => self.rows().iter().map(|row| row.ids.len()).collect(),
        }
    }

    fn masked(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let (shape, mask) = &self.0["attention_mask"];
        mask.chunks(shape[1]).enumerate()
    }

    /// The labels, as targets of the head's task.
    pub fn labels(&self, head: &Head) -> Targets {
        let (shape, values) = &self.0["labels"];
        match head.config().task().name() {
            "classification" => Targets::Classes(values.iter().map(|value| *value as usize).collect()),
            "multilabel" => Targets::Sets(values.chunks(shape[1]).map(<[f32]>::to_vec).collect()),
            "regression" => Targets::Values(values.clone()),
            "masked-lm" | "causal-lm" | "seq2seq-lm" => {
                // Padding has no logits here, and labels are those of the positions.
                let label = |value: &f32| (*value >= 0.0).then_some(*value as usize);
                let rows = values.chunks(shape[1]).zip(self.label_lengths());
                let aligned = |(row, length): (&[f32], usize)| {
                    let labels = head.config().align(row.iter().map(label).collect());
                    labels.into_iter().take(length).collect()
                };
                Targets::Tokens(rows.map(aligned).collect())
            }
            "tagging" => {
                // The reference's -100 is a token without a target.
                let class = |value: &f32| (*value >= 0.0).then_some(*value as usize);
                Targets::Tokens(values.chunks(shape[1]).map(|row| row.iter().map(class).collect()).collect())
            }
            "question-answering" => {
                let span = |ends: &[f32]| {
                    let [start, end] = [ends[0], ends[1]].map(|token| Some(token as usize));
                    SpanTarget { start, end, ..SpanTarget::default() }
                };
                Targets::Spans(values.chunks(2).map(span).collect())
            }
            "multiple-choice" => {
                let choices = head.config().num_labels;
                let rows = values.iter().enumerate().flat_map(|(question, right)| {
                    (0..choices).map(move |choice| ChoiceTarget { question, right: choice == *right as usize })
                });
                Targets::Choices(rows.collect())
            }
            other => panic!("no labels for {other}"),
        }
    }
}

/// The logits of a batch.
pub fn logits(model: &AutoModel, bank: &AdapterBank, setup: &Setup, hooks: &Hooks, batch: &TokenBatch) -> Logits {
    let output = model.forward(batch, hooks).unwrap();
    bank.head_of(setup).unwrap().forward(&output, setup.mode()).unwrap()
}

/// The values of a tensor, in order.
pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().unwrap()
}

/// The largest difference between two lists of equal length; infinite for NaN.
pub fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "different numbers of values");
    let difference = |(a, b): (&f32, &f32)| if (a - b).is_nan() { f32::INFINITY } else { (a - b).abs() };
    found.iter().zip(expected).map(difference).fold(0.0, f32::max)
}

/// Two sums over a parameter, with random signs.
pub fn sums(name: &str, values: &[f32]) -> [f64; 2] {
    [101, 102].map(|salt| {
        let signs = mixed(name, salt).map(|value| if value >> 63 == 1 { -1.0 } else { 1.0 });
        values.iter().zip(signs).map(|(value, sign)| f64::from(*value) * sign).sum()
    })
}

/// [`sums`] of each row of a matrix with rows of this width, as `common.row_sums` of the scripts.
pub fn row_sums(name: &str, values: &[f32], width: usize) -> Vec<f32> {
    values.chunks(width).flat_map(|row| sums(name, row)).map(|sum| sum as f32).collect()
}

/// The largest difference between two sums over the values of a parameter and those of a golden.
pub fn sums_difference(name: &str, values: &[f32], expected: [f64; 2]) -> f32 {
    let difference = |(found, expected): (f64, f64)| (found - expected).abs() as f32;
    let differences = sums(name, values).into_iter().zip(expected).map(difference);
    differences
        .fold(0.0, |largest, difference| if difference > largest || difference.is_nan() { difference } else { largest })
}

/// Saves an adapter and its head into a folder, and reads every parameter, under the reference's names.
pub fn saved(dir: &Path, bank: &AdapterBank, name: &str) -> Golden {
    save_adapter(dir, bank, name, &SaveOptions::default()).unwrap();
    save_head(dir, bank, name, &SaveOptions::default()).unwrap();
    let mut all = Golden::read(&dir.join("adapter.safetensors"));
    all.0.extend(Golden::read(&dir.join("model_head.safetensors")).0);
    all
}

/// The name under which a parameter is saved here. The reference registers prefixes once for the model and again in every
/// layer; we write the first of these names.
pub fn saved_name(name: &str) -> String {
    match (name.split_once(".prefix_tuning.pool."), name.split_once('.')) {
        (Some((_, rest)), Some((model, _))) => format!("{model}.prefix_tuning.{rest}"),
        _ => name.to_owned(),
    }
}

/// Trains a new adapter on four rows for some steps of SGD, and reads it back from its files.
///
/// # Errors
/// If the adapter is refused, the loss does not fall, or the adapter comes back changed.
pub fn train_and_read_back(
    model: &AutoModel,
    batch: &TokenBatch,
    config: &str,
    steps: usize,
    learning_rate: f64,
) -> Result<(), String> {
    let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
    bank.add_for(model, "task", config.parse().unwrap(), 1).map_err(|error| error.to_string())?;
    let head = HeadConfig::classification(3).with_layers(1).with_dropout_prob(Some(0.0));
    bank.add_head_seeded("task", &head, 1).unwrap();
    let setup = Setup::adapter("task");
    let run =
        |bank: &AdapterBank| values(logits(model, bank, &setup, &bank.hooks(&setup).unwrap(), batch).into_values());
    let training = setup.clone().training();
    bank.train_only(&training).unwrap();
    let mut losses = Vec::new();
    let mut sgd = SgdConfig::new().init();
    for _ in 0..steps {
        let found = logits(model, &bank, &training, &bank.hooks(&training).unwrap(), batch);
        let loss = bank.head("task").unwrap().loss(&found, &Targets::Classes(vec![0, 1, 2, 0])).unwrap();
        losses.push(values(loss.clone())[0]);
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        bank = sgd.step(learning_rate, bank, gradients);
    }
    if losses.iter().any(|loss| !loss.is_finite()) || losses.last() >= losses.first() {
        return Err(format!("training does not lower the loss: {losses:?}"));
    }
    let dir = tempfile::tempdir().unwrap();
    saved(dir.path(), &bank, "task");
    let mut loaded = AdapterBank::new(model.spec(), bank.device());
    load_adapter(dir.path(), &mut loaded, None).map_err(|error| error.to_string())?;
    load_head(dir.path(), &mut loaded, None).unwrap();
    match largest_difference(&run(&loaded), &run(&bank)) {
        difference if difference <= 1e-6 => Ok(()),
        difference => Err(format!("comes back changed by {difference:e}")),
    }
}
