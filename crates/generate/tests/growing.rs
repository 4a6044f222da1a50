//! Texts that grow together: each is the same as alone, whatever its adapter, and whenever it joins.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_generate::{GenerateError, GenerationOptions, GrowingText, generate, head_logits};
use burn_adapters_goldens::Noise;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, BertConfig, ModelConfig};

const VOCABULARY: usize = 61;
/// Methods that act everywhere: on matrices, sublayers, attention, embeddings, whole texts, and behind gates.
const METHODS: [(&str, &str); 8] = [
    ("bottleneck", "seq_bn[reduction_factor=2]"),
    ("compacter", "compacter[phm_dim=2,reduction_factor=4]"),
    ("ia3", "ia3"),
    ("lora", "lora[r=4]"),
    ("prefix", "prefix_tuning_flat[prefix_length=3]"),
    ("prompt", "prompt_tuning[prompt_length=2]"),
    ("reft", "loreft[r=2]"),
    ("unipelt", "unipelt"),
];

fn model(config: &str) -> AutoModel {
    AutoModel::new_seeded(ModelConfig::from_json_str(config).unwrap(), 3, &Device::default())
        .map(&mut Noise::new(0.5, 1))
}

fn llama() -> AutoModel {
    model(
        r#"{"model_type": "llama", "vocab_size": 61, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 48, "rms_norm_eps": 1e-5,
            "tie_word_embeddings": true}"#,
    )
}

