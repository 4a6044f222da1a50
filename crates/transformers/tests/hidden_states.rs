//! The hidden states are those of the reference, in every family and on every path.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{AdapterBank, Hooks, Matrices, Mergeable, Setup};
use burn_adapters_transformers::{Batch, Bert, BertConfig, BertInput, ForwardError, Row};
use common::{batch, difference, differences, folder, read, values};

/// 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

fn check(model: &str, model_device: &Device) {
    let (bert, _) = Bert::from_dir(&folder(model), model_device).unwrap();
    let goldens = read(&folder(model).join("hidden.safetensors"));
    let batch = batch(&goldens, &Device::default());
    let states = bert.hidden_states(batch.clone(), &Hooks::none()).unwrap();
    let output = bert.forward(batch, &Hooks::none()).unwrap();
    for (name, difference) in differences(&states, &output, &goldens) {
        assert!(difference < TOLERANCE, "{model}: {name} differs by {difference}");
    }
}

#[test]
fn bert_gives_the_hidden_states_of_the_reference() {
    check("tiny-a", &Device::default());
    check("tiny-b", &Device::default());
}

#[test]
fn an_old_bert_in_pytorch_shards_gives_the_hidden_states_of_the_reference() {
    check("bert", &Device::default());
}

#[test]
fn roberta_counts_its_positions_as_the_reference_does() {
    check("roberta", &Device::default());
}

#[test]
fn electra_projects_its_embeddings_as_the_reference_does() {
    check("electra", &Device::default());
}

#[test]
fn the_path_that_is_differentiated_gives_the_same_as_the_fused_one() {
    // On an autodiff device attention is computed step by step, with a graph.
    for model in ["tiny-a", "tiny-b", "roberta"] {
        check(model, &Device::default().autodiff());
    }
}

#[test]
fn a_padded_row_equals_the_row_alone() {
    let device = Device::default();
    for model in ["tiny-a", "roberta", "electra"] {
        let (bert, _) = Bert::from_dir(&folder(model), &device).unwrap();
        let pad = bert.config().pad_token_id as u32;
        let long = Row::new(vec![3, 9, 17, 4, 30, 22, 8, 11]);
        let short = Row::new(vec![5, 31, 12]);
        let together = Batch::from_rows([&long, &short], pad, &device);
        let alone = Batch::from_rows([&short], pad, &device);
        assert!(together.padding.is_some() && alone.padding.is_none());
        for bert in [bert.clone(), bert.to_device(&device.clone().autodiff())] {
            let together = bert.forward(together.clone(), &Hooks::none()).unwrap().hidden;
            let alone = bert.forward(alone.clone(), &Hooks::none()).unwrap().hidden;
            let row = values(&together.slice([1..2, 0..3]));
            let difference = difference(&row, &values(&alone));
            assert!(difference < 1e-5, "{model} differs by {difference}");
        }
    }
}

#[test]
fn a_row_of_padding_alone_gives_no_nan() {
    let device = Device::default();
    for device in [device.clone(), device.autodiff()] {
        let (bert, _) = Bert::from_dir(&folder("tiny-a"), &device).unwrap();
        let device = device.without_autodiff();
        let ids = Tensor::<2, Int>::from_data([[3, 4], [0, 0]], &device);
        let padding = Tensor::<2, Bool>::from_data([[false, false], [true, true]], &device);
        let output = bert.forward(BertInput::new(ids).with_padding(padding), &Hooks::none()).unwrap();
        assert!(values(&output.hidden).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn absent_types_padding_and_positions_mean_the_plain_ones() {
    let device = Device::default();
    let (bert, _) = Bert::from_dir(&folder("tiny-a"), &device).unwrap();
    let ids = Tensor::<2, Int>::from_data([[3, 4, 5], [6, 7, 8]], &device);
    let mut full = BertInput::new(ids.clone())
        .with_padding(Tensor::<2, Bool>::full([2, 3], false, &device))
        .with_token_types(Tensor::zeros([2, 3], &device));
    full.position_ids = Some(Tensor::from_data([[0, 1, 2], [0, 1, 2]], &device));
    let full = bert.forward(full, &Hooks::none()).unwrap();
    let plain = bert.forward(BertInput::new(ids), &Hooks::none()).unwrap();
    assert!(difference(&values(&full.hidden), &values(&plain.hidden)) < 1e-6);
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let device = Device::default();
    let (bert, _) = Bert::from_dir(&folder("tiny-a"), &device).unwrap();
    let run = |input: BertInput| bert.forward(input, &Hooks::none()).unwrap_err();
    let ids = |batch, sequence| Tensor::<2, Int>::ones([batch, sequence], &device);

    assert_eq!(run(BertInput::new(ids(1, 41))), ForwardError::TooLong { length: 41, max: 40 });
    assert_eq!(run(BertInput::new(ids(0, 3))), ForwardError::Empty { shape: [0, 3] });
    let types = BertInput::new(ids(2, 3)).with_token_types(ids(2, 4));
    assert!(matches!(run(types), ForwardError::Shape { name: "token_type_ids", found: [2, 4], .. }));
    let padding = BertInput::new(ids(2, 3)).with_padding(Tensor::full([1, 3], false, &device));
    assert!(matches!(run(padding), ForwardError::Shape { name: "padding", .. }));
}

#[test]
fn roberta_s_longest_sequence_leaves_out_the_positions_of_padding() {
    let device = Device::default();
    let (bert, _) = Bert::from_dir(&folder("roberta"), &device).unwrap();
    let run = |length| {
        bert.forward(BertInput::new(Tensor::<2, Int>::full([1, length], 5, &device)), &Hooks::none()).map(|_| ())
    };
    assert_eq!(run(14), Ok(()));
    assert_eq!(run(15), Err(ForwardError::TooLong { length: 15, max: 14 }));
}

#[test]
fn the_base_s_dropout_is_on_in_training_unless_it_is_left_off() {
    let device = Device::default();
    let bert = Bert::new_seeded(&BertConfig::new(30, 16, 2, 2, 24), 3, &device);
    let bank = AdapterBank::new(bert.spec(), &device);
    let input = BertInput::new(Tensor::<2, Int>::from_data([[3, 4, 5, 6]], &device));
    let run = |setup: Setup| values(&bert.forward(input.clone(), &bank.hooks(&setup).unwrap()).unwrap().hidden);
    let plain = run(Setup::base());
    let (one, another) = (run(Setup::base().training()), run(Setup::base().training()));
    assert!(difference(&one, &plain) > 1e-2 && difference(&one, &another) > 1e-2);
    assert_eq!(run(Setup::base().training().without_base_dropout()), plain);
}

#[test]
fn every_matrix_of_the_specification_can_be_merged_into() {
    let (mut bert, _) = Bert::from_dir(&folder("tiny-a"), &Device::default()).unwrap();
    let spec = bert.spec();
    for (site, size) in spec.matrices() {
        assert_eq!(bert.linear(site).unwrap().weight.dims(), size, "{site}");
        assert_eq!(bert.linear_mut(site).unwrap().weight.dims(), size, "{site}");
    }
    assert!(bert.linear_mut(Site::encoder(2, Place::Query)).is_none());
    assert!(bert.linear_mut(Site::decoder(0, Place::Query)).is_none());
    assert!(bert.linear(Site::decoder(0, Place::Query)).is_none());
    assert!(bert.linear_mut(Site::encoder(0, Place::Layer)).is_none());
}
