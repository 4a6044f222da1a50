//! What holds for every merge, and what is refused.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use burn::tensor::Device;
use burn_adapters_checkpoint::{AdapterFolder, HeadFolder, RawTensor, SaveOptions, Tensors, save_adapter};
use burn_adapters_config::MethodConfig;
use burn_adapters_core::{ModelSpec, SiteNames, StackSpec};
use burn_adapters_heads::HeadConfig;
use burn_adapters_merging::{MajoritySign, MergeError, Strategy, merge_folders, merge_heads};
use burn_adapters_model::AdapterBank;

const AVERAGE: Strategy = Strategy::Linear { normalize: true };
const SUM: Strategy = Strategy::Linear { normalize: false };
const TOTAL: MajoritySign = MajoritySign::Total;

const METHODS: [&str; 14] = [
    "seq_bn[reduction_factor=2]",
    "seq_bn[reduction_factor=2,ln_before=True,scaling='learned']",
    "compacter[phm_dim=2,reduction_factor=2]",
    "seq_bn_inv[reduction_factor=2]",
    "lora[r=2]",
    "dora[r=2]",
    "vera[r=2,init_weights_seed=1]",
    "ia3",
    "mtl_lora[r=2]",
    "prefix_tuning[prefix_length=2,bottleneck_size=4]",
    "prompt_tuning[prompt_length=2]",
    "loreft[r=2]",
    "noreft[r=2]",
    "prefix_tuning_flat[prefix_length=2]|par_bn[reduction_factor=2]",
];

fn spec() -> ModelSpec {
    let names = SiteNames { prefix: Some("bert"), ..SiteNames::OWN };
    ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16)).with_names(names)
}

/// A folder as it is saved, its weights drawn, and all but what stays frozen or orthogonal moved.
fn folder(name: &str, config: &str, seed: u64) -> AdapterFolder {
    let mut bank = AdapterBank::new(spec(), &Device::default());
    // A bank draws no DoRA without the model's weights.
    let drawn = config.replace("dora", "lora");
    bank.add_seeded(name, drawn.parse().unwrap(), seed).unwrap();
    let dir = tempfile::tempdir().unwrap();
    save_adapter(dir.path(), &bank, name, &SaveOptions::default()).unwrap();
    let mut folder = AdapterFolder::read(dir.path()).unwrap();
    if drawn != config {
        folder.config = config.parse().unwrap();
        let magnitude = RawTensor { shape: vec![8, 1], values: vec![1.0; 8] };
        let names: Vec<String> = folder.tensors.keys().map(|name| name.replace("lora_B", "m.weight")).collect();
        folder
            .tensors
            .extend(names.into_iter().filter(|name| name.ends_with("m.weight")).map(|name| (name, magnitude.clone())));
    }
    for (name, tensor) in &mut folder.tensors {
        let diagonal = name.ends_with("vera_D") || name.ends_with("vera_B");
        let kept = name.contains("shared_parameters") || name.contains("parametrizations");
        for (at, value) in tensor.values.iter_mut().enumerate() {
            let on_diagonal = at % (tensor.shape[0] + 1) == 0;
            if !kept && (!diagonal || on_diagonal) {
                *value += ((at as f32 + 1.0) * (seed as f32 + 0.7)).sin();
            }
        }
    }
    folder
}

fn renamed(tensors: &Tensors, from: &str, to: &str) -> Tensors {
    let name = |name: &String| name.replace(&format!(".{from}."), &format!(".{to}."));
    tensors.iter().map(|(full, tensor)| (name(full), tensor.clone())).collect()
}

fn bits(tensors: &Tensors) -> Vec<(String, Vec<u32>)> {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.values.iter().map(|v| v.to_bits()).collect())).collect()
}

fn refused(inputs: &[(AdapterFolder, f64)], strategy: Strategy) -> MergeError {
    merge_folders(inputs, &strategy, "m").unwrap_err()
}

fn loads(folder: AdapterFolder) {
    folder.into_adapter(&spec(), &Device::default(), None).unwrap();
}

#[test]
fn an_average_with_the_weights_1_and_0_is_the_first_bit_for_bit() {
    for method in METHODS {
        let (a, b) = (folder("a", method, 1), folder("b", method, 2));
        let expected = bits(&renamed(&a.tensors, "a", "m"));
        let merged = merge_folders(&[(a.clone(), 1.0), (b, 0.0)], &AVERAGE, "m").unwrap();
        assert_eq!(bits(&merged.tensors), expected, "{method}");
        let alone = merge_folders(&[(a, 1.0)], &SUM, "m").unwrap();
        assert_eq!(bits(&alone.tensors), expected, "{method}");
        loads(alone);
    }
}

