//! `config.json` is read strictly, and parameters are counted as in the reference.

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_transformers::{AutoModel, BertConfig, BertFamily, ModelConfig, ModelConfigError};
use serde_json::{Value, json};

fn minimal() -> Value {
    json!({
        "model_type": "bert", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 24, "max_position_embeddings": 12
    })
}

fn with(key: &str, value: Value) -> Result<ModelConfig, ModelConfigError> {
    let mut config = minimal();
    config[key] = value;
    ModelConfig::from_json_str(&config.to_string())
}

fn sized(family: BertFamily, vocab: usize, [hidden, layers, heads, intermediate]: [usize; 4]) -> BertConfig {
    let mut config = BertConfig::new(vocab, hidden, layers, heads, intermediate);
    config.family = family;
    if matches!(family, BertFamily::Roberta | BertFamily::XlmRoberta) {
        (config.max_position_embeddings, config.type_vocab_size) = (514, 1);
    }
    config
}

#[test]
fn parameters_are_counted_as_in_the_reference() {
    use BertFamily::{Bert, Electra, Roberta, XlmRoberta};
    let (base, large) = ([768, 12, 12, 3072], [1024, 24, 16, 4096]);
    let cases = [
        (sized(Bert, 30_522, base), 109_482_240),
        (sized(Bert, 30_522, large), 335_141_888),
        (sized(Bert, 30_522, [128, 2, 2, 512]), 4_385_920),
        (sized(Bert, 30_522, [384, 6, 12, 1536]), 22_713_216),
        (sized(Roberta, 50_265, base), 124_645_632),
        (sized(Roberta, 50_265, large), 355_359_744),
        (sized(XlmRoberta, 250_002, base), 278_043_648),
        (sized(Electra, 30_522, base), 108_891_648),
    ];
    for (config, parameters) in cases {
        assert_eq!(config.spec().parameters, parameters, "{config:?}");
    }
}

#[test]
fn the_count_is_that_of_the_model_that_is_built() {
    let mut electra = BertConfig::new(50, 16, 2, 2, 24);
    (electra.family, electra.embedding_size) = (BertFamily::Electra, 12);
    for config in [BertConfig::new(50, 16, 3, 2, 24), sized(BertFamily::Roberta, 50, [16, 2, 4, 20]), electra] {
        let bert = AutoModel::new_seeded(&config, 1, &Device::default());
        assert_eq!(Module::num_params(&bert), config.spec().parameters);
    }
}

#[test]
fn unknown_keys_are_ignored_and_absent_ones_have_the_family_s_defaults() {
    let mut minimal = minimal();
    minimal["torch_dtype"] = json!("float32");
    let config: BertConfig = serde_json::from_value(minimal.clone()).unwrap();
    assert_eq!((config.layer_norm_eps, config.type_vocab_size, config.pad_token_id), (1e-12, 2, 0));
    minimal["model_type"] = json!("roberta");
    let limits = ModelConfig::from_json_str(&minimal.to_string()).unwrap().limits();
    assert_eq!((limits.pad_id, limits.sequence), (1, 10));
}

#[test]
fn a_configuration_is_read_back_as_it_was_written() {
    let config: BertConfig = serde_json::from_value(minimal()).unwrap();
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<BertConfig>(&text).unwrap(), config);
}

#[test]
fn an_absent_key_is_named_with_its_file() {
    for key in ["model_type", "vocab_size", "hidden_size", "num_hidden_layers", "max_position_embeddings"] {
        let mut config = minimal();
        config.as_object_mut().unwrap().remove(key);
        let error = ModelConfig::from_json_str(&config.to_string()).unwrap_err();
        assert_eq!(error.to_string(), format!("config.json: the key `{key}` is missing"));
    }
    let error = with("model_type", json!("electra")).unwrap_err();
    assert!(matches!(error, ModelConfigError::MissingKey { key: "embedding_size", .. }));
}

