//! Tokenizers beside a model, and merging: into one adapter, and into a model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::common::{Workplace, json_of};
use burn::tensor::Device;
use burn_adapters_checkpoint::load_adapter;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup, TokenBatch};
use burn_adapters_transformers::AutoModel;
use safetensors::SafeTensors;

#[test]
fn a_negative_weight_that_adds_a_lora_is_a_warning() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    let good = place.adapter(&model, "lora[r=2]");
    std::fs::rename(good, place.path("good")).unwrap();
    let bad = place.adapter(&model, "lora[r=2]");
    std::fs::rename(bad, place.path("bad")).unwrap();
    let merge = |strategy: &str, output: &str| {
        let arguments = ["merge", "good", "bad", "--weights=1,-0.5", "--no-normalize", "--strategy", strategy];
        place.run(arguments.into_iter().chain(["--output", output, "--json", "-q"]))
    };
    let (code, out, err) = merge("linear", "linear");
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning:") && err.contains("added with the factor 0.250"), "{err}");
    assert!(err.contains("lora_delta_w_svd"), "{err}");
    assert_eq!(json_of(&out)["notes"].as_array().unwrap().len(), 1);
    for strategy in ["lora_delta_w_svd", "lora_linear_only_negate_b"] {
        let (code, _, err) = merge(strategy, strategy);
        assert_eq!((code, err.as_str()), (0, ""));
    }
    let (_, help, _) = place.run(["merge", "--help"]);
    let example = help.lines().find(|line| line.contains("--weights=1,-0.5")).unwrap();
    assert!(example.contains("lora_delta_w_svd"), "{example}");
}

#[test]
fn a_name_that_no_adapter_can_have_is_refused_before_anything_is_read() {
    let place = Workplace::new();
    for name in ["a.b", "", "a\nb"] {
        let (code, out, err) = place.run(["merge", "nowhere", "--output", "merged", "--name", name]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("--name") && err.contains("dot"), "{err}");
        let arguments = ["train", "--model", "nowhere", "--data", "none.csv", "--output", "x", "--name", name];
        let (code, _, err) = place.run(arguments);
        assert_eq!(code, 2);
        assert!(err.contains("--name") && err.contains("dot"), "{err}");
    }
    assert!(!place.path("merged").exists());
}

/// The hidden states of a few tokens, with an adapter or without.
fn hidden(model: &Path, adapters: &[&Path]) -> Vec<f32> {
    let device = Device::default();
    let (bert, _) = AutoModel::from_dir(model, &device).unwrap();
    let mut bank = AdapterBank::new(bert.spec(), &device);
    let names: Vec<String> = adapters.iter().map(|dir| load_adapter(dir, &mut bank, None).unwrap().name).collect();
    let setup = match names.as_slice() {
        [] => Setup::base(),
        [name] => Setup::adapter(name),
        names => Setup::compose(format!("Stack({})", names.join(", ")).parse().unwrap()),
    };
    let batch = TokenBatch::new([[2, 9, 7, 15, 12, 3].as_slice(), &[2, 5, 10, 20, 23, 3]]);
    let hooks = if names.is_empty() { Hooks::none() } else { bank.hooks(&setup).unwrap() };
    let output = bert.forward(&batch, &hooks).unwrap();
    output.hidden.into_data().convert::<f32>().as_slice::<f32>().unwrap().to_vec()
}

fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn tensors(file: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec()))).collect()
}

