//! Models in GGUF files: logits and tokens as Transformers has them, adapters on them, and files that are not read.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use burn::tensor::{Device, TensorData};
use burn_adapters_checkpoint::{load_adapter, save_gguf_adapter};
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, MergedModel, Setup, TokenBatch};
use burn_adapters_tensors::{
    BlockType, Gguf, GgufTensor, GgufValue, RawTensor, TensorFileError, encode_safetensors, fill, pairs_in_heads,
    write_gguf,
};
use burn_adapters_tests::{Golden, goldens, largest_difference, read_json, values};
use burn_adapters_transformers::{AutoModel, GenerationConfig, GgufFormat, ModelConfig, Tokenizer};
use serde::Deserialize;

pub(crate) fn file(name: &str) -> PathBuf {
    goldens().join("gguf").join(format!("{name}.gguf"))
}

#[test]
fn models_compute_what_transformers_computes() {
    for name in ["llama", "llama_tied", "llama3", "qwen2", "qwen3", "gpt2", "quantized"] {
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
    let texts: Vec<Text> = read_json(&goldens().join("gguf/tokens.json"));
    assert_eq!(texts.len(), 5);
    for name in ["llama", "gpt2"] {
        let tokenizer = Tokenizer::from_dir(&file(name)).unwrap();
        for Text { text, ids } in texts.iter().filter(|text| !text.ids.is_empty()) {
            let encoded = tokenizer.encode(&[text], 1000).unwrap();
            assert_eq!(encoded.rows[0].ids, ids[..ids.len().min(40)], "{name} {text:?}");
            assert_eq!(tokenizer.decode(ids, false).unwrap(), *text);
        }
    }
    assert_eq!(GenerationConfig::from_dir(&file("llama")).unwrap().end_ids, [2]);
}

#[derive(Deserialize)]
struct Spaced {
    text: String,
    ids: Vec<u32>,
    decoded: String,
}

#[test]
fn vocabularies_of_sentencepiece_give_its_tokens() {
    let all: std::collections::BTreeMap<String, Vec<Spaced>> = read_json(&goldens().join("gguf/sentencepiece.json"));
    for (name, texts) in all {
        let tokenizer = Tokenizer::from_dir(&file(&name)).unwrap();
        assert_eq!(texts.len(), 36);
        for Spaced { text, ids, decoded } in texts {
            let encoded = tokenizer.encode_bare(&text, 1000).unwrap();
            assert_eq!(encoded.row.ids, ids[..ids.len().min(40)], "{name} {text:?}");
            let piece = |piece: &burn_adapters_model::Piece| text.get(piece.start..piece.end);
            assert!(encoded.pieces.iter().flatten().all(|one| piece(one).is_some()), "{name} {text:?}");
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), decoded, "{name} {text:?}");
            let mut stream = tokenizer.decode_stream(false);
            let mut streamed: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
            streamed += &stream.finish().unwrap();
            assert_eq!(streamed, decoded, "{name} {text:?}");
            // After others, tokens keep the space before them.
            let start = tokenizer.encode_bare("the kalo mi", 1000).unwrap().row.ids;
            let mut stream = tokenizer.decode_stream_after(&start, false).unwrap();
            let mut streamed: String = ids.iter().map(|id| stream.push(*id).unwrap()).collect();
            streamed += &stream.finish().unwrap();
            let all = tokenizer.decode(&[start, ids].concat(), false).unwrap();
            assert_eq!(all.strip_prefix("the kalo mi"), Some(streamed.as_str()), "{name} {text:?}");
        }
        let special = tokenizer.special_ids();
        assert_eq!((special.bos, special.eos, special.unk, special.pad), (Some(1), Some(2), Some(0), None));
        assert!(tokenizer.is_special(3) && !tokenizer.is_special(4));
    }
}