#[test]
fn a_wrong_type_is_named_with_its_key() {
    let wrong = [
        ("hidden_size", json!("16")),
        ("hidden_size", json!(0)),
        ("hidden_size", json!(-16)),
        ("hidden_size", json!(16.5)),
        ("vocab_size", json!(u64::MAX)),
        ("hidden_dropout_prob", json!(1.5)),
        ("hidden_dropout_prob", json!("0.1")),
        ("layer_norm_eps", json!(0)),
        ("hidden_act", json!(3)),
        ("pad_token_id", json!(-1)),
    ];
    for (key, value) in wrong {
        match with(key, value.clone()) {
            Err(ModelConfigError::WrongType { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key} = {value}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_computed_is_refused() {
    let unsupported = [
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("add_cross_attention", json!(true)),
        ("hidden_act", json!("prelu")),
        ("pruned_heads", json!({ "0": [1] })),
        ("quantization_config", json!({ "bits": 4 })),
    ];
    for (key, value) in unsupported {
        match with(key, value) {
            Err(ModelConfigError::Unsupported { key: found, .. }) => assert_eq!(found, key),
            other => panic!("{key}: {other:?}"),
        }
    }
    for (key, value) in
        [("is_decoder", json!(false)), ("pruned_heads", json!({})), ("position_embedding_type", json!(null))]
    {
        assert!(with(key, value).is_ok(), "{key}");
    }
}

#[test]
fn another_model_type_names_the_supported_ones() {
    let error = with("model_type", json!("xlnet")).unwrap_err().to_string();
    for name in ["xlnet", "bert", "roberta", "xlm-roberta", "electra"] {
        assert!(error.contains(&format!("\"{name}\"")), "{error}");
    }
}

#[test]
fn contradictions_are_errors() {
    for (key, value) in
        [("num_attention_heads", json!(3)), ("pad_token_id", json!(40)), ("num_hidden_layers", json!(10_001))]
    {
        assert!(matches!(with(key, value), Err(ModelConfigError::Inconsistent { .. })), "{key}");
    }
    let mut roberta = minimal();
    roberta["model_type"] = json!("roberta");
    roberta["max_position_embeddings"] = json!(2);
    assert!(matches!(ModelConfig::from_json_str(&roberta.to_string()), Err(ModelConfigError::Inconsistent { .. })));
}

#[test]
fn text_that_is_no_configuration_is_an_error() {
    for text in ["", "{", "nonsense", "[1]", "3", "null"] {
        assert!(ModelConfig::from_json_str(text).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(ModelConfig::from_json_str(&deep), Err(ModelConfigError::NotJson { .. })));
}

/// A Llama whose positions are stretched so.
fn stretched(scaling: Value) -> Result<ModelConfig, ModelConfigError> {
    let config = json!({
        "model_type": "llama", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 8, "rope_scaling": scaling,
    });
    ModelConfig::from_json_str(&config.to_string())
}

#[test]
fn positions_that_no_model_stretches_so_are_errors() {
    for kind in ["dynamic", "longrope", "su", ""] {
        let error = stretched(json!({"rope_type": kind, "factor": 2.0})).unwrap_err();
        assert!(matches!(&error, ModelConfigError::Unsupported { key: "rope_scaling", .. }), "{error}");
        assert!(error.to_string().contains(&format!("\"{kind}\"")), "{error}");
    }
    let yarn = |key: &str, value: Value| {
        let mut scaling = json!({"rope_type": "yarn", "factor": 2.0});
        scaling[key] = value;
        stretched(scaling)
    };
    assert!(yarn("beta_fast", json!(null)).is_ok());
    for (key, value) in [
        ("factor", json!(0)),
        ("factor", json!("2")),
        ("factor", json!(null)),
        ("attention_factor", json!(0.0)),
        ("attention_factor", json!(-1.0)),
        ("beta_fast", json!(-32)),
        ("beta_slow", json!(33)),
        ("mscale", json!(true)),
        ("original_max_position_embeddings", json!([16])),
        ("truncate", json!(1)),
        ("low_freq_factor", json!(1.0)),
    ] {
        let error = yarn(key, value.clone()).unwrap_err().to_string();
        assert!(error.contains("rope_scaling") && error.contains(key), "{key} = {value}: {error}");
    }
}