#[test]
fn an_average_is_written_read_and_loaded() {
    for method in METHODS.into_iter().filter(|method| !method.starts_with("loreft")) {
        let inputs = [(folder("a", method, 1), 3.0), (folder("b", method, 2), 1.0)];
        let merged = merge_folders(&inputs, &AVERAGE, "both of them").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("new");
        let report = merged.write(&at).unwrap();
        assert_eq!(report.tensors, merged.tensors.len());
        let read = AdapterFolder::read(&at).unwrap();
        assert_eq!(
            (&read.tensors, &read.config, read.meta.name.as_str()),
            (&merged.tensors, &merged.config, "both of them")
        );
        let name = inputs[0].0.tensors.keys().find(|name| !name.contains("shared_parameters")).unwrap();
        let [a, b] = [name.clone(), name.replace(".a.", ".b.")];
        let merged = &merged.tensors[&name.replace(".a.", ".both of them.")];
        for (at, value) in merged.values.iter().enumerate() {
            let expected = 0.75 * inputs[0].0.tensors[&a].values[at] + 0.25 * inputs[1].0.tensors[&b].values[at];
            assert!((value - expected).abs() < 1e-6, "{method}: {name}");
        }
        loads(read);
    }
}

#[test]
fn everything_of_one_adapter_kept_is_that_adapter() {
    let strategies = [
        Strategy::Ties { density: 1.0, majority_sign: TOTAL },
        Strategy::DareLinear { density: 1.0, seed: 3 },
        Strategy::DareTies { density: 1.0, majority_sign: MajoritySign::Frequency, seed: 3 },
    ];
    for strategy in strategies {
        for method in
            ["lora[r=2,alpha=5]", "seq_bn[reduction_factor=2,ln_before=True,scaling='learned']", "ia3", "noreft[r=2]"]
        {
            let a = folder("a", method, 1);
            let merged = merge_folders(&[(a.clone(), 1.0)], &strategy, "m").unwrap();
            assert_eq!(merged.config, a.config);
            for (name, expected) in renamed(&a.tensors, "a", "m") {
                for (found, expected) in merged.tensors[&name].values.iter().zip(&expected.values) {
                    assert!((found - expected).abs() < 1e-7, "{strategy} {method}: {name}");
                }
            }
            loads(merged);
        }
    }
}

fn update(folder: &AdapterFolder, module: &str) -> Vec<f64> {
    let [MethodConfig::Lora(config)] = folder.config.methods() else { panic!("{}", folder.config) };
    let tensor = |part: &str| &folder.tensors[&format!("bert.{module}.loras.{}.{part}", folder.meta.name)];
    let (a, b) = (tensor("lora_A"), tensor("lora_B"));
    let (rank, columns, rows) = (a.shape[0], a.shape[1], b.shape[0]);
    assert_eq!(rank, config.r);
    let at = |row: usize, column: usize| {
        let products =
            (0..rank).map(|at| f64::from(b.values[row * rank + at]) * f64::from(a.values[at * columns + column]));
        products.sum::<f64>() * config.alpha / config.r as f64
    };
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)))
        .map(|(row, column)| at(row, column))
        .collect()
}

#[test]
fn the_decomposition_at_full_rank_is_the_sum_of_updates_of_different_ranks_and_factors() {
    let (a, b) = (folder("a", "lora[r=2,alpha=6]", 1), folder("b", "lora[r=3,alpha=1]", 2));
    let inputs = [(a.clone(), 0.8), (b.clone(), -1.5)];
    for rank in [5, 8] {
        let merged = merge_folders(&inputs, &Strategy::LoraDeltaWSvd { rank, normalize: false }, "m").unwrap();
        for module in ["encoder.layer.0.query", "encoder.layer.1.value"] {
            let expected = update(&a, module).into_iter().zip(update(&b, module)).map(|(a, b)| 0.8 * a - 1.5 * b);
            for (found, expected) in update(&merged, module).into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
            }
        }
        loads(merged);
    }
    let error = refused(&inputs, Strategy::LoraDeltaWSvd { rank: 9, normalize: false });
    assert!(matches!(error, MergeError::Rank { rank: 9, rows: 8, columns: 8, .. }), "{error}");
}