fn gpt2() -> AutoModel {
    model(r#"{"model_type": "gpt2", "vocab_size": 61, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 48}"#)
}

/// All adapters, each with the model's output layer as its head.
fn bank(model: &AutoModel) -> AdapterBank {
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    for (seed, (name, config)) in METHODS.into_iter().enumerate() {
        let (adapter, _) = bank.plan(name, config.parse().unwrap()).unwrap();
        bank.insert(adapter.map(&mut Noise::new(0.5, seed as u32))).unwrap();
        bank.add_model_head(name, &HeadConfig::causal_lm(VOCABULARY)).unwrap();
    }
    bank
}

/// The new tokens of a text that is continued alone.
fn alone(model: &AutoModel, bank: &AdapterBank, adapter: Option<&str>, prompt: &[u32], count: usize) -> Vec<u32> {
    let setup = adapter.map_or_else(Setup::base, Setup::adapter);
    let hooks = bank.hooks(&setup).unwrap();
    let logits = |states| head_logits(model, bank, &setup, states);
    let logits_alone = |states| Ok(burn_adapters_model::Forward::token_logits(model, states)?);
    let options = GenerationOptions::greedy().with_max_new_tokens(count);
    let prompts = TokenBatch::new([prompt]);
    let texts = match adapter {
        Some(_) => generate(model, &hooks, &prompts, &logits, &options),
        None => generate(model, &hooks, &prompts, &logits_alone, &options),
    };
    texts.unwrap().remove(0).ids
}

fn greatest(logits: &[f32]) -> u32 {
    (0..logits.len()).max_by(|one, other| logits[*one].total_cmp(&logits[*other])).unwrap() as u32
}

/// A text beside others: when it joins, how many tokens it gets, and its new tokens.
struct Planned {
    adapter: Option<&'static str>,
    prompt: Vec<u32>,
    joins: usize,
    count: usize,
    found: Vec<u32>,
}

fn planned() -> Vec<Planned> {
    let adapters = METHODS.iter().map(|(name, _)| Some(*name)).chain([None, Some("lora"), None, Some("unipelt")]);
    let plan = |(index, adapter): (usize, Option<&'static str>)| Planned {
        adapter,
        prompt: (0..3 + index * 5 % 9).map(|at| ((index * 17 + at * 29) % VOCABULARY) as u32).collect(),
        joins: index * 2 % 7,
        count: 4 + index * 3 % 8,
        found: Vec::new(),
    };
    adapters.enumerate().map(plan).collect()
}

fn each_text_is_the_same_as_alone(model: &AutoModel) {
    let bank = bank(model);
    let mut plans = planned();
    let mut running: Vec<(usize, GrowingText)> = Vec::new();
    for step in 0.. {
        for (index, plan) in plans.iter_mut().enumerate().filter(|(_, plan)| plan.joins == step) {
            let mut text = GrowingText::new(plan.adapter, plan.prompt.clone());
            // In parts of three tokens, unless the adapter needs the whole prompt.
            let logits = loop {
                if let Some(logits) = text.read(model, &bank, 3).unwrap() {
                    break logits;
                }
            };
            plan.found.push(greatest(&logits));
            text.push(plan.found[0]);
            running.push((index, text));
        }
        running.retain(|(index, _)| plans[*index].found.len() < plans[*index].count);
        if running.is_empty() {
            assert!(step > 6, "texts leave the batch one after the other");
            break;
        }
        let mut texts: Vec<&mut GrowingText> = running.iter_mut().map(|(_, text)| text).collect();
        let logits = GrowingText::step(model, &bank, &mut texts).unwrap();
        for ((index, text), logits) in running.iter_mut().zip(logits) {
            let token = greatest(&logits);
            text.push(token);
            plans[*index].found.push(token);
        }
    }
    for plan in &plans {
        let expected = alone(model, &bank, plan.adapter, &plan.prompt, plan.count);
        assert_eq!(plan.found, expected, "{:?}", plan.adapter);
    }
    // The adapters have an effect: each continues the same prompt in another way.
    let texts: BTreeSet<_> =
        METHODS.iter().map(|(name, _)| alone(model, &bank, Some(name), &[5, 6, 7, 8], 12)).collect();
    assert!(texts.len() >= 7, "{texts:?}");
}

#[test]
fn each_text_of_a_llama_is_the_same_as_alone() {
    each_text_is_the_same_as_alone(&llama());
}

#[test]
fn each_text_of_a_gpt2_is_the_same_as_alone() {
    each_text_is_the_same_as_alone(&gpt2());
}

#[test]
fn a_text_may_be_copied_after_its_prompt() {
    let model = llama();
    let bank = bank(&model);
    let mut one = GrowingText::new(Some("prefix"), vec![1, 2, 3]);
    let logits = one.read(&model, &bank, usize::MAX).unwrap().unwrap();
    let mut other = one.clone();
    one.push(greatest(&logits));
    other.push(9);
    let both = GrowingText::step(&model, &bank, &mut [&mut one, &mut other]).unwrap();
    for (text, logits) in [one, other].iter().zip(&both) {
        assert_eq!(greatest(logits), alone(&model, &bank, Some("prefix"), text.tokens(), 1)[0]);
    }
}

#[test]
fn what_cannot_be_continued_is_told() {
    let model = llama();
    let bank = bank(&model);
    let mut unread = GrowingText::new(None, vec![1, 2]);
    let error = GrowingText::step(&model, &bank, &mut [&mut unread]).unwrap_err();
    assert!(matches!(error, GenerateError::Unread { row: 0, found: 2 }), "{error}");
    let error = GrowingText::new(Some("nobody"), vec![1]).read(&model, &bank, 9).unwrap_err();
    assert!(error.to_string().contains("nobody"), "{error}");
    let error = GrowingText::new(None, vec![1; 48]).read(&model, &bank, 9).unwrap_err();
    assert!(matches!(error, GenerateError::NoRoom { length: 48, max: 48, .. }), "{error}");
    let error = GrowingText::new(None, vec![]).read(&model, &bank, 9).unwrap_err();
    assert!(error.to_string().contains("at least one"), "{error}");
    let encoder = AutoModel::new(&BertConfig::new(50, 8, 1, 2, 16), &Device::default());
    let bank = AdapterBank::new(encoder.spec(), &Device::default());
    let error = GrowingText::new(None, vec![1]).read(&encoder, &bank, 9).unwrap_err();
    assert!(matches!(error, GenerateError::NotADecoder), "{error}");
}