#[test]
fn texts_begin_with_a_token_where_the_file_says_so_or_llama_cpp_does() {
    let first = |dir: &std::path::Path| Tokenizer::from_dir(dir).unwrap().encode(&["the"], 10).unwrap().rows[0].ids[0];
    assert_eq!([first(&file("sentencepiece")) == 1, first(&file("sentencepiece_bare")) == 1], [false, true]);
    let left_out = |name: &str, pre: &str| {
        let dir = changed(name, |metadata| {
            metadata.retain(|(key, _)| !key.ends_with("add_bos_token") && !key.ends_with("_token_id"));
            metadata.push(("tokenizer.ggml.bos_token_id".to_owned(), 1.into()));
            metadata.iter_mut().filter(|(key, _)| key.ends_with(".pre")).for_each(|(_, value)| *value = pre.into());
        });
        first(&dir.path().join("x.gguf")) == 1
    };
    assert_eq!([left_out("sentencepiece", "default"), left_out("llama", "llama-bpe")], [true; 2]);
    assert_eq!([left_out("llama", "gpt-2"), left_out("llama", "qwen2")], [false; 2]);
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

#[test]
fn a_model_is_written_as_it_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let batch = TokenBatch::new([[5, 6, 7, 8].as_slice(), [9, 10, 11].as_slice()]);
    let hidden = |path: &std::path::Path| {
        let (model, _) = AutoModel::from_dir(path, &Device::default()).unwrap();
        (values(model.forward(&batch, &Hooks::none()).unwrap().hidden), model)
    };
    for name in ["llama", "llama_tied", "llama3", "qwen2", "qwen3", "gpt2", "quantized"] {
        let (expected, model) = hidden(&file(name));
        for (format, kind, tolerance) in [
            (GgufFormat::F32, BlockType::F32, 0.0),
            (GgufFormat::Bf16, BlockType::Bf16, 0.2),
            (GgufFormat::Q8_0, BlockType::Q8_0, 0.2),
        ] {
            let path = dir.path().join("written.gguf");
            let report = model.save_gguf(&file(name), &path, format).unwrap();
            let tied = usize::from(model.spec().output_layer.is_tied);
            assert_eq!(report.parameters, model.spec().parameters + (1 - tied) * 32 * model.limits().vocabulary);
            let (found, _) = hidden(&path);
            let difference = largest_difference(&found, &expected);
            assert!(difference <= tolerance, "{name} {format:?}: {difference:e}");
            let written = Gguf::open(&path, u64::MAX).unwrap();
            assert_eq!(written.block_type("blk.0.ffn_up.weight").unwrap(), kind);
            assert_eq!(written.block_type("blk.0.ffn_norm.weight").unwrap(), BlockType::F32);
            let like = Gguf::open(&file(name), u64::MAX).unwrap();
            assert!(
                like.metadata()
                    .iter()
                    .all(|(key, value)| { written.metadata().get(key) == Some(value) || key == "general.file_type" })
            );
        }
    }
    let gptj = AutoModel::from_dir(&goldens().join("families/gptj/models/tiny"), &Device::default()).unwrap().0;
    let error = gptj.save_gguf(&file("llama"), &dir.path().join("x.gguf"), GgufFormat::F32).unwrap_err().to_string();
    assert!(error.contains("models of the type gptj cannot be written"), "{error}");
}

