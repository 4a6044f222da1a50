//! Models in GGUF files: logits and tokens as Transformers has them, adapters on them, and files that are not read.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use burn::tensor::Device;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup, TokenBatch};
use burn_adapters_tensors::{BlockType, Gguf, GgufTensor, GgufValue, TensorFileError, write_gguf};
use burn_adapters_tests::{Golden, goldens, largest_difference, read_json, values};
use burn_adapters_transformers::{AutoModel, GenerationConfig, ModelConfig, Tokenizer};
use serde::Deserialize;

fn file(name: &str) -> PathBuf {
    goldens().join("gguf").join(format!("{name}.gguf"))
}

#[test]
fn models_compute_what_transformers_computes() {
    for name in ["llama", "llama_tied", "qwen2", "qwen3", "quantized"] {
        let (model, report) = AutoModel::from_dir(&file(name), &Device::default()).unwrap();
        assert!(report.unused.is_empty(), "{name}: {report:?}");
        let golden = Golden::read(&file(name).with_extension("safetensors"));
        let (shape, ids) = &golden.0["input_ids"];
        let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let output = model.forward(&TokenBatch::new(ids.chunks(shape[1])), &Hooks::none()).unwrap();
        let found = values(model.token_logits(output.hidden.flatten(0, 1)).unwrap());
        let difference = largest_difference(&found, golden.values("logits"));
        assert!(difference < 1e-4, "{name}: {difference:e}");
    }
}

#[test]
fn texts_have_the_tokens_of_the_tokenizer_in_the_file() {
    #[derive(Deserialize)]
    struct Text {
        text: String,
        ids: Vec<u32>,
    }
    let tokenizer = Tokenizer::from_dir(&file("llama")).unwrap();
    let texts: Vec<Text> = read_json(&goldens().join("gguf/tokens.json"));
    assert_eq!(texts.len(), 5);
    for Text { text, ids } in texts.into_iter().filter(|text| !text.ids.is_empty()) {
        let encoded = tokenizer.encode(&[&text], 1000).unwrap();
        assert_eq!(encoded.rows[0].ids, ids[..ids.len().min(40)], "{text:?}");
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    }
    assert_eq!(GenerationConfig::from_dir(&file("llama")).unwrap().end_ids, [2]);
}

#[test]
fn adapters_work_on_a_file() {
    let (model, _) = AutoModel::from_dir(&file("llama"), &Device::default()).unwrap();
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    bank.add_seeded("a", "lora[r=2,init_weights='bert']".parse().unwrap(), 1).unwrap();
    let batch = TokenBatch::new([[5, 6, 7].as_slice()]);
    let run = |setup: Setup| values(model.forward(&batch, &bank.hooks(&setup).unwrap()).unwrap().hidden);
    assert!(largest_difference(&run(Setup::adapter("a")), &run(Setup::base())) > 1e-3);
}

/// A file whose names of tensors are those of two of the model's is ambiguous.
#[test]
fn two_tensors_for_one_weight_are_an_error() {
    let golden = Gguf::open(&file("llama"), u64::MAX).unwrap();
    let metadata: Vec<_> = golden.metadata().iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let tensor = |name: &str| GgufTensor { name: name.to_owned(), shape: vec![32], kind: BlockType::F32 };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.gguf");
    let tensors = [tensor("output_norm.weight"), tensor("norm.weight")];
    write_gguf::<TensorFileError>(&path, &metadata, &tensors, |_| Ok(vec![1.0; 32])).unwrap();
    let error = AutoModel::from_dir(&path, &Device::default()).unwrap_err().to_string();
    assert!(error.contains("`norm.weight`") && error.contains("output_norm.weight"), "{error}");
}

/// The metadata of the Llama, with changes.
fn changed(change: impl Fn(&mut Vec<(String, GgufValue)>)) -> tempfile::TempDir {
    let golden = Gguf::open(&file("llama"), u64::MAX).unwrap();
    let mut metadata: Vec<_> = golden.metadata().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    change(&mut metadata);
    let dir = tempfile::tempdir().unwrap();
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let tensors: Vec<_> = golden
        .tensors()
        .map(|(name, shape)| GgufTensor { name: name.to_owned(), shape: shape.to_vec(), kind: BlockType::F32 })
        .collect();
    write_gguf::<TensorFileError>(&dir.path().join("x.gguf"), &metadata, &tensors, |name| golden.read(name)).unwrap();
    dir
}

#[test]
fn files_that_are_not_read_say_why() {
    let set = |key: &'static str, value: GgufValue| {
        changed(move |metadata| match metadata.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = value.clone(),
            None => metadata.push((key.to_owned(), value.clone())),
        })
    };
    let model = |dir: tempfile::TempDir| {
        AutoModel::from_dir(&dir.path().join("x.gguf"), &Device::default()).unwrap_err().to_string()
    };
    for (found, part) in [
        (model(set("general.architecture", "mamba".into())), "\"llama\", \"qwen2\", \"qwen3\""),
        (model(set("llama.block_count", 3.into())), "layers.2."),
        (model(set("llama.embedding_length", 64.into())), "embed_tokens"),
        (model(set("llama.rope.scaling.type", "yarn".into())), "yarn"),
        (model(set("llama.expert_count", 8.into())), "expert_count"),
        (model(set("llama.rope.dimension_count", 4.into())), "rope.dimension_count"),
        (model(changed(|metadata| metadata.retain(|(key, _)| !key.ends_with("head_count")))), "num_attention_heads"),
    ] {
        assert!(found.contains(part), "{found}");
    }
    let tokenizer = |dir: tempfile::TempDir| Tokenizer::from_dir(&dir.path().join("x.gguf")).unwrap_err().to_string();
    for (found, part) in [
        (tokenizer(set("tokenizer.ggml.pre", "new-words".into())), "\"new-words\", which is not known"),
        (tokenizer(set("tokenizer.ggml.model", "bert".into())), "\"bert\", which is not supported"),
        (tokenizer(set("tokenizer.ggml.eos_token_id", 5000.into())), "5000"),
        (tokenizer(set("tokenizer.ggml.merges", GgufValue::Texts(vec!["abc".into()]))), "is not two pieces"),
        (tokenizer(changed(|metadata| metadata.retain(|(key, _)| !key.ends_with("tokens")))), "vocab_size"),
    ] {
        assert!(found.contains(part), "{found}");
    }
    assert!(ModelConfig::from_dir(std::path::Path::new("nowhere.gguf")).is_err());
}
