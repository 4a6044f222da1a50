//! Parity with the Python library `adapters`: see `goldens/make.py`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::module::Param;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Bool, Device, Tensor, TensorData, Tolerance};
use burn_adapters_config::{PromptCombine, PromptTuningConfig};
use burn_adapters_core::Init;
use burn_adapters_prompt_tuning::PromptTuning;
use serde_json::Value;

const CASES: [(&str, PromptCombine); 3] = [
    ("prefix", PromptCombine::Prefix),
    ("prefix_padded_left", PromptCombine::Prefix),
    ("after_bos", PromptCombine::PrefixAfterBos),
];

fn goldens() -> Value {
    serde_json::from_str(include_str!("../goldens/prompt.json")).unwrap()
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
