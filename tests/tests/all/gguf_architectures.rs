//! What architectures of GGUF files have of their own: GPT-2's matrices, encoders' states and tokens.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{load_adapter, save_gguf_adapter};
use burn_adapters_core::has_own_kernels;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Row, Setup, Text, TokenBatch};
use burn_adapters_tensors::{
    BlockType, Gguf, GgufTensor, GgufTexts, GgufValue, RawTensor, TensorFileError, encode_safetensors, write_gguf,
};
use burn_adapters_tests::{Golden, largest_difference, read_json, values};
use burn_adapters_transformers::{AutoModel, GgufFormat, ModelConfig, Tokenizer, WeightFormat};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gguf::{as_folder, file};

/// The contents of a file.
pub(crate) struct Contents {
    pub(crate) metadata: BTreeMap<String, GgufValue>,
    pub(crate) tensors: BTreeMap<String, (BlockType, Vec<usize>, Vec<f32>)>,
}

impl Contents {
    pub(crate) fn of(name: &str) -> Self {
        let golden = Gguf::open(&file(name), u64::MAX).unwrap();
        let tensor = |(name, shape): (&str, &[usize])| {
            (name.to_owned(), (BlockType::F32, shape.to_vec(), golden.read(name).unwrap()))
        };
        Self { metadata: golden.metadata().clone(), tensors: golden.tensors().map(tensor).collect() }
    }

    pub(crate) fn set(mut self, key: &str, value: impl Into<GgufValue>) -> Self {
        self.metadata.insert(key.to_owned(), value.into());
        self
    }

    pub(crate) fn tensor(mut self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.tensors.insert(name.to_owned(), (BlockType::F32, shape.to_vec(), values.to_vec()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        assert!(self.metadata.remove(name).is_some() || self.tensors.remove(name).is_some(), "{name}");
        self
    }

    pub(crate) fn write(&self) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        let metadata: Vec<_> = self.metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        let tensors = self.tensors.iter();
        let tensors: Vec<_> = tensors
            .map(|(name, (kind, shape, _))| GgufTensor { name: name.clone(), shape: shape.clone(), kind: *kind })
            .collect();
        write_gguf::<TensorFileError>(&path, &metadata, &tensors, |name| Ok(self.tensors[name].2.clone())).unwrap();
        (dir, path)
    }

    pub(crate) fn config(&self) -> Result<ModelConfig, String> {
        ModelConfig::from_dir(&self.write().1).map_err(|error| error.to_string())
    }

    pub(crate) fn load(&self) -> Result<AutoModel, String> {
        AutoModel::from_dir(&self.write().1, &Device::default())
            .map(|(model, _)| model)
            .map_err(|error| error.to_string())
    }
}

/// The logits of a text.
pub(crate) fn logits(model: &AutoModel) -> Vec<f32> {
    let batch = TokenBatch::new([[5, 6, 7, 8, 9, 30, 31, 12, 3, 14].as_slice()]);
    let hidden = model.forward(&batch, &Hooks::none()).unwrap().hidden;
    values(model.token_logits(hidden.flatten(0, 1)).unwrap())
}

pub(crate) fn from_dir(path: &Path) -> AutoModel {
    AutoModel::from_dir(path, &Device::default()).unwrap().0
}

/// Changes a key of a folder's `config.json`.
pub(crate) fn change_config(folder: &Path, key: &str, value: Value) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(&path, config.to_string()).unwrap();
}

