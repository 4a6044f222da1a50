//! GGUF files whose blocks are kept: the logits, the training and the memory of their dequantized twins.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor};
use burn_adapters_checkpoint::{SaveOptions, load_adapter, save_adapter};
use burn_adapters_core::has_own_kernels;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup, TokenBatch};
use burn_adapters_tensors::{BlockType, Gguf, GgufTensor, TensorFileError, write_gguf};
use burn_adapters_tests::{Golden, goldens, largest_difference, values};
use burn_adapters_transformers::{AutoModel, WeightFormat};

fn file(name: &str) -> PathBuf {
    goldens().join("gguf").join(format!("{name}.gguf"))
}

fn load(path: &Path, format: WeightFormat) -> AutoModel {
    AutoModel::from_dir_as(path, format, &Device::default()).unwrap().0
}

/// A model with its blocks, and its dequantized twin.
fn twins(path: &Path) -> [AutoModel; 2] {
    [load(path, WeightFormat::AsStored), load(path, WeightFormat::F32)]
}

fn logits(model: &AutoModel, batch: &TokenBatch, hooks: &Hooks<'_>) -> Tensor<2> {
    model.token_logits(model.forward(batch, hooks).unwrap().hidden.flatten(0, 1)).unwrap()
}

fn close(found: &[f32], expected: &[f32], bound: f32) {
    let difference = largest_difference(found, expected);
    assert!(difference < bound, "{difference:e}");
}

fn batch() -> TokenBatch {
    // After 5, 6 and 7, some tokens (200) have a state that magnifies rounding: there the dequantized twin is 1e-5 from the logits
    // in f64, and the blocks 1e-6.
    TokenBatch::new([[5, 6, 7, 18, 19].as_slice(), &[44, 8, 12, 300, 311]])
}

/// The Llama whose output layer is its table of word embeddings, with every matrix in blocks of a type.
fn tied(kind: BlockType, dir: &Path) -> PathBuf {
    let golden = Gguf::open(&file("llama_tied"), u64::MAX).unwrap();
    let metadata: Vec<_> = golden.metadata().iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let tensor = |(name, shape): (&str, &[usize])| {
        let kind = if shape.len() == 2 { kind } else { BlockType::F32 };
        GgufTensor { name: name.to_owned(), shape: shape.to_vec(), kind }
    };
    let tensors: Vec<_> = golden.tensors().map(tensor).collect();
    let path = dir.join(format!("{kind}.gguf"));
    write_gguf::<TensorFileError>(&path, &metadata, &tensors, |name| golden.read(name)).unwrap();
    path
}

#[test]
fn blocks_that_are_kept_give_the_logits_of_transformers_and_of_the_dequantized_model() {
    let [kept, dense] = twins(&file("quantized"));
    let golden = Golden::read(&file("quantized").with_extension("safetensors"));
    let (shape, ids) = &golden.0["input_ids"];
    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
    let batch = TokenBatch::new(ids.chunks(shape[1]));
    let [kept, dense] = [kept, dense].map(|model| values(logits(&model, &batch, &Hooks::none())));
    close(&kept, golden.values("logits"), 1e-4);
    close(&kept, &dense, 1e-5);
}

#[test]
fn a_table_in_blocks_is_looked_up_and_is_the_output_layer() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [BlockType::Q8_0, BlockType::Q4_0, BlockType::Q4_1, BlockType::F16, BlockType::Bf16] {
        let [kept, dense] = twins(&tied(kind, dir.path()));
        // Many positions, and a single one, which is multiplied in another way.
        for batch in [batch(), TokenBatch::new([[7].as_slice()])] {
            let [kept, dense] = [&kept, &dense].map(|model| values(logits(model, &batch, &Hooks::none())));
            close(&kept, &dense, 1e-5);
        }
    }
}

#[test]
fn kept_weights_take_the_memory_of_the_file() {
    if !has_own_kernels(&Device::default()) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = tied(BlockType::Q4_0, dir.path());
    let (model, report) = AutoModel::from_dir_as(&path, WeightFormat::AsStored, &Device::default()).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    let bytes: u64 = report.formats.formats.values().map(|(_, bytes)| bytes).sum();
    assert!(report.formats.formats.keys().eq(["Q4_0"]), "{report}");
    assert!(bytes < size && 5 * bytes > 2 * size, "{bytes} of {size}");
    // A pass, generation's shape and a backward pass leave no dequantized matrix behind.
    let (training, _) = step(&model, None);
    assert!(training.is_finite());
    let unread = burn_adapters_tensors::parameters(&model).len();
    struct Initialized(usize);
    impl burn_adapters_tensors::ParameterVisitor for Initialized {
        fn visit<const D: usize>(
            &mut self,
            _: &burn_adapters_tensors::ModulePath,
            param: &burn::module::Param<Tensor<D>>,
        ) {
            self.0 += usize::from(D == 2 && param.is_initialized());
        }
    }
    let mut initialized = Initialized(0);
    burn_adapters_tensors::visit_parameters(&model, &mut initialized);
    assert!(unread > 0);
    assert_eq!(initialized.0, 0);
}

/// The loss of a batch and the logits after a step of SGD with a LoRA on every matrix that has one.
fn step(model: &AutoModel, folder: Option<&Path>) -> (f32, Vec<f32>) {
    let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
    let config = "lora[r=2,init_weights='bert',attn_matrices=['q','k','v'],intermediate_lora=True,output_lora=True]";
    bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
    let setup = Setup::adapter("a").training().without_base_dropout();
    bank.train_only(&setup).unwrap();
    let found = logits(model, &batch(), &bank.hooks(&setup).unwrap());
    let loss = found.powi_scalar(2).mean();
    let gradients = GradientsParams::from_grads(loss.backward(), &bank);
    let mut sgd = SgdConfig::new().init();
    let bank = sgd.step(0.5, bank, gradients);
    let after = values(logits(model, &batch(), &bank.hooks(&Setup::adapter("a")).unwrap()));
    if let Some(folder) = folder {
        save_adapter(folder, &bank, "a", &SaveOptions::default()).unwrap();
    }
    (loss.into_scalar::<f32>(), after)
}

#[test]
fn a_step_of_training_on_kept_blocks_is_that_on_the_dequantized_model() {
    for path in [file("quantized"), tied(BlockType::Q4_1, tempfile::tempdir().unwrap().keep().as_path())] {
        let [(kept_loss, kept), (loss, dense)] = twins(&path).map(|model| step(&model, None));
        assert!((kept_loss - loss).abs() < 1e-5 * loss.abs(), "{kept_loss} {loss}");
        close(&kept, &dense, 1e-4);
        // The step has changed the logits by more than that.
        let [plain, _] = twins(&path).map(|model| values(logits(&model, &batch(), &Hooks::none())));
        assert!(largest_difference(&plain, &dense) > 1e-2);
    }
}

#[test]
fn an_adapter_that_was_trained_on_kept_blocks_is_saved_and_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("adapter");
    let model = load(&file("quantized"), WeightFormat::AsStored);
    let (_, expected) = step(&model, Some(&folder));
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    load_adapter(&folder, &mut bank, None).unwrap();
    let found = values(logits(&model, &batch(), &bank.hooks(&Setup::adapter("a")).unwrap()));
    close(&found, &expected, 1e-5);
}
