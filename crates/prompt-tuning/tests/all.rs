//! Parity with the Python library `adapters`: see `goldens/make.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::{Module, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData, Tolerance};
use burn_adapters_config::{PromptCombine, PromptInit, PromptTuningConfig};
use burn_adapters_core::{Init, ModelSpec, StackSpec};
use burn_adapters_prompt_tuning::{PromptError, PromptTuning};
use serde_json::Value;

const CASES: [(&str, PromptCombine); 3] = [
    ("prefix", PromptCombine::Prefix),
    ("prefix_padded_left", PromptCombine::Prefix),
    ("after_bos", PromptCombine::PrefixAfterBos),
];

fn goldens() -> Value {
    serde_json::from_str(include_str!("goldens/prompt.json")).unwrap()
}

fn data(golden: &Value) -> TensorData {
    let shape: Vec<usize> = serde_json::from_value(golden["shape"].clone()).unwrap();
    let values: Vec<f32> = serde_json::from_value(golden["data"].clone()).unwrap();
    TensorData::new(values, shape)
}

fn tensor<const D: usize>(golden: &Value, device: &Device) -> Tensor<D> {
    Tensor::from_data(data(golden), device)
}

fn padding(golden: &Value, device: &Device) -> Tensor<2, Bool> {
    let rows: Vec<Vec<u8>> = serde_json::from_value(golden.clone()).unwrap();
    let shape = [rows.len(), rows[0].len()];
    let values: Vec<bool> = rows.into_iter().flatten().map(|padded| padded == 1).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn prompt(golden: &Value, combine: PromptCombine, device: &Device) -> PromptTuning {
    let config = PromptTuningConfig::prompt_tuning().with_prompt_length(3).with_combine(combine);
    let mut prompt = PromptTuning::new(&config, 6, &mut Init::from_seed(1), device).unwrap();
    let weight = &mut prompt.prompt_embedding.weight;
    *weight = Param::initialized(weight.id, tensor(&golden["prompt"], device)).set_require_grad(true);
    prompt
}

#[test]
fn embeddings_and_masks_are_those_of_the_reference() {
    let (goldens, device) = (goldens(), Device::default());
    for (name, combine) in CASES {
        let golden = &goldens[name];
        let (embeddings, mask) = prompt(golden, combine, &device)
            .forward(tensor(&golden["embeddings"], &device), padding(&golden["padding"], &device))
            .unwrap();
        assert_eq!(mask.into_data(), padding(&golden["padding_out"], &device).into_data(), "{name}");
        embeddings.into_data().assert_approx_eq::<f32>(&data(&golden["embeddings_out"]), Tolerance::absolute(1e-5));
    }
}

#[test]
fn a_training_step_is_that_of_the_reference() {
    let (goldens, device) = (goldens(), Device::default().autodiff());
    for (name, combine) in CASES {
        let golden = &goldens[name];
        let prompt = prompt(golden, combine, &device);
        // The embeddings of a frozen model have no gradients.
        let plain = Device::default();
        let (embeddings, _) =
            prompt.forward(tensor(&golden["embeddings"], &plain), padding(&golden["padding"], &plain)).unwrap();
        let gradients = (embeddings * tensor(&golden["weight"], &plain)).sum().backward();
        let gradients = GradientsParams::from_grads(gradients, &prompt);
        let prompt = SgdConfig::new().init().step(0.1, prompt, gradients);
        let after = prompt.prompt_embedding.weight.val().into_data();
        after.assert_approx_eq::<f32>(&data(&golden["after"]), Tolerance::absolute(1e-5));
    }
}

// Properties of prompts beyond the reference's numbers.

fn config() -> PromptTuningConfig {
    PromptTuningConfig::prompt_tuning()
}

fn new(config: &PromptTuningConfig, embedding_size: usize) -> Result<PromptTuning, PromptError> {
    PromptTuning::new(config, embedding_size, &mut Init::from_seed(1), &Device::default())
}

fn values(tensor: Tensor<3>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

#[test]
fn parameters_are_counted_as_the_reference_counts_them_and_before_they_are_drawn() {
    for (layers, hidden, length, expected) in [
        (12, 768, 10, 7_680),
        (12, 768, 100, 76_800),
        (24, 1024, 10, 10_240),
        (24, 1024, 100, 102_400),
        (2, 128, 10, 1_280),
        (6, 384, 10, 3_840),
    ] {
        let spec = ModelSpec::new("bert", hidden).with_stack(StackSpec::encoder(layers, hidden, 2, 4 * hidden));
        let prompt = new(&config().with_prompt_length(length), spec.embedding_size).unwrap();
        assert_eq!(Module::num_params(&prompt), expected);
        assert!(!prompt.prompt_embedding.weight.is_initialized());
    }
}

#[test]
fn values_are_drawn_within_the_scale() {
    let config = config().with_prompt_length(50).with_random_uniform_scale(0.1);
    let weight = new(&config, 20).unwrap().prompt_embedding.weight.val();
    let largest = weight.abs().max().into_scalar::<f32>();
    assert!(largest <= 0.1 && largest > 0.09, "{largest}");
}

#[test]
fn a_text_is_repeated_or_cut() {
    let device = Device::default();
    let text = || Tensor::<2>::from_data([[1.0], [2.0], [3.0]], &device);
    for (length, expected) in [(2, vec![1.0, 2.0]), (5, vec![1.0, 2.0, 3.0, 1.0, 2.0])] {
        let prompt = PromptTuning::from_embeddings(&config().with_prompt_length(length), text(), &device).unwrap();
        let weight = prompt.prompt_embedding.weight.val().into_data();
        assert_eq!(weight.iter::<f32>().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_prompt_from_a_text_is_trained() {
    let device = Device::default().autodiff();
    let text = Tensor::<2>::ones([2, 4], &Device::default());
    let prompt = PromptTuning::from_embeddings(&config().with_prompt_length(3), text, &device).unwrap();
    let padding = Tensor::<2, Bool>::full([2, 1], false, &device);
    let (embeddings, _) = prompt.forward(Tensor::zeros([2, 1, 4], &device), padding).unwrap();
    let gradients = embeddings.sum().backward();
    let gradient = prompt.prompt_embedding.weight.val().grad(&gradients).unwrap();
    assert_eq!(gradient.sum().into_scalar::<f32>(), 2.0 * 12.0);
}

#[test]
fn the_mask_grows_at_its_front_wherever_the_prompt_goes() {
    let device = Device::default();
    let config =
        config().with_prompt_length(2).with_combine(PromptCombine::PrefixAfterBos).with_random_uniform_scale(0.0);
    let embeddings = Tensor::<3>::from_data([[[7.0], [8.0]]], &device);
    let padding = Tensor::<2, Bool>::from_data([[true, false]], &device);
    let (embeddings, padding) = new(&config, 1).unwrap().forward(embeddings, padding).unwrap();
    assert_eq!(values(embeddings), [7.0, 0.0, 0.0, 8.0]);
    // As in the reference: after a first token that is padding, the mask is off by one.
    assert_eq!(padding.into_data().iter::<bool>().collect::<Vec<_>>(), [false, false, true, false]);
}

#[test]
fn one_token_may_have_a_prompt_behind_it() {
    let device = Device::default();
    let config = config().with_prompt_length(2).with_combine(PromptCombine::PrefixAfterBos);
    let padding = || Tensor::<2, Bool>::full([1, 1], false, &device);
    let prompt = new(&config, 3).unwrap();
    let (embeddings, _) = prompt.forward(Tensor::ones([1, 1, 3], &device), padding()).unwrap();
    assert_eq!(embeddings.dims(), [1, 3, 3]);
    assert_eq!(values(embeddings)[..3], [1.0, 1.0, 1.0]);
}

#[test]
fn what_cannot_be_is_an_error() {
    let device = Device::default();
    assert_eq!(new(&config().with_prompt_length(0), 4).unwrap_err(), PromptError::ZeroLength);
    let from_text = config().with_prompt_init(PromptInit::FromString);
    assert_eq!(new(&from_text, 4).unwrap_err(), PromptError::NeedsEmbeddings);
    assert!(PromptTuning::for_loading(&from_text, 4, &mut Init::from_seed(1), &device).is_ok());
    let wide = Tensor::<3>::ones([1, 2, 5], &device);
    let padding = Tensor::<2, Bool>::full([1, 2], false, &device);
    assert_eq!(
        new(&config(), 4).unwrap().forward(wide, padding).unwrap_err(),
        PromptError::Width { expected: 4, found: 5 }
    );
}