#[test]
fn what_dare_drops_depends_on_the_seed_alone() {
    let method = "seq_bn[reduction_factor=2,ln_before=True]";
    let merge = |names: [&str; 2], seed| {
        let inputs = [(folder(names[0], method, 1), 1.0), (folder(names[1], method, 2), 0.5)];
        merge_folders(&inputs, &Strategy::DareLinear { density: 0.5, seed }, "m").unwrap()
    };
    let merged = merge(["a", "b"], 7);
    assert_eq!(merged.tensors, merge(["c", "d"], 7).tensors);
    assert_ne!(merged.tensors, merge(["a", "b"], 8).tensors);
    // A norm has two names: what is dropped under the one is dropped under the other.
    loads(merged);
}

#[test]
fn ties_takes_the_vectors_of_ia3_from_1() {
    let inputs = [("a", 1.5), ("b", 0.8)].map(|(name, value)| {
        let mut folder = folder(name, "ia3", 1);
        folder.tensors.values_mut().for_each(|tensor| tensor.values.fill(value));
        (folder, 1.0)
    });
    let merged = merge_folders(&inputs, &Strategy::Ties { density: 1.0, majority_sign: TOTAL }, "m").unwrap();
    // +0.5 wins over −0.2.
    assert!(merged.tensors.values().all(|tensor| tensor.values.iter().all(|value| *value == 1.5)));
}

#[test]
fn an_adapter_of_the_bare_base_model_merges_with_one_of_a_class_with_heads() {
    let (a, mut b) = (folder("a", "lora[r=2]", 1), folder("b", "lora[r=2]", 2));
    let expected = merge_folders(&[(a.clone(), 0.5), (b.clone(), 0.5)], &SUM, "m").unwrap();
    b.tensors = b.tensors.into_iter().map(|(name, tensor)| (name.replacen("bert.", "", 1), tensor)).collect();
    assert_eq!(merge_folders(&[(a, 0.5), (b, 0.5)], &SUM, "m").unwrap().tensors, expected.tensors);
}

#[test]
fn wrong_arguments_are_refused() {
    let lora = |seed| folder("a", "lora[r=2]", seed);
    assert_eq!(refused(&[], AVERAGE), MergeError::NoInputs);
    assert!(matches!(refused(&[(lora(1), f64::NAN)], AVERAGE), MergeError::Weight { .. }));
    let canceling = [(lora(1), 0.3), (lora(2), -0.1), (lora(3), -0.2)];
    assert!(matches!(refused(&canceling, AVERAGE), MergeError::WeightSum { .. }));
    assert!(merge_folders(&canceling, &SUM, "m").is_ok());
    for name in ["", "a.b", "a\nb"] {
        let error = merge_folders(&canceling, &SUM, name).unwrap_err();
        assert_eq!(error, MergeError::BadName { name: name.into() });
        assert!(error.to_string().lines().count() == 1, "{error}");
    }
    for density in [0.0, 1.1, -1.0, f64::NAN] {
        let error = refused(&[(lora(1), 1.0)], Strategy::Ties { density, majority_sign: TOTAL });
        assert!(matches!(error, MergeError::Density { .. }));
    }
    let zero = Strategy::LoraDeltaWSvd { rank: 0, normalize: true };
    assert_eq!(refused(&[(lora(1), 1.0)], zero), MergeError::ZeroRank);
    assert!(matches!(refused(&[(lora(1), 1e300)], SUM), MergeError::NotFinite { .. }));
}

#[test]
fn a_negative_weight_that_does_not_subtract_is_noted() {
    let notes = |config: &str, weights: [f64; 2], strategy: Strategy| {
        let inputs = [(folder("a", config, 1), weights[0]), (folder("b", config, 1), weights[1])];
        merge_folders(&inputs, &strategy, "m").unwrap().notes
    };
    for config in [
        "lora[r=2]",
        "dora[r=2]",
        "mtl_lora[r=2]",
        "vera[r=2,init_weights_seed=1]",
        "lora[r=2]|seq_bn[reduction_factor=2]",
    ] {
        let notes = notes(config, [1.0, -0.5], SUM);
        assert!(notes.len() == 1 && notes[0].contains("`b` is added with the factor 0.250"), "{config}: {notes:?}");
        assert_eq!(notes[0].contains("lora_delta_w_svd"), config == "lora[r=2]", "{config}: {notes:?}");
    }
    // Weights that are positive after division, and what is no product of two factors.
    assert!(notes("lora[r=2]", [-1.0, -1.0], AVERAGE).is_empty());
    assert!(notes("ia3", [1.0, -0.5], SUM).is_empty());
    for strategy in [
        Strategy::LoraLinearOnlyNegateB { normalize: false },
        Strategy::LoraDeltaWSvd { rank: 2, normalize: false },
        Strategy::Ties { density: 1.0, majority_sign: TOTAL },
    ] {
        assert!(notes("lora[r=2]", [1.0, -0.5], strategy).is_empty());
    }
}

