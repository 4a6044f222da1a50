//! The peak of memory while a model of 16-bit weights is loaded, measured in a process of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use burn::tensor::{Device, FloatDType, TensorData};
use burn_adapters_tensors::{FloatType, TensorFileError, save_safetensors};
use burn_adapters_transformers::{AutoModel, WeightFormat};
use half::bf16;

const HIDDEN: usize = 768;
const WIDE: usize = 3072;
const LAYERS: usize = 12;
const VOCABULARY: usize = 24_000;
const MIB: u64 = 1 << 20;

/// The shapes of the tensors in a file.
fn shapes() -> BTreeMap<String, Vec<usize>> {
    let mut shapes = BTreeMap::new();
    let mut layer = |name: String, shape: &[usize]| {
        shapes.insert(format!("{name}.weight"), shape.to_vec());
        shapes.insert(format!("{name}.bias"), shape[..1].to_vec());
    };
    layer("embeddings.LayerNorm".into(), &[HIDDEN]);
    layer("pooler.dense".into(), &[HIDDEN, HIDDEN]);
    for index in 0..LAYERS {
        let at = |name: &str| format!("encoder.layer.{index}.{name}");
        for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            layer(at(name), &[HIDDEN, HIDDEN]);
        }
        layer(at("attention.output.LayerNorm"), &[HIDDEN]);
        layer(at("intermediate.dense"), &[WIDE, HIDDEN]);
        layer(at("output.dense"), &[HIDDEN, WIDE]);
        layer(at("output.LayerNorm"), &[HIDDEN]);
    }
    for (name, rows) in [("word", VOCABULARY), ("position", 512), ("token_type", 2)] {
        shapes.insert(format!("embeddings.{name}_embeddings.weight"), vec![rows, HIDDEN]);
    }
    shapes
}

/// Writes a BERT of bf16 weights; in `parts` files, if more than one. Returns their size.
fn write_model(dir: &Path, parts: usize) -> u64 {
    let config = serde_json::json!({
        "model_type": "bert", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": 12, "intermediate_size": WIDE, "hidden_act": "gelu", "max_position_embeddings": 512,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let (mut map, mut size) = (serde_json::Map::new(), 0);
    for part in 0..parts {
        let name = if parts == 1 { "model.safetensors".to_owned() } else { format!("model-{part}.safetensors") };
        let tensors: BTreeMap<_, _> = shapes()
            .into_iter()
            .enumerate()
            .filter(|(index, _)| index % parts == part)
            .map(|(_, (name, shape))| (name, (FloatType::Bf16, shape)))
            .collect();
        map.extend(tensors.keys().map(|tensor| (tensor.clone(), name.clone().into())));
        let path = dir.join(name);
        let written = save_safetensors::<TensorFileError>(&path, &tensors, &[("format", "pt")], |name| {
            let shape = tensors[name].1.clone();
            Ok(TensorData::full(shape, bf16::from_f32(0.01)))
        });
        size += written.unwrap();
    }
    if parts > 1 {
        let index = serde_json::json!({ "weight_map": map });
        fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
    size
}

/// A value of this process' status, in bytes.
fn status(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// What the other test starts: loads the folder of the environment and prints by how much the peak grew.
#[test]
fn load_in_a_process_of_its_own() {
    let Some(dir) = std::env::var_os("MEMORY_TEST_MODEL") else { return };
    let bf16 = std::env::var_os("MEMORY_TEST_BF16").is_some();
    let format = if bf16 { WeightFormat::Bf16 } else { WeightFormat::F32 };
    let before = status("VmRSS:");
    let (bert, report) = AutoModel::from_dir_as(Path::new(&dir), format, &Device::default()).unwrap();
    println!("\npeak {} {}", status("VmHWM:") - before, report.parameters);
    drop(bert);
}

/// The peak in bytes, and the number of parameters.
fn peak(dir: &Path, bf16: bool) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "memory::load_in_a_process_of_its_own", "--nocapture"]).env("MEMORY_TEST_MODEL", dir);
    if bf16 {
        child.env("MEMORY_TEST_BF16", "1");
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("peak "));
    let (peak, parameters) = line.unwrap_or_else(|| panic!("{output:?}")).split_once(' ').unwrap();
    (peak.parse().unwrap(), parameters.parse().unwrap())
}

#[test]
fn loading_takes_the_memory_of_the_model_and_of_one_tensor() {
    let device = Device::default();
    // The memory of other backends is not that of the process, or is pooled.
    if std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex") {
        return;
    }
    // The table of words, read and then put into the model, and what else a process takes.
    let slack = 2 * 4 * (VOCABULARY * HIDDEN) as u64 + 32 * MIB;
    let linear = ((4 * HIDDEN * HIDDEN + 2 * HIDDEN * WIDE) * LAYERS + HIDDEN * HIDDEN) as u64;
    for parts in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let size = write_model(dir.path(), parts);
        assert!(size > 200_000_000, "{size}");
        let (f32, parameters) = peak(dir.path(), false);
        let model = 4 * parameters;
        println!("{parts} files of {} MiB: f32 peaks at {} MiB, the model has {}", size / MIB, f32 / MIB, model / MIB);
        assert!(f32 < model + slack, "{f32} for {model}");
        if device.supports_dtype(FloatDType::BF16) {
            let (bf16, _) = peak(dir.path(), true);
            let model = model - 2 * linear;
            println!("    bf16 peaks at {} MiB, the model has {}", bf16 / MIB, model / MIB);
            assert!(bf16 < model + slack && bf16 < f32 - linear, "{bf16} for {model}, {f32} as f32");
        }
    }
}
