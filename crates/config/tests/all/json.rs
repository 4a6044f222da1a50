//! Dictionaries: their position in a file, old files, and errors.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use burn_adapters_config::{
    Activation, AdapterConfig, BottleneckConfig, InvertibleKind, LoraConfig, MethodConfig, ProblemKind as Kind,
    PromptTuningConfig, ReftConfig,
};

fn read(text: &str) -> AdapterConfig {
    AdapterConfig::from_json_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn kinds(text: &str) -> Vec<(String, Kind)> {
    let error = AdapterConfig::from_json_str(text).expect_err(text);
    error.problems().iter().map(|problem| (text[problem.span.clone()].to_owned(), problem.kind.clone())).collect()
}

const V2: &str = r#"{
  "config": {
    "adapter_residual_before_ln": false, "cross_adapter": false, "inv_adapter": null,
    "inv_adapter_reduction_factor": null, "leave_out": [], "ln_after": false, "ln_before": false,
    "mh_adapter": false, "non_linearity": "relu", "original_ln_after": true, "original_ln_before": true,
    "output_adapter": true, "reduction_factor": 16, "residual_before_ln": true
  },
  "hidden_size": 768, "model_class": "BertModel", "model_name": "bert-base-uncased", "model_type": "bert",
  "name": "sst", "version": "2.0.0"
}"#;

#[test]
fn a_file_of_version_2_is_read() {
    assert_eq!(read(V2), BottleneckConfig::seq_bn().into());
}

#[test]
fn a_file_of_version_1_is_read() {
    let text = r#"{
      "config": {
        "attention_type": "sent-lvl-dynamic", "new_attention_norm": false, "residual_before_ln": true,
        "adapter_residual_before_ln": false, "LN_after": false, "LN_before": false, "MH_Adapter": false,
        "Output_Adapter": true, "non_linearity": "gelu", "original_ln_after": true, "original_ln_before": true,
        "reduction_factor": 16.0,
        "invertible_adapter": {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2}
      },
      "name": "sst", "type": "text_task", "model_type": "bert", "hidden_size": 768
    }"#;
    let expected = BottleneckConfig::seq_bn_inv().with_non_linearity(Activation::GeluNew);
    assert_eq!(read(text), expected.into());
}