#[test]
fn the_decomposition_subtracts_an_update() {
    let (good, bad) = (folder("good", "lora[r=2]", 1), folder("bad", "lora[r=2]", 2));
    let inputs = [(good.clone(), 1.0), (bad, 1.0)];
    let sum = merge_folders(&inputs, &Strategy::LoraDeltaWSvd { rank: 4, normalize: false }, "sum").unwrap();
    let inputs = [(sum, 1.0), (inputs[1].0.clone(), -1.0)];
    let back = merge_folders(&inputs, &Strategy::LoraDeltaWSvd { rank: 2, normalize: false }, "good").unwrap();
    let update = |folder: &AdapterFolder, at: &str| {
        let of = |name: &str| {
            let found = folder.tensors.iter().find(|(key, _)| key.contains(at) && key.ends_with(name));
            found.map(|(_, tensor)| tensor.clone()).unwrap()
        };
        let (a, b) = (of("lora_A"), of("lora_B"));
        let [rank, columns] = [a.shape[0], a.shape[1]];
        let cell = |row: usize, column: usize| {
            (0..rank).map(|k| b.values[row * rank + k] * a.values[k * columns + column]).sum::<f32>()
        };
        (0..b.shape[0])
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(r, c)| cell(r, c))
            .collect::<Vec<_>>()
    };
    let (expected, found) = (update(&good, "layer.0.query"), update(&back, "layer.0.query"));
    assert!(expected.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5), "{expected:?} {found:?}");
}

#[test]
fn adapters_that_differ_are_refused_with_what_differs() {
    let error = |a: &str, b: &str, strategy| {
        refused(&[(folder("a", a, 1), 1.0), (folder("b", b, 2), 1.0)], strategy).to_string()
    };
    let ranks = error("lora[r=2]", "lora[r=4]", AVERAGE);
    assert_eq!(ranks, "`a` and `b` are configured differently: `r` is 2 and 4");
    assert!(error("lora[r=2]", "seq_bn", AVERAGE).contains("configured differently"));
    assert!(error("lora[r=2,alpha=1]", "lora[r=2]", AVERAGE).contains("`alpha` is 1"));
    let allowed =
        [(folder("a", "lora[r=2,dropout=0.1]", 1), 1.0), (folder("b", "lora[r=2,init_weights_seed=3]", 2), 1.0)];
    assert!(merge_folders(&allowed, &AVERAGE, "m").is_ok());

    let mut inputs = [(folder("a", "lora[r=2]", 1), 1.0), (folder("b", "lora[r=2]", 2), 1.0)];
    inputs[0].0.meta.model_name = Some("google-bert/bert-base-uncased".into());
    inputs[1].0.meta.model_name = Some("bert-base-uncased".into());
    assert!(merge_folders(&inputs, &AVERAGE, "m").is_ok());
    inputs[1].0.meta.model_name = Some("bert-base-cased".into());
    assert!(matches!(refused(&inputs, AVERAGE), MergeError::Model { what: "the model", .. }));
    inputs[1].0.meta.hidden_size = Some(16);
    assert!(matches!(refused(&inputs, AVERAGE), MergeError::Model { what: "the hidden size", .. }));

    let mut inputs = [(folder("a", "lora[r=2]", 1), 1.0), (folder("b", "lora[r=2]", 2), 1.0)];
    let name = inputs[1].0.tensors.keys().next().unwrap().clone();
    let tensor = inputs[1].0.tensors.remove(&name).unwrap();
    assert!(matches!(refused(&inputs, AVERAGE), MergeError::Missing { without, .. } if without == "b"));
    let reshaped = RawTensor { shape: vec![tensor.values.len()], values: tensor.values.clone() };
    inputs[1].0.tensors.insert(name.clone(), reshaped);
    assert!(matches!(refused(&inputs, AVERAGE), MergeError::Shape { .. }));
    let svd = Strategy::LoraDeltaWSvd { rank: 1, normalize: true };
    assert!(matches!(refused(&inputs, svd), MergeError::Malformed { .. }));
    inputs[1].0.tensors.insert(name.clone(), RawTensor { shape: vec![usize::MAX, 2], values: vec![] });
    assert!(matches!(refused(&inputs, AVERAGE), MergeError::Malformed { .. }));
    inputs[1].0.tensors.insert(name, tensor);
    inputs[1].0.meta.name = "other".into();
    assert!(matches!(refused(&inputs, AVERAGE), MergeError::Stray { .. }));
}