/// GPT-2 as a folder of Hugging Face, with the tokenizer of the file.
fn gpt2_as_folder(dir: &Path) {
    // The other model has the same tokenizer.
    as_folder(dir);
    let config = json!({
        "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "vocab_size": 320, "n_positions": 40,
        "layer_norm_epsilon": 1e-4, "bos_token_id": 1, "eos_token_id": 2,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let names = [
        ("token_embd", "wte"),
        ("position_embd", "wpe"),
        ("output_norm", "ln_f"),
        ("blk", "h"),
        ("attn_norm", "ln_1"),
        ("ffn_norm", "ln_2"),
        ("attn_qkv", "attn.c_attn"),
        ("attn_output", "attn.c_proj"),
        ("ffn_up", "mlp.c_fc"),
        ("ffn_down", "mlp.c_proj"),
    ];
    let part = |part: &str| {
        names.iter().find(|(stored, _)| *stored == part).map_or(part.to_owned(), |(_, own)| (*own).to_owned())
    };
    let mut tensors = BTreeMap::new();
    for (name, (_, mut shape, mut values)) in Contents::of("gpt2").tensors {
        let own: Vec<String> = name.split('.').map(part).collect();
        if name.starts_with("blk") && shape.len() == 2 {
            let [rows, columns] = [shape[0], shape[1]];
            values = (0..rows * columns).map(|at| values[at % rows * columns + at / rows]).collect();
            shape.reverse();
        }
        tensors.insert(format!("transformer.{}", own.join(".")), RawTensor { shape, values });
    }
    let bytes = encode_safetensors(dir, &tensors, &[("format", "pt")]).unwrap();
    std::fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

#[test]
fn a_folder_of_gpt_2_becomes_the_file_that_python_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (dir.path().join("gpt2"), dir.path().join("gpt2.gguf"));
    gpt2_as_folder(&folder);
    let model = from_dir(&folder);
    assert_eq!(logits(&model), logits(&from_dir(&file("gpt2"))));
    model.save_gguf(&folder, &path, GgufFormat::F32).unwrap();
    let (written, golden) = (Gguf::open(&path, u64::MAX).unwrap(), Gguf::open(&file("gpt2"), u64::MAX).unwrap());
    assert!(written.tensors().eq(golden.tensors()));
    for (name, _) in golden.tensors() {
        assert_eq!(written.read::<f32>(name).unwrap(), golden.read::<f32>(name).unwrap(), "{name}");
    }
    for (key, value) in golden.metadata() {
        let found = written.metadata().get(key);
        let is_name = |found: &GgufValue| found.as_text().is_some() && key.ends_with(".pre");
        assert!(found == Some(value) || found.is_some_and(is_name), "{key}: {found:?}, expected {value:?}");
    }
    assert!(!written.metadata().keys().any(|key| key.contains("rope") || key.contains("head_count_kv")));
    // The configuration may leave out what has a default, and llama.cpp computes one activation.
    let config = json!({ "model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 48, "vocab_size": 320,
        "n_positions": 40, "activation_function": "relu" });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let error = from_dir(&folder).save_gguf(&folder, &path, GgufFormat::F32).unwrap_err().to_string();
    assert!(error.contains("its activation is relu, but llama.cpp computes gelu_new"), "{error}");
    change_config(&folder, "activation_function", Value::Null);
    from_dir(&folder).save_gguf(&folder, &path, GgufFormat::F32).unwrap();
    let written = Gguf::open(&path, u64::MAX).unwrap();
    assert_eq!(written.metadata()["gpt2.attention.layer_norm_epsilon"], GgufValue::F32(1e-5));
}

#[test]
fn query_key_and_value_of_gpt_2_stay_in_the_blocks_of_their_matrix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpt2.gguf");
    from_dir(&file("gpt2")).save_gguf(&file("gpt2"), &path, GgufFormat::Q8_0).unwrap();
    let written = Gguf::open(&path, u64::MAX).unwrap();
    assert_eq!(written.block_type("blk.0.attn_qkv.weight").unwrap(), BlockType::Q8_0);
    assert_eq!(written.block_type("position_embd.weight").unwrap(), BlockType::F32);
    let device = Device::default();
    let (kept, report) = AutoModel::from_dir_as(&path, WeightFormat::AsStored, &device).unwrap();
    if has_own_kernels(&device) {
        // Of each layer three parts and two matrices, and the word embeddings; rows of 48 are no whole blocks of 32.
        assert_eq!(report.formats.formats["Q8_0"].0, 11, "{}", report.formats);
        assert_eq!(report.formats.formats["BF16"].0, 2, "{}", report.formats);
    }
    let dense = logits(&from_dir(&path));
    assert!(largest_difference(&logits(&kept), &dense) < 1e-4);
    assert!(largest_difference(&logits(&from_dir(&file("gpt2"))), &dense) < 0.2);
    let (made, _) = AutoModel::from_dir_as(&file("gpt2"), WeightFormat::Int8, &device).unwrap();
    assert!(largest_difference(&logits(&made), &dense) < 0.2);
}

#[test]
fn damaged_files_of_gpt_2_are_errors_that_name_the_part() {
    let gpt2 = || Contents::of("gpt2");
    let zeros = [0.0; 96 * 48];
    for (contents, part) in [
        (gpt2().without("position_embd.weight"), "wpe.weight"),
        (gpt2().without("blk.1.attn_qkv.bias"), "h.1.attn.c_attn.bias"),
        (gpt2().tensor("blk.0.attn_qkv.weight", &[64, 32], &zeros[..64 * 32]), "h.0.attn.c_attn.weight"),
        (gpt2().tensor("blk.0.ffn_up.weight", &[32, 48], &zeros[..32 * 48]), "h.0.mlp.c_fc.weight"),
        (gpt2().tensor("blk.0.ffn_up.weight", &[32 * 48], &zeros[..32 * 48]), "h.0.mlp.c_fc.weight"),
        (gpt2().tensor("blk.0.attn_q.weight", &[32, 32], &zeros[..32 * 32]), "blk.0.attn_q.weight"),
        (gpt2().tensor("blk.2.ffn_up.bias", &[48], &zeros[..48]), "blk.2.ffn_up.bias"),
        (gpt2().set("gpt2.attention.head_count_kv", 2), "`attention.head_count_kv` is 2, which is not supported"),
        (gpt2().set("gpt2.attention.head_count", 5), "n_embd (32) is not a multiple of n_head (5)"),
        (gpt2().set("gpt2.attention.head_count", "4"), "n_head"),
        (gpt2().set("gpt2.rope.freq_base", 10_000.0_f32), "`gpt2.rope.freq_base`, but gpt2 has no rotary positions"),
        (gpt2().set("gpt2.context_length", 41), "wpe.weight"),
        (gpt2().without("gpt2.block_count"), "the key `block_count` is missing"),
        (gpt2().without("gpt2.attention.head_count"), "the key `attention.head_count` is missing"),
        (gpt2().without("gpt2.attention.layer_norm_epsilon"), "the key `attention.layer_norm_epsilon` is missing"),
    ] {
        let error = contents.load().unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    assert!(gpt2().set("gpt2.attention.head_count_kv", 4).load().is_ok());
}

/// The last states of an encoder for the ids of its golden.
fn states(model: &AutoModel, name: &str) -> (Vec<f32>, Golden) {
    let golden = Golden::read(&file(name).with_extension("safetensors"));
    let row = |name: &str| golden.values(name).iter().map(|id| *id as u32).collect::<Vec<u32>>();
    let row = Row { ids: row("input_ids"), token_type_ids: row("token_type_ids") };
    (values(model.forward(&TokenBatch::from_rows([&row]), &Hooks::none()).unwrap().hidden), golden)
}

#[test]
fn encoders_compute_what_transformers_computes() {
    for name in ["bert", "xlm_roberta"] {
        let (model, report) = AutoModel::from_dir(&file(name), &Device::default()).unwrap();
        assert!(report.unused.is_empty() && report.missing_pooler, "{report:?}");
        let (found, golden) = states(&model, name);
        let difference = largest_difference(&found, golden.values("hidden"));
        assert!(difference < 1e-5, "{name}: {difference:e}");
    }
}

#[derive(Deserialize)]
struct Pair {
    text: String,
    pair: Option<String>,
    ids: Vec<u32>,
    types: Vec<u32>,
}

/// Compares the rows of a tokenizer with those of Transformers' `BertTokenizerFast` or `XLMRobertaTokenizerFast`.
fn check_pairs(path: &Path, name: &str) {
    let tokenizer = Tokenizer::from_dir(path).unwrap();
    let pairs: Vec<Pair> = read_json(&file(name).with_extension("json"));
    assert!(pairs.len() > 4);
    for Pair { text, pair, ids, types } in pairs {
        let row = tokenizer.encode_text(Text { text: &text, pair: pair.as_deref() }, 64, false).unwrap().row;
        assert_eq!((row.ids, row.token_type_ids), (ids, types), "{text:?} {pair:?}");
    }
}

#[test]
fn word_pieces_are_those_of_transformers() {
    check_pairs(&file("bert"), "bert");
    let tokenizer = Tokenizer::from_dir(&file("bert")).unwrap();
    let special = tokenizer.special_ids();
    assert_eq!([special.pad, special.unk, special.cls, special.sep, special.mask], [0, 1, 2, 3, 4].map(Some));
    let ids = tokenizer.encode(&["the sea, unllamaed"], 64).unwrap().rows[0].ids.clone();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "the sea, unllamaed");
    // A vocabulary with capital letters is one of texts that keep theirs.
    let tokens = Contents::of("bert").metadata["tokenizer.ggml.tokens"].clone();
    let cased: GgufTexts =
        tokens.as_texts().unwrap().iter().map(|one| if one == "▁the" { "▁The" } else { one }).collect();
    let (_dir, path) = Contents::of("bert").set("tokenizer.ggml.tokens", GgufValue::Texts(cased)).write();
    let rows = Tokenizer::from_dir(&path).unwrap().encode(&["The", "the"], 64).unwrap().rows;
    assert_eq!((rows[0].ids.len(), rows[1].ids.len()), (3, 5));
}

#[test]
fn tokens_of_unigram_are_those_of_transformers() {
    check_pairs(&file("xlm_roberta"), "xlm_roberta");
    let tokenizer = Tokenizer::from_dir(&file("xlm_roberta")).unwrap();
    let ids = tokenizer.encode(&["the kalo mi"], 64).unwrap().rows[0].ids.clone();
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "the kalo mi");
    let xlm = || Contents::of("xlm_roberta");
    let error = |contents: Contents| Tokenizer::from_dir(&contents.write().1).unwrap_err().to_string();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let bytes = |bytes: &[i64]| GgufValue::Integers(bytes.to_vec());
    for (found, part) in [
        (
            error(xlm().set(&key("scores"), GgufValue::Floats(vec![0.5; 7]))),
            "tokenizer.ggml.scores has 7 entries for 182 tokens",
        ),
        (
            error(xlm().set(&key("scores"), GgufValue::Floats(vec![f64::INFINITY; 182]))),
            "token 0 is not a finite number",
        ),
        (error(xlm().set(&key("remove_extra_whitespaces"), false)), "is false, which is not supported"),
        (error(xlm().without(&key("add_space_prefix"))), "lacks tokenizer.ggml.add_space_prefix"),
        (error(xlm().set(&key("precompiled_charsmap"), bytes(&[1, 2]))), "its charsmap is cut off"),
        (error(xlm().set(&key("precompiled_charsmap"), bytes(&[8, 0, 0, 0, 1]))), "its charsmap is broken"),
        (error(xlm().set(&key("precompiled_charsmap"), bytes(&[256]))), "a number that is not a byte"),
        (error(xlm().set(&key("precompiled_charsmap"), "abc")), "is a text, expected a list of bytes"),
        (error(xlm().set(&key("bos_token_id"), 182)), "tokenizer.ggml.bos_token_id is 182, but there are 182 tokens"),
    ] {
        assert!(found.contains(part), "{found}");
    }
}

