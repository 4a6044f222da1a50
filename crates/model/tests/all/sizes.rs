//! Sizes that no machine has memory for are errors before anything is allocated, and no number makes a panic.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_config::{AdapterConfig, LoraConfig, PrefixTuningConfig, identifiers};
use burn_adapters_core::{ModelSpec, StackSpec};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BankError, BuildError};

fn spec() -> ModelSpec {
    ModelSpec::new("bert", 8).with_stack(StackSpec::encoder(2, 8, 2, 16))
}

fn bank() -> AdapterBank {
    AdapterBank::new(spec(), &Device::default())
}

/// What is too large says how many parameters and bytes, and which attributes to change.
fn refused(config: &str, parameters: u128, remedies: &[&str]) {
    let config: AdapterConfig = config.parse().unwrap();
    let mut bank = bank();
    let started = Instant::now();
    for error in [bank.add("a", config.clone()).unwrap_err(), bank.plan("a", config.clone()).unwrap_err()] {
        let BankError::Build(BuildError::TooLarge { source, .. }) = &error else { panic!("{config}: {error}") };
        assert_eq!(source.parameters, parameters, "{config}");
        assert!(source.needed >= 4 * parameters && source.needed > u128::from(source.available), "{error}");
        let text = error.to_string();
        for part in [&source.parameters.to_string(), &source.needed.to_string(), &source.available.to_string()] {
            assert!(text.contains(part.as_str()), "{text}");
        }
        assert!(remedies.iter().all(|remedy| text.contains(&format!("`{remedy}`"))), "{text}");
    }
    assert!(started.elapsed().as_secs() < 5, "{config}");
    assert_eq!(bank.names().count(), 0);
}

#[test]
fn an_adapter_that_memory_cannot_hold_is_an_error_with_numbers() {
    const TRILLION: u128 = 1_000_000_000_000;
    // Query and value of two layers, `A` and `B` each.
    refused("lora[r=1000000000000]", 4 * 16 * TRILLION, &["r"]);
    // The shared matrices, and two vectors a matrix.
    refused("vera[r=1000000000000]", 16 * TRILLION + 4 * (TRILLION + 8), &["r"]);
    refused("seq_bn[reduction_factor=1e-12]", 2 * (17 * 8 * TRILLION + 8), &["reduction_factor"]);
    refused("prompt_tuning[prompt_length=9223372036854775808]", 8 << 63, &["prompt_length"]);
    refused("prefix_tuning_flat[prefix_length=1000000000000]", 32 * TRILLION, &["prefix_length"]);
    refused(
        "prefix_tuning[prefix_length=1000000000000,bottleneck_size=1]",
        8 * TRILLION + 9 + 64,
        &["prefix_length", "bottleneck_size"],
    );
    refused("noreft[r=1000000000000]", 2 * 2 * 17 * TRILLION, &["r"]);
    // The largest method of a union is the one to change.
    refused("seq_bn[reduction_factor=2]|lora[r=1000000000000]", 64 * TRILLION + 2 * (64 + 12), &["r"]);
}

#[test]
fn heads_and_fusions_have_the_same_limit() {
    let mut bank = AdapterBank::new(
        ModelSpec::new("bert", 1 << 22).with_stack(StackSpec::encoder(1, 1 << 22, 1, 16)),
        &Device::default(),
    );
    let error = bank.add_head("h", &HeadConfig::classification(1 << 24)).unwrap_err().to_string();
    assert!(error.contains("bytes") && error.contains("`num_labels`"), "{error}");
    let error = bank.add_head("h", &HeadConfig::classification(2).with_layers(1024)).unwrap_err().to_string();
    assert!(error.contains("`layers`"), "{error}");
    let error = bank.add_head("h", &HeadConfig::classification(1_000_000_000)).unwrap_err().to_string();
    assert!(error.contains("16777216"), "{error}");
    assert!(bank.add_head("h", &HeadConfig::classification(2).with_layers(usize::MAX)).is_err());
    for name in ["a", "b"] {
        bank.add(name, "seq_bn[reduction_factor=4194304]".parse().unwrap()).unwrap();
    }
    let error = bank.add_fusion("a,b", &["a", "b"], &FusionConfig::dynamic(), 1).unwrap_err();
    assert!(matches!(error, BankError::FusionTooLarge { .. }), "{error}");
}

#[test]
fn sizes_given_in_rust_are_checked_too() {
    let sizes = [usize::MAX, usize::MAX / 2 + 1, 1 << 62, 1 << 40];
    for size in sizes {
        assert!(bank().add("a", LoraConfig::new(size).into()).is_err());
        for flat in [false, true] {
            let config = PrefixTuningConfig::prefix_tuning().with_prefix_length(size).with_bottleneck_size(size);
            assert!(bank().add("a", config.with_flat(flat).into()).is_err());
        }
    }
    // A specification is a caller's as well.
    let wide = ModelSpec::new("mine", usize::MAX).with_stack(StackSpec::encoder(1, usize::MAX, 3, usize::MAX));
    for identifier in identifiers() {
        let _ = AdapterBank::new(wide.clone(), &Device::default()).add("a", identifier.config());
    }
}

/// Every attribute of every method, extreme: an error, or an adapter that is counted right.
#[test]
fn no_number_in_a_configuration_makes_a_panic() {
    const VALUES: [&str; 22] = [
        "0",
        "1",
        "2",
        "-1",
        "0.0",
        "0.5",
        "2147483647",
        "2147483648",
        "4294967296",
        "1000000000000",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e-300",
        "1e300",
        "5e-324",
        "-1e300",
        "nan",
        "inf",
        "-inf",
        "1e999",
    ];
    let (mut built, mut refused) = (0, 0);
    let mut probe = |text: String| {
        let Ok(config) = text.parse::<AdapterConfig>() else {
            refused += 1;
            return;
        };
        let mut bank = bank();
        match bank.plan("a", config.clone()) {
            Ok((adapter, report)) => {
                built += 1;
                assert_eq!(adapter.parameters(), report.parameters(), "{text}");
                assert!(Module::num_params(&adapter) < 1 << 40, "{text}");
                let _ = bank.add("a", config);
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    };
    for identifier in identifiers() {
        let (name, config) = (identifier.name, identifier.config());
        let mut keys: Vec<String> = Vec::new();
        for method in config.methods() {
            let dictionary = AdapterConfig::from(method.clone()).to_json_value();
            keys.extend(dictionary.as_object().unwrap().keys().cloned());
        }
        for key in &keys {
            for value in VALUES {
                probe(format!("{name}[{key}={value}]"));
                if !["reduction_factor", "leave_out", "layers"].contains(&key.as_str()) {
                    continue;
                }
                probe(format!("{name}[{key}=[{value}]]"));
                probe(format!("{name}[{key}={{'default': {value}}}]"));
                probe(format!("{name}[{key}={{'1': {value}, 'default': 2}}]"));
                probe(format!("{name}[{key}={{'{value}': 2, 'default': 2}}]"));
            }
        }
        // Two at once: products overflow where neither factor does.
        let numbers = |key: &&String| !["leave_out", "layers", "attn_matrices"].contains(&key.as_str());
        for (index, first) in keys.iter().filter(numbers).enumerate() {
            for second in keys.iter().filter(numbers).skip(index + 1) {
                for value in ["4294967296", "9223372036854775808", "1e-300"] {
                    probe(format!("{name}[{first}={value},{second}={value}]"));
                }
            }
        }
    }
    assert!(built > 500 && refused > 3000, "{built} {refused}");
}
