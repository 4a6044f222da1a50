//! Configurations that are too large, and duplicate keys.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use burn_adapters_config::{AdapterConfig, ProblemKind};

fn quick<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    result
}

#[test]
fn a_text_that_is_too_long_is_refused_and_not_repeated() {
    for text in ["lora|".repeat(10 << 20), " ".repeat(2 << 20), format!("lora[r={}]", "9".repeat(2 << 20))] {
        for error in [text.parse::<AdapterConfig>().unwrap_err(), AdapterConfig::from_json_str(&text).unwrap_err()] {
            assert!(matches!(error.problems()[0].kind, ProblemKind::TooLong { .. }));
            assert!(error.text().len() <= 80 && error.to_string().len() < 1000);
        }
    }
}

#[test]
fn a_union_of_very_many_methods_is_refused_at_once() {
    let text = vec!["lora"; 100_000].join("|");
    let error = quick(|| text.parse::<AdapterConfig>()).unwrap_err();
    assert!(
        error.problems().iter().any(|problem| matches!(problem.kind, ProblemKind::TooManyMethods { .. })),
        "{error}"
    );
    let json = format!(r#"{{"architecture": "union", "configs": [{}"lora"]}}"#, r#""lora","#.repeat(50_000));
    let error = quick(|| AdapterConfig::from_json_str(&json)).unwrap_err();
    assert!(
        error.problems().iter().any(|problem| matches!(problem.kind, ProblemKind::TooManyMethods { .. })),
        "{error}"
    );
}

#[test]
fn long_lists_and_maps_are_read_in_linear_time() {
    let list = (0..100_000).map(|layer| layer.to_string()).collect::<Vec<_>>().join(",");
    quick(|| format!("lora[leave_out=[{list}]]").parse::<AdapterConfig>()).unwrap();
    let map = (0..50_000).map(|layer| format!("'{layer}': 2")).collect::<Vec<_>>().join(",");
    let text = format!("seq_bn[reduction_factor={{{map}, 'default': 4}}]");
    quick(|| text.parse::<AdapterConfig>()).unwrap();
    let keys = (0..50_000).map(|key| format!("k{key}=1")).collect::<Vec<_>>().join(",");
    quick(|| format!("lora[{keys}]").parse::<AdapterConfig>()).unwrap_err();
}

#[test]
fn a_key_that_stands_twice_is_pointed_at_wherever_it_stands() {
    let twice = |text: &str, error: burn_adapters_config::ConfigError, key: &str| {
        let problem = &error.problems()[0];
        assert!(matches!(&problem.kind, ProblemKind::DuplicateKey { key: found } if found == key), "{text}: {error}");
        assert!(error.text()[problem.span.clone()].contains(key), "{text}: {:?}", problem.span);
        assert!(problem.span.start > text.find(key).unwrap(), "{text}: the second is pointed at");
    };
    let strings = ["lora[r=8,r=4]", "seq_bn[reduction_factor={'1': 2, '1': 4, 'default': 8}]"];
    for (text, key) in strings.into_iter().zip(["r", "1"]) {
        twice(text, text.parse::<AdapterConfig>().unwrap_err(), key);
    }
    let files = [
        (r#"{"architecture": "lora", "alpha": 4, "alpha": 8}"#, "alpha"),
        (r#"{"config": {"architecture": "lora"}, "config": {"architecture": "lora", "r": 4}}"#, "config"),
        (r#"{"name": "a", "config": {"architecture": "lora"}, "name": "b"}"#, "name"),
        (r#"{"architecture": "union", "configs": [{"architecture": "lora", "r": 2, "r": 4}]}"#, "\"r\""),
        (r#"{"architecture": "union", "configs": ["lora"], "configs": ["ia3"]}"#, "configs"),
    ];
    for (text, key) in files {
        let error = AdapterConfig::from_json_str(text).unwrap_err();
        twice(text, error, key.trim_matches('"'));
        assert!(serde_json::from_str::<AdapterConfig>(text).is_err(), "{text}");
    }
}
