//! The decoder of the example `own_decoder`: a model of one's own has everything that the crate's models have.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../../crates/burn-adapters/examples/own_decoder/model.rs"]
mod model;

use burn::tensor::{Device, Tensor};
use burn_adapters::checkpoint::{SaveOptions, load_adapter, save_adapter};
use burn_adapters::heads::{HeadConfig, Targets};
use burn_adapters::model::Row;
use burn_adapters::prelude::*;
use burn_adapters::train::{TokenData, TrainConfig, Trainer, evaluate};
use model::{Decoder, HIDDEN, VOCABULARY};

/// Every hook, and gates and interventions, which forbid shortcuts.
const METHODS: [&str; 9] = [
    "double_seq_bn[reduction_factor=2]",
    "par_bn[reduction_factor=2,init_weights='bert']",
    "seq_bn_inv[reduction_factor=2]",
    "lora[init_weights='bert',attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
    "ia3[init_weights='bert']",
    "prefix_tuning[prefix_length=3]",
    "prompt_tuning[prompt_length=4]",
    "loreft",
    "unipelt",
];

fn decoder() -> Decoder {
    let device = Device::default();
    device.seed(9);
    Decoder::new(&device)
}

fn row(seed: usize, length: usize) -> Row {
    Row::new((0..length).map(|at| ((seed * 31 + at * 7) % (VOCABULARY - 1) + 1) as u32).collect())
}

fn bank(decoder: &Decoder) -> AdapterBank {
    let mut bank = AdapterBank::new(decoder.spec(), &decoder.device());
    for (index, method) in METHODS.iter().enumerate() {
        bank.add_seeded(&index.to_string(), method.parse().unwrap(), index as u64).unwrap();
    }
    bank
}

fn hidden(decoder: &Decoder, bank: &AdapterBank, setup: &Setup, rows: &[Row]) -> Tensor<3> {
    decoder.forward(&TokenBatch::from_rows(rows), &bank.hooks(setup).unwrap()).unwrap().hidden
}

fn far(a: Tensor<3>, b: Tensor<3>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

#[test]
fn no_position_sees_a_later_one() {
    let decoder = decoder();
    let bank = bank(&decoder);
    let (one, mut other) = (row(1, 8), row(1, 8));
    other.ids[5] = 77;
    // Gates are means over the sequence, and interventions go by its end.
    for name in [None, Some("0"), Some("2"), Some("3"), Some("4"), Some("5")] {
        let setup = name.map_or_else(Setup::base, Setup::adapter);
        let [one, other] = [&one, &other].map(|row| hidden(&decoder, &bank, &setup, std::slice::from_ref(row)));
        let part = |x: &Tensor<3>, from: usize, to: usize| x.clone().narrow(1, from, to - from);
        assert!(far(part(&one, 0, 5), part(&other, 0, 5)) < 1e-6, "{name:?}");
        assert!(far(part(&one, 5, 8), part(&other, 5, 8)) > 1e-3, "{name:?}");
    }
}

#[test]
fn order_matters_through_rotary_positions() {
    let decoder = decoder();
    let bank = bank(&decoder);
    let (one, other) = (Row::new(vec![5, 9, 9, 7]), Row::new(vec![9, 5, 9, 7]));
    let last = |row: &Row| hidden(&decoder, &bank, &Setup::base(), std::slice::from_ref(row)).narrow(1, 3, 1);
    assert!(far(last(&one), last(&other)) > 1e-4);
}

#[test]
fn every_method_acts_and_rows_of_a_batch_equal_rows_alone() {
    let decoder = decoder();
    let bank = bank(&decoder);
    let rows = [row(1, 7), row(2, 4), row(3, 6)];
    let base = hidden(&decoder, &bank, &Setup::base(), &rows);
    for (name, method) in METHODS.into_iter().enumerate() {
        let setup = Setup::adapter(name.to_string());
        let hooks = || bank.hooks(&setup).unwrap();
        for reads in [Reads::All, Reads::Tokens, Reads::First] {
            let together = decoder.forward_reading(&TokenBatch::from_rows(&rows), &hooks(), reads).unwrap();
            for (index, row) in rows.iter().enumerate() {
                let alone = decoder.forward(&TokenBatch::from_rows([row]), &hooks()).unwrap();
                let length = if reads == Reads::First { 1 } else { alone.tokens[0].end() };
                let cut = |x: &Tensor<3>, row: usize| x.clone().narrow(0, row, 1).narrow(1, 0, length);
                // Gates average over padding, as the reference's do: rows alone have none.
                if method != "unipelt" {
                    let far = far(cut(&together.hidden, index), cut(&alone.hidden, 0));
                    assert!(far < 1e-5, "{method} {reads:?}: {far}");
                }
            }
        }
        let adapted = hidden(&decoder, &bank, &setup, &rows);
        if adapted.dims() == base.dims() {
            assert!(far(adapted, base.clone()) > 1e-5, "{method} changes nothing");
        }
    }
}

#[test]
fn a_routed_batch_equals_each_row_through_its_own_adapter() {
    let decoder = decoder();
    let bank = bank(&decoder);
    let rows = [row(1, 5), row(2, 5), row(3, 5), row(4, 5)];
    let routed = Setup::compose(Composition::route([Some("5"), None, Some("0"), Some("5")]));
    let together = hidden(&decoder, &bank, &routed, &rows);
    for (index, name) in [Some("5"), None, Some("0"), Some("5")].into_iter().enumerate() {
        let setup = name.map_or_else(Setup::base, Setup::adapter);
        let alone = hidden(&decoder, &bank, &setup, &rows[index..=index]);
        assert!(far(together.clone().narrow(0, index, 1), alone) < 1e-5, "{name:?}");
    }
}

#[test]
fn it_is_trained_evaluated_saved_and_loaded() {
    let decoder = decoder();
    let mut bank = AdapterBank::new(decoder.spec(), &decoder.device().autodiff());
    bank.add_seeded("even", "seq_bn[reduction_factor=2]|lora".parse().unwrap(), 1).unwrap();
    bank.add_head_seeded("even", &HeadConfig::tagging(2), 2).unwrap();
    let rows: Vec<Row> = (0..24).map(|seed| row(seed, 3 + seed % 5)).collect();
    let tags = rows.iter().map(|row| row.ids.iter().map(|id| Some((id % 2) as usize)).collect()).collect();
    let data = TokenData::new("rows", rows.clone(), Some(Targets::Tokens(tags))).unwrap();
    let setup = Setup::adapter("even");
    let before = evaluate(&decoder, &bank, &setup, &data, 8).unwrap().loss;
    let config = TrainConfig::new().with_epochs(15).with_batch_size(8).with_learning_rate(1e-2);
    let trained = Trainer::new(config).train(&decoder, bank, &setup, &data, None, &mut ()).unwrap().bank;
    let after = evaluate(&decoder, &trained, &setup, &data, 8).unwrap().loss;
    assert!(after < 0.5 * before, "{before} to {after}");

    let folder = tempfile::tempdir().unwrap();
    save_adapter(folder.path(), &trained, "even", &SaveOptions::default()).unwrap();
    let mut loaded = AdapterBank::new(decoder.spec(), &decoder.device());
    load_adapter(folder.path(), &mut loaded, None).unwrap();
    let values = |bank: &AdapterBank| hidden(&decoder, bank, &setup, &rows[..4]).into_data().convert::<f32>();
    assert_eq!(values(&loaded), values(&trained));
    assert_eq!(values(&loaded).shape().to_vec()[2], HIDDEN);
}