/// The Llama as a folder of Hugging Face, with its tokenizer and a chat template.
pub(crate) fn as_folder(dir: &std::path::Path) {
    let golden = Gguf::open(&file("llama"), u64::MAX).unwrap();
    let number = |key: &str| golden.metadata()[&format!("llama.{key}")].as_float().unwrap();
    let texts = |key: &str| -> Vec<String> {
        let texts = golden.metadata()[&format!("tokenizer.ggml.{key}")].as_texts().unwrap();
        texts.iter().map(str::to_owned).collect()
    };
    let (heads, key_heads) = (number("attention.head_count") as usize, number("attention.head_count_kv") as usize);
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": number("embedding_length") as usize,
        "num_hidden_layers": number("block_count") as usize, "intermediate_size": number("feed_forward_length") as usize,
        "num_attention_heads": heads, "num_key_value_heads": key_heads,
        "rms_norm_eps": number("attention.layer_norm_rms_epsilon"), "vocab_size": texts("tokens").len(),
        "rope_theta": number("rope.freq_base"), "max_position_embeddings": number("context_length") as usize,
        "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": false,
    });
    let names = [
        ("token_embd", "model.embed_tokens"),
        ("output_norm", "model.norm"),
        ("output", "lm_head"),
        ("blk", "model.layers"),
        ("attn_norm", "input_layernorm"),
        ("ffn_norm", "post_attention_layernorm"),
        ("attn_q", "self_attn.q_proj"),
        ("attn_k", "self_attn.k_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_output", "self_attn.o_proj"),
        ("ffn_gate", "mlp.gate_proj"),
        ("ffn_up", "mlp.up_proj"),
        ("ffn_down", "mlp.down_proj"),
    ];
    let part = |part: &str| {
        names.iter().find(|(stored, _)| *stored == part).map_or(part.to_owned(), |(_, own)| (*own).to_owned())
    };
    let mut tensors = std::collections::BTreeMap::new();
    for (name, shape) in golden.tensors() {
        let mut values = golden.read::<f32>(name).unwrap();
        for (module, heads) in [("attn_q.", heads), ("attn_k.", key_heads)] {
            if name.contains(module) {
                values = pairs_in_heads(&values, shape[0], heads).unwrap();
            }
        }
        let own: Vec<String> = name.split('.').map(part).collect();
        tensors.insert(own.join("."), RawTensor { shape: shape.to_vec(), values });
    }
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        texts("tokens").iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let types = golden.metadata()["tokenizer.ggml.token_type"].as_integers().unwrap();
    let special = texts("tokens").into_iter().zip(types).enumerate().filter(|(_, (_, kind))| **kind == 3);
    let added: Vec<_> = special
        .map(|(id, (token, _))| {
            serde_json::json!({ "id": id, "content": token, "special": true, "normalized": false, "lstrip": false,
                "rstrip": false, "single_word": false })
        })
        .collect();
    let (bos, eos) = (&texts("tokens")[1], &texts("tokens")[2]);
    let tokenizer = serde_json::json!({
        "version": "1.0", "added_tokens": added, "normalizer": null, "post_processor": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocabulary, "merges": texts("merges") },
    });
    let settings = serde_json::json!({
        "tokenizer_class": "GPT2Tokenizer", "add_prefix_space": false, "bos_token": bos, "eos_token": eos, "pad_token": texts("tokens")[0],
        "chat_template": "{{ messages[0].content }}",
    });
    std::fs::create_dir_all(dir).unwrap();
    for (name, value) in [("config.json", config), ("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)] {
        std::fs::write(dir.join(name), value.to_string()).unwrap();
    }
    let bytes = encode_safetensors(dir, &tensors, &[("format", "pt")]).unwrap();
    std::fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

#[test]
fn a_folder_is_written_as_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, path) = (dir.path().join("llama"), dir.path().join("llama.gguf"));
    as_folder(&folder);
    let (model, _) = AutoModel::from_dir(&folder, &Device::default()).unwrap();
    model.save_gguf(&folder, &path, GgufFormat::F32).unwrap();
    let written = Gguf::open(&path, u64::MAX).unwrap();
    let golden = Gguf::open(&file("llama"), u64::MAX).unwrap();
    for (name, _) in golden.tensors() {
        assert_eq!(written.read::<f32>(name).unwrap(), golden.read::<f32>(name).unwrap(), "{name}");
    }
    let same = |key: &str| assert_eq!(written.metadata().get(key), golden.metadata().get(key), "{key}");
    for key in golden.metadata().keys().filter(|key| key.starts_with("llama.") || key.ends_with("_token_id")) {
        same(key);
    }
    ["tokens", "token_type", "merges"].into_iter().for_each(|key| same(&format!("tokenizer.ggml.{key}")));
    assert_eq!(written.metadata()["tokenizer.chat_template"].as_text(), Some("{{ messages[0].content }}"));
    let [of_folder, of_file] = [&folder, &path].map(|path| Tokenizer::from_dir(path).unwrap());
    for text in ["The sea is blue.", "two  spaces, 12 \u{e9}", ""] {
        assert_eq!(of_folder.encode(&[text], 50).unwrap(), of_file.encode(&[text], 50).unwrap(), "{text:?}");
    }
    // A way of splitting texts that has no name is an error.
    let json = std::fs::read_to_string(folder.join("tokenizer.json")).unwrap();
    std::fs::write(folder.join("tokenizer.json"), json.replace("\"use_regex\":true", "\"use_regex\":false")).unwrap();
    let error = model.save_gguf(&folder, &path, GgufFormat::F32).unwrap_err().to_string();
    assert!(error.contains("splits texts in a way that has no name there: {"), "{error}");
}

