//! With quantized weights every method computes and learns exactly what it does with the same weights dequantized.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::Device;
use burn_adapters_core::{Bf16Error, Place, Site, has_own_kernels, is_quantized, quantized_matrix};
use burn_adapters_model::{
    AdapterBank, BaseModel, Forward, Hooks, Matrices, MergedModel, Reads, Row, Setup, TokenBatch,
};
use burn_adapters_tensors::{BlockType, RawTensor, encode_safetensors, fill, values};
use burn_adapters_transformers::{AutoModel, LoadError, ModelLoadReport, ModelSaveError, WeightFormat};

use crate::common::{all_gradients, folder};

const FORMATS: [(WeightFormat, BlockType); 2] =
    [(WeightFormat::Int8, BlockType::Q8_0), (WeightFormat::Int4, BlockType::Q4_1)];

/// A GPT-2 of one layer. Its files hold weights as `[input, output]`, and query, key and value as one matrix; the goldens'
/// one is too narrow for blocks.
fn gpt2() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let write = || {
        let narrow = burn_adapters_goldens::folder().join("families/gpt2/models/tiny/config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(narrow).unwrap()).unwrap();
        for (key, value) in [("n_embd", 32), ("n_inner", 64), ("n_layer", 1)] {
            config[key] = value.into();
        }
        let shapes = [
            ("wte.weight", vec![60, 32]),
            ("wpe.weight", vec![24, 32]),
            ("h.0.attn.c_attn.weight", vec![32, 96]),
            ("h.0.attn.c_attn.bias", vec![96]),
            ("h.0.attn.c_proj.weight", vec![32, 32]),
            ("h.0.attn.c_proj.bias", vec![32]),
            ("h.0.mlp.c_fc.weight", vec![32, 64]),
            ("h.0.mlp.c_fc.bias", vec![64]),
            ("h.0.mlp.c_proj.weight", vec![64, 32]),
            ("h.0.mlp.c_proj.bias", vec![32]),
            ("h.0.ln_1.weight", vec![32]),
            ("h.0.ln_1.bias", vec![32]),
            ("h.0.ln_2.weight", vec![32]),
            ("h.0.ln_2.bias", vec![32]),
            ("ln_f.weight", vec![32]),
            ("ln_f.bias", vec![32]),
        ];
        let tensors = shapes.into_iter().enumerate().map(|(seed, (name, shape))| {
            let count = shape.iter().product::<usize>();
            let values = (0..count).map(|at| (((at + seed * 131) * 7919) % 1009) as f32 / 1009.0 - 0.5).collect();
            (name.to_owned(), RawTensor { shape, values })
        });
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.safetensors");
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        std::fs::write(&file, encode_safetensors(&file, &tensors.collect(), &[]).unwrap()).unwrap();
        dir
    };
    FOLDER.get_or_init(write).path().to_owned()
}

#[test]
fn matrices_whose_rows_fill_no_blocks_are_not_quantized_and_named() {
    let narrow = burn_adapters_goldens::folder().join("families/gpt2/models/tiny");
    let (model, report) = load(&narrow, WeightFormat::Int4);
    assert!(!is_quantized(&model));
    assert_eq!(report.formats.not_quantized.len(), 13);
    assert!(report.to_string().contains("13 not quantized"), "{report}");
    let run = |model: &AutoModel| vector(model.forward(&batch(), &Hooks::none()).unwrap().hidden);
    assert_eq!(run(&model), run(&load(&narrow, WeightFormat::F32).0));
}

fn load(dir: &std::path::Path, format: WeightFormat) -> (AutoModel, ModelLoadReport) {
    AutoModel::from_dir_as(dir, format, &Device::default()).unwrap()
}

/// A model in f32 with the values of the quantized one.
fn twin(dir: &std::path::Path, format: WeightFormat) -> AutoModel {
    let mut rounded = values(&load(dir, format).0, |path| Some(path.to_string())).unwrap();
    fill(load(dir, WeightFormat::F32).0, |path, _| rounded.remove(&path.to_string()))
}

