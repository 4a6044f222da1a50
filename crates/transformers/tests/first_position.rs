//! The first position alone is the first position of all, whatever the adapters do. On a backend with kernels of our own it
//! is computed without the padding.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::tensor::{Device, Tensor};
use burn_adapters_composition::Composition;
use burn_adapters_model::{AdapterBank, Setup};
use burn_adapters_transformers::{Batch, Bert, BertConfig, Row};
use common::all_gradients;

const LENGTHS: [usize; 3] = [9, 4, 7];

fn batch(bert: &Bert) -> Batch {
    let rows: Vec<Row> =
        (0..3).map(|row| Row::new((0..LENGTHS[row]).map(|at| (row * 31 + at * 7) as u32 % 99).collect())).collect();
    Batch::from_rows(&rows, 0, &bert.device())
}

fn check(bert: &Bert, bank: &AdapterBank, setup: &Setup) {
    let batch = batch(bert);
    let whole = bert.forward(batch.clone(), &bank.hooks(setup).unwrap()).unwrap();
    let first = bert.forward_first(batch, &bank.hooks(setup).unwrap()).unwrap();
    let [rows, positions, _] = first.hidden.dims();
    assert_eq!((rows, positions), (whole.hidden.dims()[0], 1));
    let far = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>();
    let hidden = far(whole.hidden.narrow(1, 0, 1).squeeze_dim(1), first.hidden.squeeze_dim(1));
    let pooled = far(whole.pooled.unwrap(), first.pooled.unwrap());
    assert!(hidden < 1e-5 && pooled < 1e-5, "{setup:?}: {hidden}, pooled {pooled}");
}

fn bert() -> Bert {
    Bert::new_seeded(&BertConfig::new(100, 32, 2, 4, 64), 3, &Device::default())
}

#[test]
fn it_is_the_first_of_all_with_every_method() {
    let bert = bert();
    check(&bert, &AdapterBank::new(bert.spec(), &bert.device()), &Setup::base());
    for (config, alone) in [
        ("seq_bn", true),
        ("double_seq_bn[reduction_factor=4]", true),
        ("scaled_par_bn", true),
        ("seq_bn_inv", true),
        ("compacter[reduction_factor=4]", true),
        ("prefix_tuning[prefix_length=3]", true),
        ("prefix_tuning_flat[prefix_length=3,use_gating=True]", true),
        ("lora[init_weights='bert',attn_matrices=['q','k','v']]", true),
        ("ia3", true),
        ("mam", true),
        ("prompt_tuning[prompt_length=4]", true),
        ("unipelt", false),
        ("seq_bn[use_gating=True]", false),
        ("lora[use_gating=True,init_weights='bert']", false),
        ("ia3[use_gating=True]", false),
        ("loreft", false),
    ] {
        let mut bank = AdapterBank::new(bert.spec(), &bert.device());
        bank.add_seeded("a", config.parse().unwrap(), 5).unwrap();
        let setup = Setup::adapter("a");
        check(&bert, &bank, &setup);
        let hooks = bank.hooks(&setup).unwrap();
        assert_eq!(hooks.treats_positions_alone(), alone, "{config}");
        // A gate of a prefix is a mean over the whole sequence.
        let packed = alone && !config.contains("use_gating");
        assert_eq!(hooks.packed(&LENGTHS).is_some(), packed, "{config}");
    }
}

