//! Adapters of encoder-decoders that the reference refuses, or fails to run.

use burn::tensor::{Device, Tensor};
use burn_adapters_core::{Place, Site};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Mergeable, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, ModelConfig};

/// A model whose stacks have different numbers of heads.
fn model() -> AutoModel {
    let config = ModelConfig::from_json_str(
        r#"{"model_type": "bart", "vocab_size": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 4, "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
        "max_position_embeddings": 24}"#,
    );
    AutoModel::new_seeded(config.unwrap(), 1, &Device::default())
}

/// How far an adapter moves the states of the decoder.
fn change(config: &str) -> f32 {
    let model = model();
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
    let batch = TokenBatch::new([[5, 6, 7, 2].as_slice(), &[8, 2]]);
    let plain = model.forward(&batch, &Hooks::none()).unwrap().hidden;
    let adapted = model.forward(&batch, &bank.hooks(&Setup::adapter("a")).unwrap()).unwrap().hidden;
    assert_eq!(plain.dims(), adapted.dims(), "{config}");
    (plain - adapted).abs().max().into_scalar()
}

#[test]
fn prefixes_fit_stacks_with_different_numbers_of_heads() {
    for place in ["encoder_prefix=True,cross_prefix=False", "encoder_prefix=False,cross_prefix=True"] {
        assert!(change(&format!("prefix_tuning_flat[prefix_length=3,{place}]")) > 1e-4, "{place}");
    }
}

#[test]
fn a_prompt_is_a_part_of_the_encoder_s_input() {
    assert!(change("prompt_tuning[prompt_length=3,random_uniform_scale=2.0]") > 1e-4);
}

#[test]
fn a_relative_bias_acts_in_layers_with_prefixes_after_a_layer_without() {
    let config = ModelConfig::from_json_str(
        r#"{"model_type": "t5", "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}"#,
    );
    let mut model = AutoModel::new_seeded(config.unwrap(), 1, &Device::default());
    // The first layer's attention adds nothing, so only the second can tell positions apart.
    let value = model.linear_mut(Site::encoder(0, Place::Value)).unwrap();
    value.weight = value.weight.clone().map(|weight| weight * 0.0);
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add_seeded("a", "prefix_tuning_flat[prefix_length=3,leave_out=[0]]".parse().unwrap(), 1).unwrap();
    let hooks = bank.hooks(&Setup::adapter("a")).unwrap();
    // Of the same token at two positions, after the embeddings and so many layers.
    let difference = |layers: usize| -> f32 {
        let state = |tokens: [u32; 4], position: usize| -> Tensor<3> {
            let states = model.hidden_states(&TokenBatch::new([tokens.as_slice()]), &hooks).unwrap();
            states[layers].clone().narrow(1, position, 1)
        };
        (state([5, 6, 7, 8], 0) - state([8, 7, 6, 5], 3)).abs().max().into_scalar()
    };
    assert!(difference(1) < 1e-6, "{}", difference(1));
    assert!(difference(2) > 1e-4, "{}", difference(2));
}