fn batch() -> TokenBatch {
    let rows: Vec<Row> =
        (0..5).map(|row| Row::new((0..9 - row).map(|at| (row * 31 + at * 7) as u32 % 50).collect())).collect();
    TokenBatch::from_rows(&rows)
}

/// How far apart, relative to the largest.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let size = a.iter().fold(0.0_f32, |size, value| size.max(value.abs()));
    a.iter().zip(b).fold(0.0_f32, |far, (a, b)| far.max((a - b).abs())) / size.max(1e-30)
}

fn vector<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

#[test]
fn the_matrices_of_a_folder_are_quantized_and_counted() {
    for dir in [folder("tiny-a"), gpt2()] {
        let (plain, whole) = load(&dir, WeightFormat::F32);
        for (format, kind) in FORMATS {
            let (model, report) = load(&dir, format);
            assert_eq!(report.parameters, whole.parameters);
            assert_eq!((report.tensors, &report.unused), (whole.tensors, &whole.unused));
            assert_eq!(is_quantized(&model), has_own_kernels(&Device::default()), "{report}");
            assert_eq!(report.formats.dequantized, !has_own_kernels(&Device::default()));
            if has_own_kernels(&Device::default()) {
                let (count, bytes) = report.formats.formats[&kind.to_string()];
                assert!(count >= 6 && bytes > 0 && report.formats.not_quantized.is_empty(), "{report}");
                assert!(report.to_string().contains(&format!("in {kind}")), "{report}");
            }
            // Rounded, but not by much: rows are where they belong.
            let dense = vector(burn_adapters_core::dense_weight(&matrix(&plain).weight));
            let rounded = vector(burn_adapters_core::dense_weight(&matrix(&model).weight));
            let far = distance(&dense, &rounded);
            assert!(far > 1e-4 && far < 0.1, "{kind}: {far}");
        }
    }
}

fn matrix(model: &AutoModel) -> &burn::nn::Linear {
    let spec = model.spec();
    let (site, _) = spec.matrices().find(|(site, _)| site.place == Place::FeedForwardUp).unwrap();
    model.linear(site).unwrap()
}

#[test]
fn every_method_computes_and_learns_what_it_does_with_the_dequantized_weights() {
    for (dir, format) in [(folder("tiny-a"), WeightFormat::Int8), (gpt2(), WeightFormat::Int4)] {
        let (quantized, twin) = (load(&dir, format).0, twin(&dir, format));
        for config in [
            "seq_bn[reduction_factor=4]",
            "seq_bn_inv[reduction_factor=4]",
            "prefix_tuning[prefix_length=3]",
            "prompt_tuning[prompt_length=4]",
            "lora[init_weights='bert',attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]",
            "dora[init_weights='bert']",
            "vera[init_weights='vera']",
            "ia3",
            "unipelt",
        ] {
            let device = Device::default().autodiff();
            let mut bank = AdapterBank::new(twin.spec(), &device);
            bank.add_for(&quantized, "a", config.parse().unwrap(), 5).unwrap();
            let setup = Setup::adapter("a").training().without_base_dropout();
            bank.train_only(&setup).unwrap();
            let run = |model: &AutoModel| {
                let hidden = model.forward(&batch(), &bank.hooks(&setup).unwrap()).unwrap().hidden;
                let gradients = hidden.clone().powi_scalar(3).sum().backward();
                let gradients = all_gradients(&bank, &gradients);
                assert!(!gradients.is_empty(), "{config}");
                (vector(hidden), gradients)
            };
            let ((expected, gradients), (found, found_gradients)) = (run(&twin), run(&quantized));
            let (far, far_gradients) = (distance(&expected, &found), distance(&gradients, &found_gradients));
            assert!(far < 1e-5, "{config}: {far:e}");
            assert!(far_gradients < 3e-5, "{config}: the gradients, {far_gradients:e}");
        }
        // Not one of them left a second copy of a weight behind.
        if has_own_kernels(&Device::default()) {
            assert!(quantized_matrix(&matrix(&quantized).weight).is_some());
        }
    }
}

