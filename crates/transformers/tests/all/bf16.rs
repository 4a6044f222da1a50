//! With the weights of the base in bf16 every method computes what it does in f32, but for the rounding; training too.

use crate::common::all_gradients;
use burn::tensor::{DType, Device, FloatDType};
use burn_adapters_core::{Bf16Error, Place, Site};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Matrices, MergedModel, Reads, Row, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, BertConfig, ModelConfig, WeightFormat};

fn bert(device: &Device) -> AutoModel {
    AutoModel::new_seeded(&BertConfig::new(100, 32, 2, 4, 64), 3, device)
}

fn batch() -> TokenBatch {
    let rows: Vec<Row> =
        (0..5).map(|row| Row::new((0..9 - row).map(|at| (row * 31 + at * 7) as u32 % 99).collect())).collect();
    TokenBatch::from_rows(&rows)
}

/// None where the backend has no bf16.
fn device() -> Option<Device> {
    let device = Device::default();
    device.supports_dtype(FloatDType::BF16).then_some(device)
}

fn length(values: impl Iterator<Item = f32>) -> f32 {
    values.map(|value| value * value).sum::<f32>().sqrt()
}

/// How far apart, of how long.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    length(a.iter().zip(b).map(|(a, b)| a - b)) / length(a.iter().copied())
}

#[test]
fn a_model_that_is_loaded_in_bf16_is_the_one_that_is_put_in_bf16() {
    let Some(device) = device() else { return };
    // GPT-2's files hold query, key and value as one matrix.
    for folder in [crate::common::folder("tiny-a"), burn_adapters_goldens::folder().join("families/gpt2/models/tiny")] {
        let (later, _) = AutoModel::from_dir(&folder, &device).unwrap();
        let later = later.in_bf16().unwrap();
        let (at_once, _) = AutoModel::from_dir_as(&folder, WeightFormat::Bf16, &device).unwrap();
        let weights = |model: &AutoModel| burn_adapters_tensors::values(model, |path| Some(path.to_string())).unwrap();
        let (later, at_once) = (weights(&later), weights(&at_once));
        assert!(at_once.values().any(|data| data.dtype() == DType::BF16));
        assert_eq!(at_once, later);
    }
}

#[test]
fn every_method_computes_and_learns_the_same_but_for_the_rounding() {
    let Some(device) = device() else { return };
    let whole = bert(&device);
    let half = whole.clone().in_bf16().unwrap();
    for config in [
        "seq_bn[reduction_factor=4]",
        "double_seq_bn[reduction_factor=4]",
        "par_bn[reduction_factor=4]",
        "seq_bn_inv[reduction_factor=4]",
        "compacter[reduction_factor=4]",
        "prefix_tuning[prefix_length=3]",
        "prompt_tuning[prompt_length=4]",
        "lora[init_weights='bert',attn_matrices=['q','k','v']]",
        "dora[init_weights='bert']",
        "vera[init_weights='vera']",
        "mtl_lora",
        "ia3",
        "loreft[dropout=0.0]",
        "mam",
        "unipelt",
    ] {
        let mut bank = AdapterBank::new(whole.spec(), &device.clone().autodiff());
        bank.add_for(&half, "a", config.parse().unwrap(), 5).unwrap();
        let setup = Setup::adapter("a").training().without_base_dropout();
        bank.train_only(&setup).unwrap();
        let run = |bert: &AutoModel| {
            let pooled =
                bert.forward_reading(&batch(), &bank.hooks(&setup).unwrap(), Reads::First).unwrap().pooled.unwrap();
            let values: Vec<f32> = pooled.clone().into_data().iter::<f32>().collect();
            let gradients = pooled.powi_scalar(3).sum().backward();
            let gradients = all_gradients(&bank, &gradients);
            assert!(!gradients.is_empty(), "{config}");
            (values, gradients)
        };
        let ((values, gradients), (rounded, rounded_gradients)) = (run(&whole), run(&half));
        let (far, far_gradients) = (distance(&values, &rounded), distance(&gradients, &rounded_gradients));
        assert!(far > 1e-5 && far < 0.02, "{config}: {far}");
        assert!(far_gradients > 1e-5 && far_gradients < 0.05, "{config}: the gradients, {far_gradients}");
    }
}