/// A base model, LoRA on all its matrices, and the model that it is merged into, with the logits of each. With
/// `BURN_ADAPTERS_LLAMA_CPP_DIR` the files stay there, for `tests/python/check_written.py`.
#[test]
fn lora_in_a_gguf_file_is_the_same_adapter() {
    let kept = std::env::var_os("BURN_ADAPTERS_LLAMA_CPP_DIR");
    let temporary = tempfile::tempdir().unwrap();
    let root = kept.as_ref().map_or(temporary.path(), std::path::Path::new);
    for name in ["llama", "llama3", "qwen2", "gpt2"] {
        let dir = root.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let (model, _) = AutoModel::from_dir(&file(name), &Device::default()).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        let gate = name != "gpt2";
        let config = format!(
            "lora[r=2,alpha=6,init_weights='bert',attn_matrices=['q','k','v','o'],gate_lora={},intermediate_lora=True,\
             output_lora=True]",
            if gate { "True" } else { "False" }
        );
        bank.add_seeded("a", config.parse().unwrap(), 1).unwrap();
        let large = fill(bank.remove("a").unwrap(), |path, shape| {
            let count: usize = shape.iter().product();
            let seed = path.to_string().bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let value = |at: usize| {
                ((seed.wrapping_add(at as u32).wrapping_mul(2_654_435_761) >> 8) as f32) / 16_777_216.0 - 0.5
            };
            Some(TensorData::new((0..count).map(value).collect::<Vec<_>>(), shape))
        });
        bank.insert(large).unwrap();
        let ids: Vec<u32> = vec![5, 6, 7, 8, 9, 30, 31, 12, 3, 14];
        let batch = TokenBatch::new([ids.as_slice()]);
        let logits = |model: &AutoModel, hooks: &Hooks<'_>| {
            let hidden = model.forward(&batch, hooks).unwrap().hidden;
            values(model.token_logits(hidden.flatten(0, 1)).unwrap())
        };
        let adapted = logits(&model, &bank.hooks(&Setup::adapter("a")).unwrap());
        let plain = logits(&model, &Hooks::none());
        assert!(largest_difference(&adapted, &plain) > 0.5);
        save_gguf_adapter(&dir.join("adapter.gguf"), &bank, "a").unwrap();
        let mut again = AdapterBank::new(model.spec(), &Device::default());
        let report = load_adapter(dir.join("adapter.gguf"), &mut again, None).unwrap();
        assert_eq!(report.name, "adapter");
        let found = logits(&model, &again.hooks(&Setup::adapter("adapter")).unwrap());
        // The update of GPT-2's fused matrix has another rank, so that `B` is multiplied by a factor.
        let (difference, most) = (largest_difference(&found, &adapted), if name == "gpt2" { 1e-5 } else { 1e-6 });
        assert!(difference < most, "{name}: {difference:e}");
        // For another architecture it is an error.
        let other = AutoModel::from_dir(&file("qwen3"), &Device::default()).unwrap().0;
        let error =
            load_adapter(dir.join("adapter.gguf"), &mut AdapterBank::new(other.spec(), &Device::default()), None);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("it is for the architecture"), "{error}");

        model.save_gguf(&file(name), &dir.join("base.gguf"), GgufFormat::F32).unwrap();
        let merged = MergedModel::merge(model, bank.adapter("a").unwrap()).unwrap();
        merged.save_gguf(&file(name), &dir.join("merged.gguf"), GgufFormat::F32).unwrap();
        assert!(largest_difference(&logits(&merged, &Hooks::none()), &adapted) < 1e-4);
        let case = serde_json::json!({ "ids": ids, "plain": plain, "adapted": adapted });
        std::fs::write(dir.join("case.json"), case.to_string()).unwrap();
    }
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

