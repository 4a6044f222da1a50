//! The hidden states are those of the reference, in every family and on every path.

use crate::common::{batch, difference, differences, folder, read, values};
use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{
    AdapterBank, BaseError, BaseModel, Forward, Hooks, Matrices, Mergeable, Row, Setup, TokenBatch,
};
use burn_adapters_transformers::{AutoModel, BertConfig};

/// 1e-4, less the rounding of the goldens.
const TOLERANCE: f32 = 9.9e-5;

fn check(model: &str, model_device: &Device) {
    let (bert, _) = AutoModel::from_dir(&folder(model), model_device).unwrap();
    let goldens = read(&folder(model).join("hidden.safetensors"));
    let batch = batch(&goldens);
    let states = bert.hidden_states(&batch, &Hooks::none()).unwrap();
    let output = bert.forward(&batch, &Hooks::none()).unwrap();
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
        let (bert, _) = AutoModel::from_dir(&folder(model), &device).unwrap();
        let long = Row::new(vec![3, 9, 17, 4, 30, 22, 8, 11]);
        let short = Row::new(vec![5, 31, 12]);
        let together = TokenBatch::from_rows([&long, &short]);
        let alone = TokenBatch::from_rows([&short]);
        for bert in [bert.clone(), bert.to_device(&device.clone().autodiff())] {
            let together = bert.forward(&together, &Hooks::none()).unwrap().hidden;
            let alone = bert.forward(&alone, &Hooks::none()).unwrap().hidden;
            let row = values(&together.slice([1..2, 0..3]));
            let difference = difference(&row, &values(&alone));
            assert!(difference < 1e-5, "{model} differs by {difference}");
        }
    }
}

#[test]
fn batches_that_the_model_cannot_take_are_errors() {
    let (bert, _) = AutoModel::from_dir(&folder("tiny-a"), &Device::default()).unwrap();
    let run = |batch: TokenBatch| bert.forward(&batch, &Hooks::none()).unwrap_err();
    let row = |ids: &[u32]| Row::new(ids.to_vec());
    let typed = Row { ids: vec![1], token_type_ids: vec![2] };
    assert!(matches!(run(TokenBatch::from_rows(&[row(&[1; 41])])), BaseError::TooLong { length: 41, max: 40 }));
    assert!(matches!(run(TokenBatch::default()), BaseError::Empty { rows: 0 }));
    assert!(matches!(run(TokenBatch::from_rows(&[row(&[1]), row(&[])])), BaseError::Empty { rows: 2 }));
    let vocabulary = bert.limits().vocabulary;
    let unknown = run(TokenBatch::from_rows(&[row(&[1, vocabulary as u32])]));
    assert!(matches!(unknown, BaseError::UnknownToken { id, .. } if id as usize == vocabulary), "{unknown}");
    assert!(matches!(run(TokenBatch::from_rows(&[typed])), BaseError::UnknownTokenType { id: 2, token_types: 2 }));
}

#[test]
fn roberta_s_longest_sequence_leaves_out_the_positions_of_padding() {
    let (bert, _) = AutoModel::from_dir(&folder("roberta"), &Device::default()).unwrap();
    let run = |length| bert.forward(&TokenBatch::new([vec![5; length].as_slice()]), &Hooks::none());
    assert!(run(14).is_ok());
    assert!(matches!(run(15), Err(BaseError::TooLong { length: 15, max: 14 })));
}

#[test]
fn the_base_s_dropout_is_on_in_training_unless_it_is_left_off() {
    let device = Device::default();
    let bert = AutoModel::new_seeded(&BertConfig::new(30, 16, 2, 2, 24), 3, &device);
    let bank = AdapterBank::new(bert.spec(), &device);
    let batch = TokenBatch::new([[3, 4, 5, 6].as_slice()]);
    let run = |setup: Setup| values(&bert.forward(&batch, &bank.hooks(&setup).unwrap()).unwrap().hidden);
    let plain = run(Setup::base());
    let (one, another) = (run(Setup::base().training()), run(Setup::base().training()));
    assert!(difference(&one, &plain) > 1e-2 && difference(&one, &another) > 1e-2);
    assert_eq!(run(Setup::base().training().without_base_dropout()), plain);
}

#[test]
fn every_matrix_of_the_specification_can_be_merged_into() {
    let (mut bert, _) = AutoModel::from_dir(&folder("tiny-a"), &Device::default()).unwrap();
    let spec = bert.spec().clone();
    for (site, size) in spec.matrices() {
        assert_eq!(bert.linear(site).unwrap().weight.dims(), size, "{site}");
        assert_eq!(bert.linear_mut(site).unwrap().weight.dims(), size, "{site}");
    }
    assert!(bert.linear_mut(Site::encoder(2, Place::Query)).is_none());
    assert!(bert.linear_mut(Site::decoder(0, Place::Query)).is_none());
    assert!(bert.linear(Site::decoder(0, Place::Query)).is_none());
    assert!(bert.linear_mut(Site::encoder(0, Place::Layer)).is_none());
}