#[test]
fn the_table_of_word_embeddings_is_bf16_where_it_is_the_output_layer_of_a_language_model() {
    let Some(device) = device() else { return };
    for (config, is_bf16) in [
        (
            r#"{"model_type": "gpt2", "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 24}"#,
            true,
        ),
        (
            r#"{"model_type": "llama", "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24,
                "max_position_embeddings": 24, "tie_word_embeddings": true}"#,
            true,
        ),
        (
            r#"{"model_type": "llama", "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24,
                "max_position_embeddings": 24, "tie_word_embeddings": false}"#,
            false,
        ),
        (
            r#"{"model_type": "bert", "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 4, "intermediate_size": 24, "max_position_embeddings": 24}"#,
            false,
        ),
    ] {
        let whole = AutoModel::new_seeded(ModelConfig::from_json_str(config).unwrap(), 3, &device);
        let half = whole.clone().in_bf16().unwrap();
        assert_eq!(half.word_table().unwrap().dtype() == DType::BF16, is_bf16, "{config}");
        assert_eq!(half.word_embeddings(&[3, 5]).unwrap().dtype(), DType::F32);
        if !whole.has_token_logits() {
            continue;
        }
        let mut bank = AdapterBank::new(whole.spec(), &device.clone().autodiff());
        bank.add_for(&half, "a", "lora[init_weights='bert']".parse().unwrap(), 5).unwrap();
        let setup = Setup::adapter("a").training().without_base_dropout();
        bank.train_only(&setup).unwrap();
        let run = |model: &AutoModel| {
            let hidden = model.forward(&batch(), &bank.hooks(&setup).unwrap()).unwrap().hidden;
            let [rows, positions, width] = hidden.dims();
            let logits = model.token_logits(hidden.reshape([rows * positions, width])).unwrap();
            let values: Vec<f32> = logits.clone().into_data().iter::<f32>().collect();
            (values, all_gradients(&bank, &logits.powi_scalar(2).sum().backward()))
        };
        let ((values, gradients), (rounded, rounded_gradients)) = (run(&whole), run(&half));
        let (far, far_gradients) = (distance(&values, &rounded), distance(&gradients, &rounded_gradients));
        assert!(far > 1e-5 && far < 0.02, "{config}: {far}");
        assert!(far_gradients > 1e-5 && far_gradients < 0.05, "{config}: the gradients, {far_gradients}");
    }
}

#[test]
fn the_first_layers_alone_can_be_bf16() {
    let Some(device) = device() else { return };
    let whole = bert(&device);
    let lower = whole.clone().in_bf16_below(1).unwrap();
    let all = whole.clone().in_bf16().unwrap();
    let dtype = |model: &AutoModel, layer: usize| {
        let linear = model.linear(Site::encoder(layer, Place::FeedForwardUp)).unwrap();
        linear.weight.val().dtype()
    };
    assert_eq!([dtype(&lower, 0), dtype(&lower, 1)], [DType::BF16, DType::F32]);
    let states = |model: &AutoModel| {
        let bank = AdapterBank::new(model.spec(), &device);
        model.hidden_states(&batch(), &bank.hooks(&Setup::base()).unwrap()).unwrap()
    };
    let far = |one: &AutoModel, other: &AutoModel, depth: usize| {
        let difference = states(one)[depth].clone() - states(other)[depth].clone();
        difference.abs().max().into_scalar::<f32>()
    };
    assert_eq!(far(&lower, &all, 1), 0.0);
    assert!(far(&lower, &whole, 1) > 1e-5 && far(&lower, &all, 2) > 1e-5);
    assert!(whole.in_bf16_below(0).is_err());
}

#[test]
fn rows_together_are_rows_alone() {
    let Some(device) = device() else { return };
    let half = bert(&device).in_bf16().unwrap();
    let bank = AdapterBank::new(half.spec(), &device);
    let rows: Vec<Row> = (0..6).map(|row| Row::new((0..3 + row).map(|at| (row * 13 + at) as u32).collect())).collect();
    let pooled = |rows: &[Row]| {
        let hooks = bank.hooks(&Setup::base()).unwrap();
        half.forward_reading(&TokenBatch::from_rows(rows), &hooks, Reads::First).unwrap().pooled.unwrap()
    };
    let together = pooled(&rows);
    for (index, row) in rows.iter().enumerate() {
        let alone = pooled(std::slice::from_ref(row));
        let far = (together.clone().narrow(0, index, 1) - alone).abs().max().into_scalar::<f32>();
        assert!(far < 0.01, "row {index}: {far}");
    }
}

#[test]
fn what_is_merged_is_f32_again_and_unmerged_bf16() {
    let Some(device) = device() else { return };
    let half = bert(&device).in_bf16().unwrap();
    let mut bank = AdapterBank::new(half.spec(), &device);
    for (name, config) in [("l", "lora[init_weights='bert']"), ("d", "dora[init_weights='bert']"), ("i", "ia3")] {
        bank.add_for(&half, name, config.parse().unwrap(), 5).unwrap();
        let pooled = |bert: &AutoModel, setup: &Setup| {
            bert.forward(&batch(), &bank.hooks(setup).unwrap()).unwrap().pooled.unwrap()
        };
        let site = Site::encoder(0, if name == "i" { Place::Key } else { Place::Query });
        let kind = |bert: &AutoModel| bert.linear(site).unwrap().weight.val().dtype();
        let apart = pooled(&half, &Setup::adapter(name));
        let merged = MergedModel::merge(half.clone(), bank.adapter(name).unwrap()).unwrap();
        assert_eq!(kind(&merged), DType::F32, "{name}");
        let far = (pooled(&merged, &Setup::base()) - apart).abs().max().into_scalar::<f32>();
        assert!(far < 0.01, "{name}: {far}");
        assert_eq!(kind(&merged.unmerge()), DType::BF16, "{name}");
    }
}

#[test]
fn weights_that_are_trained_stay_f32() {
    let error = bert(&Device::default().autodiff()).in_bf16().unwrap_err();
    assert_eq!(error, Bf16Error::Trained);
}

#[test]
fn a_device_without_bf16_is_an_error() {
    let device = Device::default();
    if !device.supports_dtype(FloatDType::BF16) {
        let error = bert(&device).in_bf16().unwrap_err();
        assert!(matches!(error, Bf16Error::Unsupported { .. }), "{error}");
    }
}