/// Moves what is trained, so that a difference would show.
fn amplify(adapter: &Path) {
    let path = adapter.join("adapter.safetensors");
    let moved: Vec<(String, Vec<usize>, Vec<u8>)> = tensors(&path)
        .into_iter()
        .map(|(name, (shape, bytes))| {
            let value = |(at, bytes): (usize, &[u8])| {
                let value = f32::from_le_bytes(bytes.try_into().unwrap());
                value + if name.contains("loras") { 0.05 * ((at % 7) as f32 - 3.0) } else { 0.0 }
            };
            let bytes = bytes.chunks(4).enumerate().flat_map(|chunk| value(chunk).to_le_bytes()).collect();
            (name.clone(), shape, bytes)
        })
        .collect();
    let views = moved.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_merged_model_gives_what_the_model_gives_with_the_adapter() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    let adapters = ["lora[r=2]", "dora[r=2]", "ia3"].map(|config| {
        let adapter = place.adapter(&model, config);
        let moved = place.path(config.split('[').next().unwrap());
        fs::rename(adapter, &moved).unwrap();
        amplify(&moved);
        moved
    });
    let plain = hidden(&model, &[]);
    for adapter in &adapters {
        let adapter = adapter.to_str().unwrap();
        let (code, out, err) = place.run([
            "merge-into",
            "--model",
            "model",
            "--adapter",
            adapter,
            "--output",
            "merged",
            "--overwrite",
            "--json",
        ]);
        assert_eq!(code, 0, "{err}");
        let told = json_of(&out);
        let changed = told["changed"].as_u64().unwrap();
        assert!(changed > 0 && changed < told["tensors"].as_u64().unwrap(), "{told}");
        let expected = hidden(&model, &[Path::new(adapter)]);
        let merged = hidden(&place.path("merged"), &[]);
        assert!(largest_difference(&expected, &merged) < 1e-5, "{adapter}");
        assert!(largest_difference(&expected, &plain) > 1e-3, "{adapter}");
        // Its head is saved beside, its tokenizer copied, and every tensor has the name that it had.
        assert_eq!(told["heads"].as_array().unwrap().len(), 1);
        assert!(place.path("merged/heads/reviews/model_head.safetensors").is_file());
        assert!(place.path("merged/tokenizer.json").is_file());
        let (before, after) =
            (tensors(&model.join("model.safetensors")), tensors(&place.path("merged/model.safetensors")));
        assert!(before.keys().eq(after.keys()));
        let differing = before.iter().filter(|(name, tensor)| after[*name] != **tensor).count() as u64;
        assert_eq!(differing, changed);
    }
    // Nothing is left beside.
    let names: Vec<String> = fs::read_dir(place.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().all(|name| !name.starts_with(".saving")), "{names:?}");

    let (code, out, err) =
        place.run(["merge-into", "--model", "model", "--adapter", "x=lora", "--adapter", "y=ia3", "--output", "both"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("x, y") && out.contains("heads/y"), "{out}");
    let (code, out, err) = place.run(["predict", "--model", "both", "--adapter", "ia3", "--text", "a film", "--json"]);
    assert_eq!(code, 0, "{out} {err}");
}

#[test]
fn merging_into_a_model_never_replaces_what_it_reads_or_what_it_was_not_told_to() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    place.adapter(&model, "lora[r=2]");
    let merge = |output: &str, extra: &[&str]| {
        let arguments = ["merge-into", "--model", "model", "--adapter", "adapter", "--output", output];
        place.run(arguments.iter().chain(extra))
    };
    let before = tensors(&model.join("model.safetensors"));
    for (output, told) in [("model", "is the folder of"), ("adapter", "is the folder of"), (".", "holds the folder of")]
    {
        let (code, out, err) = merge(output, &["--overwrite"]);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(told), "{err}");
    }
    assert_eq!(merge("merged", &[]).0, 0);
    let (code, _, err) = merge("merged", &[]);
    assert_eq!(code, 2);
    assert!(err.contains("not empty") && err.contains("--overwrite"), "{err}");
    assert_eq!(merge("merged", &["--overwrite"]).0, 0);
    fs::create_dir(place.path("empty")).unwrap();
    assert_eq!(merge("empty", &[]).0, 0);
    assert!(before == tensors(&model.join("model.safetensors")));
    fs::remove_dir_all(place.path("adapter")).unwrap();
    place.adapter(&model, "seq_bn[reduction_factor=2]");
    let (code, _, err) = merge("other", &[]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("bottleneck") && err.contains("LoRA"), "{err}");
    assert!(!place.path("other").exists());
}

#[test]
fn a_model_of_16_bits_is_merged_in_f32_and_says_so() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    place.adapter(&model, "lora[r=2]");
    amplify(&place.path("adapter"));
    let file = model.join("model.safetensors");
    let half: Vec<(String, Vec<usize>, Vec<u8>)> = tensors(&file)
        .into_iter()
        .map(|(name, (shape, bytes))| {
            // bf16 is the upper half of f32.
            (format!("bert.{name}"), shape, bytes.chunks(4).flat_map(|value| [value[2], value[3]]).collect())
        })
        .collect();
    let views = half.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape.clone(), bytes).unwrap())
    });
    fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    fs::write(model.join("config.json"), config.replacen('{', r#"{"torch_dtype": "bfloat16","#, 1)).unwrap();
    let (code, _, err) = place.run(["merge-into", "--model", "model", "--adapter", "adapter", "--output", "merged"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("warning:") && err.contains("f32"), "{err}");
    assert!(fs::read_to_string(place.path("merged/config.json")).unwrap().contains("\"float32\""));
    assert!(tensors(&place.path("merged/model.safetensors")).keys().all(|name| name.starts_with("bert.")));
    let expected = hidden(&model, &[&place.path("adapter")]);
    assert!(largest_difference(&expected, &hidden(&place.path("merged"), &[])) < 1e-5);
}

#[test]
fn a_tokenizer_class_that_is_unknown_and_a_file_that_breaks_are_the_users_to_mend() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    place.adapter(&model, "lora[r=2]");
    let predict = || place.run(["predict", "--model", "model", "--adapter", "adapter", "--text", "a good film"]);
    fs::write(model.join("tokenizer_config.json"), r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#).unwrap();
    let (code, out, err) = predict();
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("BertJapaneseTokenizer") && err.contains("BertTokenizer"), "{err}");
    fs::remove_file(model.join("tokenizer_config.json")).unwrap();
    let json = fs::read_to_string(model.join("tokenizer.json")).unwrap();
    // A template with a token that is not described.
    fs::write(model.join("tokenizer.json"), json.replace(r#""[CLS]":{"id""#, r#""[NONE]":{"id""#)).unwrap();
    let (code, out, err) = predict();
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("tokenizer.json") && !err.contains("panicked"), "{err}");
}
