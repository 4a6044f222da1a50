//! Passes whose layers are computed again have the gradients of ordinary ones.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Output, RecordedPass, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, ModelConfig};

const ENCODERS: [&str; 3] = [
    r#"{"model_type": "bert", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 24, "max_position_embeddings": 24}"#,
    r#"{"model_type": "albert", "vocab_size": 40, "embedding_size": 8, "hidden_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 24}"#,
    r#"{"model_type": "deberta-v2", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3,
        "num_attention_heads": 2, "intermediate_size": 24, "max_position_embeddings": 24, "relative_attention": true,
        "pos_att_type": ["p2c", "c2p"], "norm_rel_ebd": "layer_norm", "conv_kernel_size": 3}"#,
];

const DECODERS: [&str; 2] = [
    r#"{"model_type": "gpt2", "vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 24}"#,
    r#"{"model_type": "llama", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 24}"#,
];

const ENCODER_DECODERS: [&str; 2] = [
    r#"{"model_type": "t5", "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}"#,
    r#"{"model_type": "bart", "vocab_size": 40, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
        "max_position_embeddings": 24}"#,
];

const METHODS: [&str; 9] = [
    "double_seq_bn[reduction_factor=4]",
    "seq_bn_inv[reduction_factor=4,leave_out=[0]]",
    "lora[attn_matrices=['q','v'],intermediate_lora=True,leave_out=[0]]",
    "ia3",
    "compacter[reduction_factor=1,phm_dim=2]",
    "prefix_tuning[prefix_length=3,bottleneck_size=4]",
    "prompt_tuning[prompt_length=2]",
    "loreft[dropout=0.0]",
    "unipelt",
];

fn model(config: &str) -> AutoModel {
    AutoModel::new_seeded(ModelConfig::from_json_str(config).unwrap(), 3, &Device::default())
}

fn batch() -> TokenBatch {
    TokenBatch::new([[5, 6, 7, 8, 2].as_slice(), &[8, 9, 2], &[10, 2]])
}

/// The gradients of parameters, added up by parameter.
#[derive(Default)]
struct Sum(BTreeMap<String, Vec<f32>>);

impl Sum {
    fn add(&mut self, bank: &AdapterBank, gradients: &Gradients) {
        struct Visit<'a>(&'a mut Sum, &'a Gradients);
        impl ModuleVisitor for Visit<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let Some(gradient) = param.val().grad(self.1) else { return };
                let values: Vec<f32> = gradient.into_data().iter::<f32>().collect();
                let sum = self.0.0.entry(param.id.to_string()).or_insert_with(|| vec![0.0; values.len()]);
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        bank.visit(&mut Visit(self, gradients));
    }

    #[track_caller]
    fn is_close_to(&self, other: &Self, what: &str) {
        assert!(!other.0.is_empty(), "{what}");
        for (id, expected) in &other.0 {
            let found = self.0.get(id).unwrap_or_else(|| panic!("{what}: a parameter without a gradient"));
            let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs())).max(1e-3);
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-4 * largest, "{what}: {found} is not {expected} ({largest})");
            }
        }
        // A layer that the loss does not depend on may have zeros here and nothing there.
        for (id, values) in &self.0 {
            assert!(other.0.contains_key(id) || values.iter().all(|value| *value == 0.0), "{what}");
        }
    }
}

/// Some number that depends on all that heads read.
fn loss(output: &Output) -> Tensor<1> {
    let hidden = output.hidden.clone().powi_scalar(3).mean();
    output.pooled.iter().fold(hidden, |sum, pooled| sum + pooled.clone().powi_scalar(2).mean())
}

