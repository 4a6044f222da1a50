//! Merged adapters run as those that the reference merged.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn::tensor::Device;
use burn_adapters_checkpoint::{AdapterFolder, HeadFolder, load_head};
use burn_adapters_merging::{Strategy, merge_folders, merge_heads};
use burn_adapters_model::{AdapterBank, BaseModel, Setup};
use burn_adapters_tests::{Golden, goldens, largest_difference, logits, read_json, values};
use burn_adapters_transformers::AutoModel;
use serde::Deserialize;

#[derive(Deserialize)]
struct Merge {
    model: String,
    inputs: Vec<String>,
    weights: Option<Vec<f64>>,
    normalize_weights: bool,
    strategy: String,
    average_head: bool,
    head: String,
}

/// The singular values are the reference's (`burn-adapters-merging` compares the matrices); `alpha` follows the rank here.
const SVD: &str = "lora_delta_w_svd";

#[test]
fn merged_adapters_give_the_references_logits() {
    let root = goldens().join("compositions");
    let device = Device::default();
    let mut checked = 0;
    for entry in std::fs::read_dir(root.join("merged")).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let merge: Merge = read_json(&dir.join("merge.json"));
        let normalize = merge.normalize_weights;
        let strategy = match merge.strategy.as_str() {
            "linear" => Strategy::Linear { normalize },
            "lora_linear_only_negate_b" => Strategy::LoraLinearOnlyNegateB { normalize },
            SVD => continue,
            other => panic!("{name}: {other}"),
        };
        let golden = Golden::read(&dir.join("golden.safetensors"));
        if !golden.0.contains_key("logits") {
            continue;
        }
        let equal = vec![1.0; merge.inputs.len()];
        let weights = merge.weights.unwrap_or(equal);
        let folder = |input: &String| root.join("adapters").join(format!("{}__{input}", merge.model));
        let read = |input: &String| AdapterFolder::read(folder(input)).unwrap();
        let inputs: Vec<_> = merge.inputs.iter().map(read).zip(weights.iter().copied()).collect();
        // An average of LoReFT is not orthonormal; what was trained with one pair of frozen matrices means nothing with
        // another.
        if name.ends_with("_loreft") || name.ends_with("_vera") {
            assert!(merge_folders(&inputs, &strategy, "merged").is_err(), "{name}");
            continue;
        }
        let (model, _) = AutoModel::from_dir(&goldens().join("models").join(&merge.model), &device).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &device);
        let merged = merge_folders(&inputs, &strategy, "merged").unwrap_or_else(|error| panic!("{name}: {error}"));
        bank.insert(merged.into_adapter(bank.spec(), &device, None).unwrap().0).unwrap();
        let head = if merge.average_head {
            let heads = merge.inputs.iter().map(|input| HeadFolder::read(folder(input)).unwrap());
            let heads: Vec<_> = heads.zip(weights).collect();
            let head = merge_heads(&heads, normalize, "merged").unwrap();
            let (head, _) = head.into_head(bank.spec().hidden_size, &device, None).unwrap();
            bank.insert_head("merged", head).unwrap();
            "merged".to_owned()
        } else {
            load_head(folder(&merge.head), &mut bank, None).unwrap();
            merge.head.clone()
        };
        let setup = Setup::adapter("merged").with_head(head);
        let hooks = bank.hooks(&setup).unwrap();
        let found = values(logits(&model, &bank, &setup, &hooks, &golden.batch()).into_values());
        let difference = largest_difference(&found, golden.values("logits"));
        assert!(difference < 9.9e-5, "{name}: the logits differ by {difference:e}");
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
}
