//! The first position alone is the first position of all, whatever the adapters do. On a backend with kernels of our own it
//! is computed without the padding.

use crate::common::all_gradients;
use burn::tensor::{Device, Tensor};
use burn_adapters_composition::Composition;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Reads, Row, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, BertConfig};

const LENGTHS: [usize; 3] = [9, 4, 7];

fn batch() -> TokenBatch {
    let rows: Vec<Row> =
        (0..3).map(|row| Row::new((0..LENGTHS[row]).map(|at| (row * 31 + at * 7) as u32 % 59).collect())).collect();
    TokenBatch::from_rows(&rows)
}

fn check(bert: &AutoModel, bank: &AdapterBank, setup: &Setup) {
    let whole = bert.forward(&batch(), &bank.hooks(setup).unwrap()).unwrap();
    let first = bert.forward_reading(&batch(), &bank.hooks(setup).unwrap(), Reads::First).unwrap();
    let [rows, positions, _] = first.hidden.dims();
    assert_eq!((rows, positions), (whole.hidden.dims()[0], 1));
    let far = |a: Tensor<2>, b: Tensor<2>| (a - b).abs().max().into_scalar::<f32>();
    let hidden = far(whole.hidden.narrow(1, 0, 1).squeeze_dim(1), first.hidden.squeeze_dim(1));
    let pooled = far(whole.pooled.unwrap(), first.pooled.unwrap());
    assert!(hidden < 1e-5 && pooled < 1e-5, "{setup:?}: {hidden}, pooled {pooled}");
}

fn bert() -> AutoModel {
    AutoModel::new_seeded(&BertConfig::new(100, 32, 2, 4, 64), 3, &Device::default())
}

#[test]
fn it_is_the_first_of_all_with_every_method() {
    let bert = bert();
    check(&bert, &AdapterBank::new(bert.spec(), &bert.device()), &Setup::base());
    for config in [
        "seq_bn",
        "double_seq_bn[reduction_factor=4]",
        "scaled_par_bn",
        "seq_bn_inv",
        "compacter[reduction_factor=4]",
        "prefix_tuning[prefix_length=3]",
        "prefix_tuning_flat[prefix_length=3,use_gating=True]",
        "lora[init_weights='bert',attn_matrices=['q','k','v']]",
        "ia3",
        "mam",
        "prompt_tuning[prompt_length=4]",
        "unipelt",
        "seq_bn[use_gating=True]",
        "lora[use_gating=True,init_weights='bert']",
        "ia3[use_gating=True]",
        "loreft",
    ] {
        let mut bank = AdapterBank::new(bert.spec(), &bert.device());
        bank.add_seeded("a", config.parse().unwrap(), 5).unwrap();
        let setup = Setup::adapter("a");
        check(&bert, &bank, &setup);
    }
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
                true => bert.forward_reading(&batch(), &hooks, Reads::First).unwrap().hidden,
                false => bert.forward(&batch(), &hooks).unwrap().hidden.narrow(1, 0, 1),
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
fn the_states_at_tokens_are_those_of_all_positions() {
    let bert = bert();
    let mut bank = AdapterBank::new(bert.spec(), &bert.device());
    for (index, config) in
        ["seq_bn[reduction_factor=4]", "prefix_tuning[prefix_length=3]", "prompt_tuning"].iter().enumerate()
    {
        bank.add_seeded(&format!("a{index}"), config.parse().unwrap(), 5).unwrap();
    }
    let routed = Setup::compose(Composition::route([Some("a2"), None, Some("a0")]));
    for setup in [Setup::base(), Setup::adapter("a0"), Setup::adapter("a1"), Setup::adapter("a2"), routed] {
        let whole = bert.forward(&batch(), &bank.hooks(&setup).unwrap()).unwrap();
        let read = bert.forward_reading(&batch(), &bank.hooks(&setup).unwrap(), Reads::Tokens).unwrap();
        assert_eq!(whole.tokens, read.tokens);
        assert_eq!(whole.tokens.iter().map(|span| span.length).collect::<Vec<_>>(), LENGTHS);
        for (row, span) in whole.tokens.iter().enumerate() {
            let own = |hidden: &Tensor<3>| hidden.clone().narrow(0, row, 1).narrow(1, 0, span.end());
            let far = (own(&whole.hidden) - own(&read.hidden)).abs().max().into_scalar::<f32>();
            assert!(far < 1e-5, "{setup:?}: {far}");
        }
    }
}

#[test]
fn the_last_token_or_the_mean_stands_for_each_row_in_models_that_say_so() {
    let models = ["gpt2/models/tiny", "llama/models/tiny", "mistral/models/tiny", "modernbert/models/mean"];
    for family in models {
        let folder = burn_adapters_goldens::folder().join("families").join(family);
        let (model, _) = AutoModel::from_dir(&folder, &Device::default()).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &model.device());
        let configs = ["seq_bn[reduction_factor=4]", "prefix_tuning[prefix_length=3]", "prompt_tuning", "seq_bn_inv"];
        for (name, config) in ["a", "b", "c", "d"].into_iter().zip(configs) {
            bank.add_seeded(name, config.parse().unwrap(), 5).unwrap();
        }
        let composed = ["a", "b", "c", "d", "Parallel(a, d)", "Route([c, none, a])"];
        let setups = composed.map(|text| Setup::compose(text.parse().unwrap()));
        for setup in setups.into_iter().chain([Setup::base()]) {
            let whole = model.forward(&batch(), &bank.hooks(&setup).unwrap()).unwrap();
            let last = model.forward_reading(&batch(), &bank.hooks(&setup).unwrap(), Reads::First).unwrap();
            let [rows, _, width] = whole.hidden.dims();
            assert_eq!(last.hidden.dims(), [rows, 1, width]);
            let far = (whole.row_states() - last.row_states()).abs().max().into_scalar::<f32>();
            assert!(far < 1e-5, "{family}, {setup:?}: {far}");
        }
    }
}