fn compare(model: &AutoModel, bank: &mut AdapterBank, setup: &Setup, what: &str) {
    let setup = setup.clone().training().without_base_dropout();
    bank.train_only(&setup).unwrap();
    let (mut ordinary, mut again) = (Sum::default(), Sum::default());
    let output = model.forward_reading(&batch(), &bank.hooks(&setup).unwrap(), bank.reads(&setup)).unwrap();
    let expected = loss(&output);
    let value: f32 = expected.clone().into_scalar();
    ordinary.add(bank, &expected.backward());

    let pass = RecordedPass::new(model, bank, &setup, batch(), 1).unwrap();
    let found = loss(pass.output());
    let found_value: f32 = found.clone().into_scalar();
    assert!((found_value - value).abs() <= 1e-5 * value.abs(), "{what}: {found_value} is not {value}");
    let mut gradients = found.backward();
    pass.backward(model, bank, &mut gradients, |gradients| again.add(bank, &gradients)).unwrap();
    again.is_close_to(&ordinary, what);
}

#[test]
fn layers_that_are_computed_again_have_the_same_gradients() {
    for config in ENCODERS.into_iter().chain(DECODERS).chain(ENCODER_DECODERS) {
        let model = model(config);
        for method in METHODS {
            let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
            if bank.add_for(&model, "a", method.parse().unwrap(), 5).is_err() {
                continue; // Not every method fits every model.
            }
            compare(&model, &mut bank, &Setup::adapter("a"), &format!("{method} in {config}"));
        }
    }
}

#[test]
fn so_have_compositions() {
    for config in [ENCODERS[0], DECODERS[1], ENCODER_DECODERS[0]] {
        let model = model(config);
        for composition in ["Parallel(a, b)", "Stack(b, a)", "BatchSplit(a, b, batch_sizes=[1, 2])"] {
            let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
            bank.add_seeded("a", "seq_bn[reduction_factor=4]".parse().unwrap(), 1).unwrap();
            bank.add_seeded("b", "seq_bn[reduction_factor=2,leave_out=[0]]".parse().unwrap(), 2).unwrap();
            let setup = Setup::compose(composition.parse().unwrap());
            compare(&model, &mut bank, &setup, &format!("{composition} in {config}"));
        }
    }
}

#[test]
fn both_computations_of_a_layer_draw_the_same_dropout() {
    let config = ENCODERS[0].replace('}', r#", "hidden_dropout_prob": 0.4, "attention_probs_dropout_prob": 0.3}"#);
    let model = model(&config);
    let mut bank = AdapterBank::new(model.spec(), &Device::default().autodiff());
    bank.add_seeded("a", "lora[dropout=0.5,r=4]".parse().unwrap(), 1).unwrap();
    let setup = Setup::adapter("a").training();
    bank.train_only(&setup).unwrap();
    let run = |bank: &AdapterBank| {
        let pass = RecordedPass::new(&model, bank, &setup, batch(), 7).unwrap();
        let loss = pass.output().pooled.clone().unwrap().powi_scalar(3).sum();
        let value: f32 = loss.clone().into_scalar();
        let (mut gradients, mut sum) = (loss.backward(), Sum::default());
        pass.backward(&model, bank, &mut gradients, |gradients| sum.add(bank, &gradients)).unwrap();
        (value, sum)
    };
    let (value, gradients) = run(&bank);
    // A small step against the gradients lowers the loss by as much as they tell, if the same elements are dropped.
    struct Step<'a>(&'a Sum, f32);
    impl burn::module::ModuleMapper for Step<'_> {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(gradient) = self.0.0.get(&param.id.to_string()) else { return param };
            let rate = self.1;
            param.map(|x| {
                let gradient = burn::tensor::TensorData::new(gradient.clone(), x.shape());
                let moved = x.clone().inner() - Tensor::from_data(gradient, &Device::default()) * rate;
                moved.autodiff().require_grad()
            })
        }
    }
    let squares: f32 = gradients.0.values().flatten().map(|value| value * value).sum();
    let rate = 2e-3 / squares.sqrt();
    let (lower, _) = run(&bank.map(&mut Step(&gradients, rate)));
    let (found, expected) = (value - lower, rate * squares);
    assert!((found - expected).abs() < 0.05 * expected, "{found} is not {expected}");
}