#[test]
fn the_old_invertible_adapter_may_be_absent_or_override() {
    let with = |more: &str| {
        read(&format!(
            r#"{{"mh_adapter": false, "output_adapter": true, "reduction_factor": 2, "non_linearity": "relu", {more}}}"#
        ))
    };
    let plain: AdapterConfig = BottleneckConfig::new(false, true, 2, Activation::Relu).into();
    assert_eq!(with(r#""invertible_adapter": null"#), plain);
    assert_eq!(with(r#""invertible_adapter": {}"#), plain);
    let glow = BottleneckConfig::new(false, true, 2, Activation::Relu)
        .with_inv_adapter(InvertibleKind::Glow)
        .with_inv_adapter_reduction_factor(4.0);
    let old = r#""inv_adapter": null, "invertible_adapter": {"block_type": "glow", "reduction_factor": 4}"#;
    assert_eq!(with(old), glow.into());
}

#[test]
fn gelu_changed_its_meaning_with_the_first_version_that_is_written_down() {
    let dictionary = r#"{"mh_adapter": false, "output_adapter": true, "reduction_factor": 16,
        "original_ln_before": true, "non_linearity": "NAME"}"#;
    let activation =
        |file: &str, name: &str| match read(&file.replace("DICT", dictionary).replace("NAME", name)).methods() {
            [MethodConfig::Bottleneck(config)] => config.non_linearity,
            other => panic!("{other:?}"),
        };
    let old = r#"{"config": DICT, "model_type": "bert"}"#;
    assert_eq!(activation(old, "gelu"), Activation::GeluNew);
    assert_eq!(activation(old, "gelu_orig"), Activation::Gelu);
    assert_eq!(activation(r#"{"config": DICT, "version": "1.0.1"}"#, "gelu"), Activation::Gelu);
    assert_eq!(activation(r#"{"config": DICT}"#, "gelu"), Activation::Gelu);
    assert_eq!(activation("DICT", "GELU"), Activation::Gelu);
}

#[test]
fn lora_of_versions_with_the_wrong_scaling_keeps_how_it_was_trained() {
    let alpha = |version: &str| {
        let text = format!(r#"{{"config": {{"architecture": "lora", "r": 4, "alpha": 16}}, "version": "{version}"}}"#);
        match read(&text).methods() {
            [MethodConfig::Lora(config)] => config.alpha,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(alpha("adapters.1.0.1"), 4.0);
    assert_eq!(alpha("adapters.0.2.2"), 4.0);
    assert_eq!(alpha("adapters.1.1.0"), 16.0);
    assert_eq!(alpha("adapters.1.3.0"), 16.0);
    assert_eq!(alpha("adapters.1.10.0"), 16.0);
    assert_eq!(alpha("3.2.1"), 16.0);
}

#[test]
fn absent_keys_take_the_defaults_of_the_architecture() {
    assert_eq!(read(r#"{"architecture": "lora"}"#), LoraConfig::lora().into());
    assert_eq!(read(r#"{"architecture": "mtl_lora", "r": 2}"#), LoraConfig::mtl_lora().with_r(2).into());
    assert_eq!(read(r#"{"architecture": "prompt_tuning"}"#), PromptTuningConfig::prompt_tuning().into());
    assert_eq!(read(r#"{"architecture": "prefix_tuning", "flat": true}"#), "prefix_tuning_flat".parse().unwrap());
    let missing = kinds(r#"{"architecture": "reft", "r": 1}"#);
    assert_eq!(missing.len(), 4);
    assert!(missing.iter().all(|(under, kind)| under == "{" && matches!(kind, Kind::MissingKey { .. })), "{missing:?}");
    assert_eq!(kinds("{}").len(), 4);
}

#[test]
fn strings_may_stand_in_json() {
    let expected: AdapterConfig = "lora[r=4]".parse().unwrap();
    assert_eq!(read(r#""lora[r=4]""#), expected);
    assert_eq!(read(r#"{"config": "lora[r=4]", "version": "1"}"#), expected);
    let text = r#"{"config": "lora[rr=4]"}"#;
    let error = AdapterConfig::from_json_str(text).unwrap_err();
    assert_eq!(&text[error.problems()[0].span.clone()], "rr");
    let union = read(r#"{"architecture": "union", "configs": ["lora", {"architecture": "prefix_tuning"}]}"#);
    assert_eq!(union, "lora|prefix_tuning".parse().unwrap());
}

#[test]
fn a_union_stands_under_configs() {
    let mam = AdapterConfig::mam();
    let value = mam.to_json_value();
    assert_eq!(value["architecture"], "union");
    assert_eq!(value["configs"].as_array().unwrap().len(), 2);
    assert_eq!(AdapterConfig::from_json_value(&value).unwrap(), mam);
    assert!(matches!(kinds(r#"{"architecture": "union"}"#)[..], [(_, Kind::MissingKey { key: "configs", .. })]));
    assert!(matches!(kinds(r#"{"configs": []}"#)[..], [(_, Kind::Empty)]));
    assert!(matches!(kinds(r#"{"configs": ["mam", "lora"]}"#)[..], [(_, Kind::NestedUnion { .. })]));
    let clash = kinds(r#"{"configs": [{"architecture": "lora"}, {"architecture": "lora", "r": 2}]}"#);
    assert!(matches!(clash[..], [(_, Kind::Clash { .. })]), "{clash:?}");
    let nested = r#"{"configs": [{"configs": ["lora"]}]}"#;
    assert!(matches!(kinds(nested)[..], [(_, Kind::NestedUnion { .. })]));
}

#[test]
fn problems_point_into_the_json() {
    let text = r#"{"architecture": "lora", "r": 0, "alhpa": 3, "attn_matrices": ["q", 1]}"#;
    let found = kinds(text);
    let under: Vec<_> = found.iter().map(|(under, _)| under.as_str()).collect();
    assert_eq!(under, ["0", "\"alhpa\"", "1"]);
    let found = kinds(r#"{"architecture": "loar"}"#);
    assert!(matches!(&found[0].1, Kind::UnknownArchitecture { nearest: Some(near), .. } if near == "lora"));
    let found = kinds(r#"{"architecture": "lora", "r": 2, "r": 3}"#);
    assert!(matches!(&found[0].1, Kind::DuplicateKey { .. }));
}

#[test]
fn what_is_no_configuration_is_said_to_be_none() {
    for text in ["", "{", "lora", "{'r': 2}", "[1,]", "{} {}", "{\"r\": NaN}"] {
        assert!(matches!(kinds(text)[..], [(_, Kind::InvalidJson { .. })]), "{text}");
    }
    for text in ["[]", "3", "null", r#"{"config": null}"#, r#"{"config": [1]}"#] {
        assert!(matches!(kinds(text)[..], [(_, Kind::NotAConfig { .. })]), "{text}");
    }
    let deep = format!(r#"{{"architecture": "lora", "attn_matrices": {}{}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(matches!(kinds(&deep)[..], [(_, Kind::TooDeep { .. })]));
    assert!(AdapterConfig::from_json_str(&"[".repeat(65_536)).is_err());
}

#[test]
fn what_the_reference_forgets_to_write_is_written_where_it_matters() {
    let direft: AdapterConfig = ReftConfig::direft().into();
    assert_eq!(direft.to_json_value()["subtract_projection"], false);
    assert!(AdapterConfig::from(ReftConfig::noreft()).to_json_value().get("subtract_projection").is_none());
    assert_eq!(AdapterConfig::from_json_value(&direft.to_json_value()).unwrap(), direft);
    let prompt: AdapterConfig = PromptTuningConfig::prompt_tuning().with_random_uniform_scale(0.1).into();
    assert_eq!(prompt.to_json_value()["random_uniform_scale"], 0.1);
    assert_eq!(AdapterConfig::from_json_value(&prompt.to_json_value()).unwrap(), prompt);
}

#[test]
fn integers_and_floats_are_written_as_the_reference_tells_them_apart() {
    let config = BottleneckConfig::seq_bn().with_reduction_factor(0.5).with_scaling(2.0).with_dropout(0.0);
    let text = AdapterConfig::from(config).to_json_value().to_string();
    assert!(text.contains(r#""reduction_factor":0.5"#) && text.contains(r#""scaling":2.0"#), "{text}");
    assert!(text.contains(r#""dropout":0.0"#), "{text}");
    let text = AdapterConfig::from(LoraConfig::new(4).with_alpha(2.5)).to_json_value().to_string();
    assert!(text.contains(r#""alpha":2.5"#) && text.contains(r#""r":4"#), "{text}");
}

#[test]
fn serde_reads_and_writes_the_dictionary() {
    let mam = AdapterConfig::mam();
    let text = serde_json::to_string(&mam).unwrap();
    assert_eq!(serde_json::from_str::<AdapterConfig>(&text).unwrap(), mam);
    assert_eq!(serde_json::from_str::<AdapterConfig>("\"seq_bn|lora\"").unwrap(), "seq_bn|lora".parse().unwrap());
    let lora = LoraConfig::new(3);
    let text = serde_json::to_string(&lora).unwrap();
    assert_eq!(serde_json::from_str::<LoraConfig>(&text).unwrap(), lora);
    let error = serde_json::from_str::<BottleneckConfig>(&text).unwrap_err().to_string();
    assert!(error.starts_with("expected a bottleneck adapter, found `lora[r=3,alpha=3]`"), "{error}");
    assert!(serde_json::from_str::<MethodConfig>("\"mam\"").is_err());
}