/// A model, with changes of its metadata.
fn changed(name: &str, change: impl Fn(&mut Vec<(String, GgufValue)>)) -> tempfile::TempDir {
    let golden = Gguf::open(&file(name), u64::MAX).unwrap();
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
        changed("llama", move |metadata| match metadata.iter_mut().find(|(known, _)| known == key) {
            Some(entry) => entry.1 = value.clone(),
            None => metadata.push((key.to_owned(), value.clone())),
        })
    };
    let model = |dir: tempfile::TempDir| {
        AutoModel::from_dir(&dir.path().join("x.gguf"), &Device::default()).unwrap_err().to_string()
    };
    for (found, part) in [
        (model(set("general.architecture", "mamba".into())), "\"llama\", \"qwen2\", \"qwen3\", \"gpt2\", \"bert\""),
        (model(set("llama.block_count", 3.into())), "layers.2."),
        (model(set("llama.embedding_length", 64.into())), "embed_tokens"),
        (model(set("llama.rope.scaling.type", "yarn".into())), "yarn"),
        (model(set("llama.expert_count", 8.into())), "expert_count"),
        (model(set("llama.rope.dimension_count", 4.into())), "rope.dimension_count"),
        (
            model(changed("llama", |metadata| metadata.retain(|(key, _)| !key.ends_with("head_count")))),
            "the key `attention.head_count` is missing",
        ),
    ] {
        assert!(found.contains(part), "{found}");
    }
    let tokenizer = |dir: tempfile::TempDir| Tokenizer::from_dir(&dir.path().join("x.gguf")).unwrap_err().to_string();
    for (found, part) in [
        (tokenizer(set("tokenizer.ggml.pre", "new-words".into())), "\"new-words\", which is not known"),
        (tokenizer(set("tokenizer.ggml.model", "rwkv".into())), "\"rwkv\", which is not supported: \"gpt2\""),
        (tokenizer(set("tokenizer.ggml.model", "llama".into())), "lacks tokenizer.ggml.scores"),
        (tokenizer(set("tokenizer.ggml.eos_token_id", 5000.into())), "5000"),
        (tokenizer(set("tokenizer.ggml.merges", GgufValue::Texts(["abc"].into_iter().collect()))), "is not two pieces"),
        (tokenizer(changed("llama", |metadata| metadata.retain(|(key, _)| !key.ends_with("tokens")))), "vocab_size"),
    ] {
        assert!(found.contains(part), "{found}");
    }
    for (scores, part) in [(vec![0.5; 7], "7 entries for 480 tokens"), (vec![f64::NAN; 480], "not a number")] {
        let dir = changed("sentencepiece", |metadata| {
            let entry = metadata.iter_mut().find(|(key, _)| key.ends_with("scores")).unwrap();
            entry.1 = GgufValue::Floats(scores.clone());
        });
        let found = tokenizer(dir);
        assert!(found.contains(part), "{found}");
    }
    assert!(ModelConfig::from_dir(std::path::Path::new("nowhere.gguf")).is_err());
}

/// A change of the metadata and the tensors of an adapter.
type Change = dyn Fn(&mut Vec<(&str, GgufValue)>, &mut Vec<GgufTensor>);

#[test]
fn a_damaged_or_foreign_adapter_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter.gguf");
    let model = AutoModel::from_dir(&file("llama"), &Device::default()).unwrap().0;
    fn text(text: &str) -> GgufValue {
        GgufValue::Text(text.to_owned())
    }
    let error = |change: &Change| {
        let mut metadata = vec![
            ("general.type", text("adapter")),
            ("general.architecture", text("llama")),
            ("adapter.type", text("lora")),
            ("adapter.lora.alpha", GgufValue::F32(4.0)),
        ];
        let tensor =
            |name: &str, shape: [usize; 2]| GgufTensor { name: name.into(), shape: shape.into(), kind: BlockType::F32 };
        let mut tensors =
            vec![tensor("blk.0.attn_q.weight.lora_a", [2, 32]), tensor("blk.0.attn_q.weight.lora_b", [32, 2])];
        change(&mut metadata, &mut tensors);
        let sizes: std::collections::BTreeMap<String, usize> =
            tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.iter().product())).collect();
        write_gguf::<TensorFileError>(&path, &metadata, &tensors, |name| Ok(vec![0.5; sizes[name]])).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &Device::default());
        load_adapter(&path, &mut bank, None).map(|report| report.name).map_err(|error| error.to_string())
    };
    assert_eq!(error(&|_, _| {}).unwrap(), "adapter");
    let changes: [(&Change, &str); 9] = [
        (&|metadata, _| metadata.truncate(3), "`adapter.lora.alpha` is missing"),
        (&|metadata, _| metadata[0].1 = text("model"), "it holds a model"),
        (&|metadata, _| metadata[1].1 = text("gemma2"), "for the architecture `gemma2`"),
        (&|metadata, _| metadata[2].1 = text("dora"), "the type `dora`"),
        (&|_, tensors| tensors.truncate(1), "lacks a half"),
        (&|_, tensors| tensors[1].shape = vec![32, 3], "has halves of [2, 32] and [32, 3]"),
        (
            &|_, tensors| tensors[0].name = "blk.7.attn_q.weight.lora_a".into(),
            "an update of `blk.7.attn_q.weight`, which is no matrix",
        ),
        (&|_, tensors| tensors[0].name = "output.weight.lora_a".into(), "`output.weight`, which is no matrix"),
        (&|_, tensors| tensors.clear(), "it has no tensors"),
    ];
    for (change, part) in changes {
        let found = error(change).unwrap_err();
        assert!(found.contains(part), "{found}");
    }
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    let mut bank = AdapterBank::new(model.spec(), &Device::default());
    assert!(load_adapter(&path, &mut bank, None).is_err());
}
