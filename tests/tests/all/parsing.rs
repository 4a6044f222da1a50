//! The head for dependency parsing: scores, a step of SGD and files, equal to the reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::Device;
use burn_adapters_checkpoint::{HeadFolder, load_adapter, load_head};
use burn_adapters_heads::{HeadConfig, HeadError, Targets, TreeTarget};
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_tests::{Golden, goldens, largest_difference, logits, read_json, saved, sums_difference, values};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

/// Absolute, on numbers of the order of one: 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

#[derive(Deserialize)]
struct Tree {
    starts: Vec<usize>,
    heads: Vec<usize>,
    relations: Vec<usize>,
}

impl Tree {
    fn target(&self) -> TreeTarget {
        TreeTarget {
            words: self.starts.windows(2).map(|pair| pair[0]..pair[1]).collect(),
            heads: self.heads.iter().copied().map(Some).collect(),
            relations: self.relations.iter().copied().map(Some).collect(),
        }
    }
}

fn folder() -> PathBuf {
    goldens().join("outputs/parsing")
}

fn load() -> (AutoModel, AdapterBank) {
    let (model, _) = AutoModel::from_dir(&goldens().join("outputs/models/bert"), &Device::default()).unwrap();
    let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
    load_adapter(folder(), &mut bank, None).unwrap();
    load_head(folder(), &mut bank, None).unwrap();
    (model, bank)
}

/// The mean over the tokens of two words, of one channel.
fn mean(pairs: &[f32], tokens: usize, width: usize, [one, other]: [&std::ops::Range<usize>; 2], channel: usize) -> f32 {
    let all = one.clone().flat_map(|of| other.clone().map(move |to| pairs[(of * tokens + to) * width + channel]));
    all.sum::<f32>() / (one.len() * other.len()) as f32
}

#[test]
fn a_parsing_head_equals_the_reference() {
    let (model, mut bank) = load();
    // The head has the parameters of its file and no others.
    let file = Golden::read(&folder().join("model_head.safetensors"));
    let expected: usize = file.0.values().map(|(_, values)| values.len()).sum();
    assert_eq!(bank.head("task").unwrap().parameters(), expected);
    let golden = Golden::read(&folder().join("golden.safetensors"));
    let trees: Vec<Tree> = read_json(&folder().join("trees.json"));
    let setup = Setup::adapter("task").training();
    let relations = bank.head("task").unwrap().config().num_labels;
    let width = 1 + relations;
    bank.train_only(&setup).unwrap();
    let found = logits(&model, &bank, &setup, &bank.hooks(&setup).unwrap(), &golden.batch());
    let all = values(found.values().clone());
    for (row, (tree, pairs)) in trees.iter().zip(found.split(&all)).enumerate() {
        let (tree, tokens) = (tree.target(), (pairs.len() / width).isqrt());
        let candidates: Vec<_> = std::iter::once(0..1).chain(tree.words.iter().cloned()).collect();
        let of_pairs = tree.words.iter().flat_map(|word| candidates.iter().map(move |to| [word, to]));
        let arcs: Vec<f32> = of_pairs.clone().map(|words| mean(pairs, tokens, width, words, 0)).collect();
        let labels =
            of_pairs.flat_map(|words| (1..width).map(move |channel| mean(pairs, tokens, width, words, channel)));
        let near = |what: &str, found: &[f32]| {
            let difference = largest_difference(found, golden.values(&format!("{what}.{row}")));
            assert!(difference <= TOLERANCE, "the {what} of row {row} differ by {difference:e}");
        };
        near("arcs", &arcs);
        near("relations", &labels.collect::<Vec<_>>());
    }
    let targets = Targets::Trees(trees.iter().map(Tree::target).collect());
    let loss = bank.head("task").unwrap().loss(&found, &targets).unwrap();
    assert!(largest_difference(&values(loss.clone()), golden.values("loss")) <= TOLERANCE);
    let gradients = GradientsParams::from_grads(loss.backward(), &bank);
    let bank = SgdConfig::new().init().step(0.1, bank, gradients);
    let dir = tempfile::tempdir().unwrap();
    let saved = saved(dir.path(), &bank, "task");
    let mut compared = 0;
    for (name, expected) in golden.after() {
        let difference = sums_difference(name, saved.values(name), expected);
        assert!(difference <= TOLERANCE, "{name} differs by {difference:e}");
        compared += 1;
    }
    assert_eq!((compared, compared), (saved.0.len(), 6));
    assert_eq!(HeadFolder::read(dir.path()).unwrap().config, HeadFolder::read(folder()).unwrap().config);
}

#[test]
fn targets_that_do_not_fit_are_errors() {
    let (model, bank) = load();
    let golden = Golden::read(&folder().join("golden.safetensors"));
    let trees: Vec<Tree> = read_json(&folder().join("trees.json"));
    let setup = Setup::adapter("task");
    let found = logits(&model, &bank, &setup, &bank.hooks(&setup).unwrap(), &golden.batch());
    let loss = |change: &dyn Fn(&mut TreeTarget)| {
        let mut rows: Vec<TreeTarget> = trees.iter().map(Tree::target).collect();
        change(&mut rows[1]);
        bank.head("task").unwrap().loss(&found, &Targets::Trees(rows)).map(|loss| values(loss)[0])
    };
    assert!(loss(&|_| {}).is_ok());
    assert!(matches!(loss(&|tree| tree.heads[0] = Some(9)), Err(HeadError::Shape { .. })));
    assert!(matches!(loss(&|tree| tree.relations[0] = Some(3)), Err(HeadError::LabelOutOfRange { row: 1, .. })));
    assert!(matches!(loss(&|tree| tree.words[0] = 4..40), Err(HeadError::Shape { .. })));
    assert!(matches!(loss(&|tree| tree.heads.truncate(1)), Err(HeadError::Shape { .. })));
    // A row without learned words changes nothing.
    assert!(loss(&|tree| tree.heads.fill(None)).unwrap().is_finite());
    for key in ["layers", "activation_function", "use_pooler"] {
        let mut value = HeadConfig::dependency_parsing(2).to_json_value();
        value[key] = 1.into();
        assert!(HeadConfig::from_json_value(&value).is_err(), "{key}");
    }
}