/// BERT as a folder of Hugging Face.
fn bert_as_folder(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let Contents { metadata, tensors } = Contents::of("bert");
    let texts = metadata["tokenizer.ggml.tokens"].as_texts().unwrap();
    let line = |token: &str| match token.strip_prefix('▁') {
        Some(word) => format!("{word}\n"),
        None if token.starts_with('[') && token.len() > 3 => format!("{token}\n"),
        None => format!("##{token}\n"),
    };
    std::fs::write(dir.join("vocab.txt"), texts.iter().map(line).collect::<String>()).unwrap();
    let config = json!({
        "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
        "vocab_size": texts.len(), "max_position_embeddings": 64, "layer_norm_eps": 1e-6, "pad_token_id": 0,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let names = [
        ("token_embd.", "embeddings.word_embeddings."),
        ("position_embd.", "embeddings.position_embeddings."),
        ("token_types.", "embeddings.token_type_embeddings."),
        ("token_embd_norm.", "embeddings.LayerNorm."),
        ("blk.", "encoder.layer."),
        (".attn_output_norm.", ".attention.output.LayerNorm."),
        (".layer_output_norm.", ".output.LayerNorm."),
        (".attn_q.", ".attention.self.query."),
        (".attn_k.", ".attention.self.key."),
        (".attn_v.", ".attention.self.value."),
        (".attn_output.", ".attention.output.dense."),
        (".ffn_up.", ".intermediate.dense."),
        (".ffn_down.", ".output.dense."),
    ];
    let mut own: BTreeMap<String, RawTensor> = BTreeMap::new();
    for (name, (_, shape, values)) in tensors {
        let name = names.iter().fold(name, |name, (stored, own)| name.replace(stored, own));
        own.insert(name, RawTensor { shape, values });
    }
    own.insert("pooler.dense.weight".to_owned(), RawTensor { shape: vec![32, 32], values: vec![0.5; 1024] });
    own.insert("pooler.dense.bias".to_owned(), RawTensor { shape: vec![32], values: vec![0.5; 32] });
    let bytes = encode_safetensors(dir, &own, &[("format", "pt")]).unwrap();
    std::fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

#[test]
fn a_folder_of_bert_becomes_the_file_that_python_writes() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (dir.path().join("bert"), dir.path().join("bert.gguf"));
    bert_as_folder(&folder);
    let report = from_dir(&folder).save_gguf(&folder, &path, GgufFormat::F32).unwrap();
    assert_eq!(report.left_out, ["pooler.dense.bias", "pooler.dense.weight"]);
    check_pairs(&path, "bert");
    let (written, golden) = (Gguf::open(&path, u64::MAX).unwrap(), Gguf::open(&file("bert"), u64::MAX).unwrap());
    assert!(written.tensors().eq(golden.tensors()));
    for (name, _) in golden.tensors() {
        assert_eq!(written.read::<f32>(name).unwrap(), golden.read::<f32>(name).unwrap(), "{name}");
    }
    for (key, value) in golden.metadata() {
        let is_free = key.ends_with(".pre") || key.ends_with("pooling_type");
        assert!(is_free || written.metadata().get(key) == Some(value), "{key}: {:?}", written.metadata().get(key));
    }
    // From a file, everything is kept.
    from_dir(&file("bert")).save_gguf(&file("bert"), &path, GgufFormat::Bf16).unwrap();
    let written = Gguf::open(&path, u64::MAX).unwrap();
    assert_eq!(written.metadata().get("bert.pooling_type"), golden.metadata().get("bert.pooling_type"));
    assert_eq!(written.block_type("token_types.weight").unwrap(), BlockType::F32);
    let (found, golden) = states(&from_dir(&path), "bert");
    assert!(largest_difference(&found, golden.values("hidden")) < 0.1);
    // llama.cpp puts every text in lower case.
    std::fs::write(
        folder.join("tokenizer_config.json"),
        r#"{"tokenizer_class": "BertTokenizer", "do_lower_case": false}"#,
    )
    .unwrap();
    let error = from_dir(&folder).save_gguf(&folder, &path, GgufFormat::F32).unwrap_err().to_string();
    assert!(error.contains("llama.cpp puts texts in lower case"), "{error}");
}

#[test]
fn lora_on_bert_in_a_gguf_file_is_the_same_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let (path, model) = (dir.path().join("adapter.gguf"), from_dir(&file("bert")));
    let states = |bank: &AdapterBank, name: &str| {
        let batch = TokenBatch::new([[5, 6, 7, 8, 9].as_slice()]);
        values(model.forward(&batch, &bank.hooks(&Setup::adapter(name)).unwrap()).unwrap().hidden)
    };
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    let config =
        "lora[r=2,init_weights='bert',attn_matrices=['q','k','v','o'],intermediate_lora=True,output_lora=True]";
    bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
    save_gguf_adapter(&path, &bank, "a").unwrap();
    let mut again = AdapterBank::new(model.spec(), &Device::default());
    load_adapter(&path, &mut again, None).unwrap();
    let (expected, found) = (states(&bank, "a"), states(&again, "adapter"));
    assert!(largest_difference(&found, &expected) < 1e-6);
    let plain = values(model.forward(&TokenBatch::new([[5, 6, 7, 8, 9].as_slice()]), &Hooks::none()).unwrap().hidden);
    assert!(largest_difference(&plain, &expected) > 1e-3);
}

#[test]
fn damaged_files_of_bert_are_errors_that_name_the_part() {
    let bert = || Contents::of("bert");
    for (contents, part) in [
        (bert().without("token_types.weight"), "the key `token_types.weight` is missing"),
        (bert().without("blk.1.layer_output_norm.bias"), "encoder.layer.1.output.LayerNorm.bias"),
        (bert().tensor("token_types.weight", &[2], &[0.0; 2]), "embeddings.token_type_embeddings.weight"),
        (
            bert().set("bert.attention.causal", true),
            "`attention.causal` is true, which is not supported; supported: false",
        ),
        (bert().tensor("blk.0.attn_q_norm.weight", &[8], &[1.0; 8]), "blk.0.attn_q_norm.weight"),
    ] {
        let error = contents.load().unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let error = Contents::of("llama").set("llama.attention.causal", false).load().unwrap_err();
    assert!(error.contains("`attention.causal` is false"), "{error}");
    let tokenizer = |contents: Contents| Tokenizer::from_dir(&contents.write().1).unwrap_err().to_string();
    let tokens = |tokens: &[&str]| GgufValue::Texts(tokens.iter().collect());
    let types = |count: usize| GgufValue::Integers(vec![1; count]);
    let with = |list: &[&str]| {
        let contents = bert().set("tokenizer.ggml.tokens", tokens(list));
        contents.set("tokenizer.ggml.token_type", types(list.len()))
    };
    for (found, part) in [
        (tokenizer(with(&["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁a", "▁a"])), "has the token \"a\" twice"),
        (tokenizer(with(&["[PAD]", "[UNK]"])), "tokenizer.ggml.bos_token_id is 2, but there are 2 tokens"),
        (tokenizer(with(&[])), "`vocab_size`: expected a whole number between 1 and"),
        (
            tokenizer(bert().without("tokenizer.ggml.unknown_token_id")),
            "tokenizer.ggml.unknown_token_id is missing, and token 100, its default, is not [UNK]",
        ),
        (tokenizer(bert().set("tokenizer.ggml.token_type", types(3))), "has 3 entries for"),
    ] {
        assert!(found.contains(part), "{found}");
    }
}