#[test]
fn what_a_strategy_cannot_merge_is_refused_with_the_reason() {
    let ties = Strategy::Ties { density: 0.5, majority_sign: TOTAL };
    let negate = Strategy::LoraLinearOnlyNegateB { normalize: false };
    let svd = Strategy::LoraDeltaWSvd { rank: 1, normalize: false };
    let cases = [
        ("loreft[r=2]", AVERAGE, "Householder"),
        ("loreft[r=2]", ties, "Householder"),
        ("dora[r=2]", ties, "magnitudes"),
        ("dora[r=2]", negate, "magnitudes"),
        ("vera[r=2,init_weights_seed=1]", svd, "frozen"),
        ("vera[r=2,init_weights_seed=1]", ties, "frozen"),
        ("ia3", svd, "low-rank"),
        ("mtl_lora[r=2]", svd, "just B A"),
        ("lora[r=2,use_gating=True]", negate, "just B A"),
        ("seq_bn", negate, "no matrices A and B"),
        ("seq_bn", svd, "no matrices A and B"),
        ("unipelt", negate, "LoRA only"),
    ];
    for (method, strategy, reason) in cases {
        let error = refused(&[(folder("a", method, 1), 1.0), (folder("b", method, 2), 1.0)], strategy);
        assert!(matches!(error, MergeError::Unsupported { .. }), "{method} {strategy}: {error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let error = refused(&[(folder("a", "vera[r=2]", 1), 1.0), (folder("b", "vera[r=2]", 2), 1.0)], AVERAGE);
    assert!(matches!(error, MergeError::Frozen { .. }), "{error}");
}

fn head(name: &str, labels: [&str; 2], weight: [f32; 16], bias: [f32; 2]) -> HeadFolder {
    let meta = folder(name, "lora[r=2]", 1).meta;
    let tensors = [("weight", vec![2, 8], weight.to_vec()), ("bias", vec![2], bias.to_vec())];
    let tensors = tensors.map(|(kind, shape, values)| (format!("heads.{name}.1.{kind}"), RawTensor { shape, values }));
    HeadFolder::new(meta, HeadConfig::classification(2).with_layers(1).with_labels(labels), tensors.into())
}

#[test]
fn heads_are_averaged_label_by_label() {
    let mut second = [2.0; 16];
    second[8..].fill(6.0);
    let a = head("a", ["bad", "good"], [0.0; 16], [1.0, 2.0]);
    let b = head("b", ["good", "bad"], second, [4.0, 8.0]);
    let merged = merge_heads(&[(a.clone(), 1.0), (b.clone(), 1.0)], true, "m").unwrap();
    assert_eq!(merged.config.labels(), ["bad", "good"]);
    assert_eq!(merged.tensors["heads.m.1.bias"].values, [4.5, 3.0]);
    assert_eq!(merged.tensors["heads.m.1.weight"].values[..8], [3.0; 8]);
    assert_eq!(merged.tensors["heads.m.1.weight"].values[8..], [1.0; 8]);

    let dir = tempfile::tempdir().unwrap();
    merged.write(dir.path()).unwrap();
    assert!(fs::exists(dir.path().join("model_head.safetensors")).unwrap());
    let read = HeadFolder::read(dir.path()).unwrap();
    assert_eq!(read.tensors, merged.tensors);
    read.into_head(8, &Device::default(), None).unwrap();

    let other = head("c", ["bad", "fair"], [0.0; 16], [0.0; 2]);
    let error = merge_heads(&[(a.clone(), 1.0), (other, 1.0)], true, "m").unwrap_err();
    assert!(matches!(error, MergeError::Labels { .. }), "{error}");
    assert_eq!(merge_heads(&[], true, "m").unwrap_err(), MergeError::NoInputs);
    let mut wider = b;
    wider.config.layers = 2;
    let error = merge_heads(&[(a, 1.0), (wider, 1.0)], true, "m").unwrap_err();
    assert_eq!(error.to_string(), "`a` and `b` are configured differently: `layers` is 1 and 2");
}