#[test]
fn blocks_of_rows_become_blocks_of_positions() {
    let bert = bert();
    let mut bank = AdapterBank::new(bert.spec(), &bert.device());
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        bank.add_seeded(name, "seq_bn[reduction_factor=4]".parse().unwrap(), index as u64).unwrap();
    }
    bank.add_seeded("deep", "seq_bn[stochastic_depth=0.1]".parse().unwrap(), 7).unwrap();
    let packed = |setup: &Setup, lengths: &[usize]| bank.hooks(setup).unwrap().packed(lengths).is_some();
    let compose = |text: &str| Setup::compose(text.parse().unwrap());
    assert!(packed(&compose("BatchSplit(a, b, batch_sizes=[1, 2])"), &LENGTHS));
    assert!(packed(&compose("Stack(a, b)"), &LENGTHS) && packed(&Setup::base(), &LENGTHS));
    assert!(packed(&Setup::compose(Composition::route([Some("b"), None, Some("a")])), &LENGTHS));
    // Another number of rows, a repeated batch, a sequence that is cut.
    assert!(!packed(&compose("BatchSplit(a, b, batch_sizes=[1, 1])"), &LENGTHS));
    assert!(!packed(&Setup::compose(Composition::route([Some("b")])), &LENGTHS));
    assert!(!packed(&compose("Parallel(a, b)"), &LENGTHS));
    assert!(!packed(&compose("Split(a, b, splits=[5, 4])"), &LENGTHS));
    // Stochastic depth drops whole rows, in training only.
    assert!(packed(&Setup::adapter("deep"), &LENGTHS) && !packed(&Setup::adapter("deep").training(), &LENGTHS));
}

#[test]
fn training_without_padding_has_the_gradients_of_training_with_it() {
    let bert = bert();
    let device = bert.device().autodiff();
    for config in [
        "seq_bn[reduction_factor=4]",
        "lora[init_weights='bert']",
        "prefix_tuning[prefix_length=3]",
        "mam",
        "seq_bn_inv",
    ] {
        let gradients = |first: bool| {
            let mut bank = AdapterBank::new(bert.spec(), &device);
            bank.add_seeded("a", config.parse().unwrap(), 5).unwrap();
            let setup = Setup::adapter("a").training().without_base_dropout();
            bank.train_only(&setup).unwrap();
            let hooks = bank.hooks(&setup).unwrap();
            let hidden = match first {
                true => bert.forward_first(batch(&bert), &hooks).unwrap().hidden,
                false => bert.forward(batch(&bert), &hooks).unwrap().hidden.narrow(1, 0, 1),
            };
            let gradients = hidden.powi_scalar(3).sum().backward();
            all_gradients(&bank, &gradients)
        };
        let (with, without) = (gradients(false), gradients(true));
        assert!(!with.is_empty() && with.len() == without.len(), "{config}");
        let largest = with.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        for (with, without) in with.iter().zip(&without) {
            assert!((with - without).abs() <= 1e-5 * largest.max(1.0), "{config}: {without} is not {with}");
        }
    }
}

#[test]
fn it_is_the_first_of_all_in_every_block() {
    let bert = bert();
    let mut bank = AdapterBank::new(bert.spec(), &bert.device());
    for (index, name) in ["a", "b", "c"].into_iter().enumerate() {
        bank.add_seeded(name, "seq_bn[reduction_factor=4]".parse().unwrap(), index as u64).unwrap();
    }
    bank.add_seeded("l", "lora[init_weights='bert']".parse().unwrap(), 9).unwrap();
    for text in [
        "Stack(a, b, l)",
        "Parallel(a, b)",
        "BatchSplit(a, b, batch_sizes=[1, 2])",
        "Average(a, b, weights=[0.3, 0.7])",
        "Split(a, b, splits=[5, 4])",
    ] {
        check(&bert, &bank, &Setup::compose(text.parse().unwrap()));
    }
    check(&bert, &bank, &Setup::compose(Composition::route([Some("l"), None, Some("a")])));
    check(&bert, &bank, &Setup::adapter("a").observe_gates());
}

#[test]
fn what_is_observed_is_observed_at_every_position() {
    let bert = bert();
    let mut bank = AdapterBank::new(bert.spec(), &bert.device());
    bank.add_seeded("a", "seq_bn[use_gating=True]".parse().unwrap(), 1).unwrap();
    bank.add_seeded("b", "seq_bn".parse().unwrap(), 2).unwrap();
    let alone = |setup: Setup| bank.hooks(&setup).unwrap().treats_positions_alone();
    assert!(alone(Setup::adapter("b")) && !alone(Setup::adapter("a")));
    assert!(!alone(Setup::adapter("b").observe_fusions()) && !alone(Setup::adapter("b").observe_gates()));
}