#[test]
fn what_is_merged_is_f32_and_unmerged_quantized_again() {
    if !has_own_kernels(&Device::default()) {
        return;
    }
    let (dir, device) = (folder("tiny-a"), Device::default());
    let (quantized, twin) = (load(&dir, WeightFormat::Int8).0, twin(&dir, WeightFormat::Int8));
    let mut bank = AdapterBank::new(twin.spec(), &device);
    for (name, config) in [("l", "lora[init_weights='bert']"), ("d", "dora[init_weights='bert']"), ("i", "ia3")] {
        bank.add_for(&quantized, name, config.parse().unwrap(), 5).unwrap();
        let hidden = |model: &AutoModel, setup: &Setup| {
            vector(model.forward_reading(&batch(), &bank.hooks(setup).unwrap(), Reads::First).unwrap().hidden)
        };
        let site = Site::encoder(0, if name == "i" { Place::Key } else { Place::Query });
        let is_quantized = |model: &AutoModel| quantized_matrix(&model.linear(site).unwrap().weight).is_some();
        assert!(is_quantized(&quantized));
        let apart = hidden(&quantized, &Setup::adapter(name));
        let merged = MergedModel::merge(quantized.clone(), bank.adapter(name).unwrap()).unwrap();
        assert!(!is_quantized(&merged), "{name}");
        let far = distance(&apart, &hidden(&merged, &Setup::base()));
        assert!(far < 1e-5, "{name}: {far:e}");
        assert!(is_quantized(&merged.unmerge()), "{name}");
    }
}

#[test]
fn words_of_a_prompt_are_looked_up_in_the_quantized_table() {
    let dir = folder("tiny-a");
    let (quantized, twin) = (load(&dir, WeightFormat::Int4).0, twin(&dir, WeightFormat::Int4));
    let ids = [3, 0, 17, 3];
    let rows = |model: &AutoModel| vector(model.word_embeddings(&ids).unwrap());
    assert_eq!(rows(&quantized), rows(&twin));
}

#[test]
fn quantized_weights_that_are_trained_saved_or_converted_are_an_error() {
    let dir = folder("tiny-a");
    for format in [WeightFormat::Int8, WeightFormat::Int4, WeightFormat::AsStored] {
        let error = AutoModel::from_dir_as(&dir, format, &Device::default().autodiff()).unwrap_err();
        assert!(matches!(error, LoadError::Quantized(_)), "{error}");
    }
    if has_own_kernels(&Device::default()) {
        let model = load(&dir, WeightFormat::Int8).0;
        let file = tempfile::tempdir().unwrap().path().join("model.safetensors");
        let error = model.save(&dir, &file).unwrap_err();
        assert!(matches!(error, ModelSaveError::Quantized), "{error}");
        assert_eq!(model.in_bf16().unwrap_err(), Bf16Error::Quantized);
    }
}

/// A value that was set, by loading or training, counts: the blocks are those of another weight.
#[test]
fn a_weight_that_was_replaced_is_used_instead_of_the_blocks() {
    let dir = folder("tiny-a");
    let quantized = load(&dir, WeightFormat::Int4).0;
    let (whole, _) = load(&dir, WeightFormat::F32);
    let mut wanted = values(&whole, |path| Some(path.to_string())).unwrap();
    let replaced = fill(quantized, |path, _| wanted.remove(&path.to_string()));
    let run = |model: &AutoModel| vector(model.forward(&batch(), &Hooks::none()).unwrap().hidden);
    assert_eq!(run(&replaced), run(&whole));
}
