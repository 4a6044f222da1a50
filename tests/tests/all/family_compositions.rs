//! Compositions on a decoder and on encoder-decoders: as the reference runs them, and rows with their own adapters.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use burn::tensor::Device;
use burn_adapters_checkpoint::{load_adapter, load_fusion, load_head};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Reads, Setup, TokenBatch};
use burn_adapters_tests::{Golden, families, largest_difference, read_json, values};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

/// 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

/// A composition that the reference ran.
#[derive(Deserialize)]
struct Case {
    setup: String,
    adapters: Vec<String>,
    fused: bool,
    heads: String,
}

impl Case {
    fn load(&self, family: &Path, model: &AutoModel) -> AdapterBank {
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        for adapter in &self.adapters {
            let dir = family.join("composed/adapters").join(adapter);
            load_adapter(&dir, &mut bank, None).unwrap();
            load_head(&dir, &mut bank, None).unwrap();
        }
        if self.fused {
            load_fusion(family.join("composed/fusion"), &mut bank, None).unwrap();
        }
        bank
    }
}

fn each(mut check: impl FnMut(&Path, &AutoModel, &Golden, usize, &Case)) {
    let mut checked = Vec::new();
    for family in families().into_iter().filter(|family| family.join("composed").is_dir()) {
        let (model, _) = AutoModel::from_dir(&family.join("models/tiny"), &Device::default()).unwrap();
        let golden = Golden::read(&family.join("composed/golden.safetensors"));
        let cases: Vec<Case> = read_json(&family.join("composed/index.json"));
        cases.iter().enumerate().for_each(|(index, case)| check(&family, &model, &golden, index, case));
        checked.push(cases.len());
    }
    assert!(checked.len() == 3 && checked.iter().all(|count| *count >= 12), "{checked:?}");
}

#[test]
fn logits_are_those_of_the_reference() {
    let mut failures = Vec::new();
    each(|family, model, golden, index, case| {
        let bank = case.load(family, model);
        let composition: Composition = case.setup.parse().unwrap();
        let setup = Setup::compose(composition).with_head(case.heads.parse::<HeadSetup>().unwrap());
        let hooks = bank.hooks(&setup).unwrap();
        let output = model.forward_reading(&golden.batch(), &hooks, Reads::First).unwrap();
        let heads = bank.logits(&setup, &output).unwrap();
        // Heads on parts of a batch are one table in the golden.
        let whole = golden.0.get(&format!("{index}.logits")).map(|(_, expected)| {
            let found = heads.iter().flat_map(|head| values(head.logits.values().clone())).collect::<Vec<_>>();
            largest_difference(&found, expected)
        });
        let each = heads.iter().filter_map(|head| {
            let (_, expected) = golden.0.get(&format!("{index}.logits.{}", head.head))?;
            Some(largest_difference(&values(head.logits.values().clone()), expected))
        });
        let differences: Vec<f32> = whole.into_iter().chain(each).collect();
        assert!(!differences.is_empty(), "{}", case.setup);
        if differences.iter().any(|difference| *difference > TOLERANCE) {
            failures.push(format!("{} {}: {differences:?}", family.display(), case.setup));
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_routed_batch_gives_each_row_what_a_split_one_does() {
    let mut routed = 0;
    each(|family, model, golden, index, case| {
        let Ok(Composition::BatchSplit { batch_sizes, .. }) = case.setup.parse() else { return };
        let bank = case.load(family, model);
        let names = case.adapters.iter().zip(&batch_sizes).flat_map(|(name, size)| vec![Some(name.clone()); *size]);
        let setup = Setup::compose(Composition::route(names));
        let hooks = bank.hooks(&setup).unwrap();
        let output = model.forward_reading(&golden.batch(), &hooks, Reads::First).unwrap();
        for head in bank.logits(&setup, &output).unwrap() {
            let expected = golden.values(&format!("{index}.logits.{}", head.head));
            let difference = largest_difference(&values(head.logits.into_values()), expected);
            assert!(difference <= TOLERANCE, "{} {} {}: {difference:e}", family.display(), case.setup, head.head);
            routed += head.rows.len();
        }
    });
    assert_eq!(routed, 3 * 4 * 4, "families, setups, rows");
}

#[test]
fn rows_with_prefixes_in_other_layers_are_what_they_are_alone() {
    const ROWS: [&[u32]; 2] = [&[5, 9, 3, 7, 11], &[8, 6, 10]];
    for family in families() {
        let (model, _) = AutoModel::from_dir(&family.join("models/tiny"), &Device::default()).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        for (name, layer) in [("a", 0), ("b", 1)] {
            let config = format!("prefix_tuning_flat[prefix_length=3,leave_out=[{layer}]]");
            bank.add_seeded(name, config.parse().unwrap(), 7 + layer).unwrap();
        }
        let run = |setup: Setup, rows: &[&[u32]]| {
            let batch = TokenBatch::new(rows.iter().copied());
            let output = model.forward_reading(&batch, &bank.hooks(&setup).unwrap(), Reads::First).unwrap();
            values(output.row_states())
        };
        let found = run(Setup::compose("Route([a, b])".parse::<Composition>().unwrap()), &ROWS);
        let alone = [run(Setup::adapter("a"), &ROWS[..1]), run(Setup::adapter("b"), &ROWS[1..])].concat();
        let difference = largest_difference(&found, &alone);
        assert!(difference <= 1e-5, "{}: {difference:e}", family.display());
    }
}
