//! Compositions that are too large, and duplicate keys, are rejected at once, without allocating memory for them.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use burn_adapters_composition::{AdapterSetup, Composition, HeadSetup, JsonError, ProblemKind};

const MANY: usize = 1_000_000;

fn quick<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    result
}

#[test]
fn a_million_children_are_refused_as_text_as_a_value_and_as_json() {
    let text = format!("Stack({})", "a,".repeat(MANY));
    let error = quick(|| text.parse::<Composition>()).unwrap_err();
    assert!(matches!(error.problems(), [one] if matches!(one.kind, ProblemKind::TooMany { .. })), "{error}");
    let error = quick(|| Composition::stack(vec!["a"; MANY]).validate()).unwrap_err();
    assert!(matches!(error.problems()[0].kind, ProblemKind::TooMany { .. }), "{error}");

    let child = r#"{"type":"single","children":["a"]}"#;
    let json = format!(r#"{{"type":"Stack","children":[{}{child}]}}"#, format!("{child},").repeat(100_000));
    let error = quick(|| Composition::from_json_str(&json)).unwrap_err();
    assert!(matches!(error, JsonError::TooMany { .. }), "{error}");
    let setup = format!(r#"{{"adapter_setup":{json},"head_setup":null}}"#);
    assert!(matches!(AdapterSetup::from_json_str(&setup).unwrap_err(), JsonError::TooMany { .. }));
    let heads = serde_json::json!(vec!["a"; 100_000]);
    assert!(matches!(HeadSetup::from_json_value(&heads).unwrap_err(), JsonError::TooMany { .. }));
}

#[test]
fn a_text_that_is_too_long_is_refused_and_not_repeated() {
    let text = "a".repeat(100 << 20);
    let error = quick(|| text.parse::<Composition>()).unwrap_err();
    assert!(matches!(error.problems()[0].kind, ProblemKind::TooLong { .. }), "{}", error.problems()[0].message());
    assert!(error.to_string().len() < 1000 && error.text().len() < text.len());
    assert!(text.parse::<HeadSetup>().is_err());
}

#[test]
fn what_is_large_and_sensible_is_read_in_linear_time() {
    let names: Vec<String> = (0..20_000).map(|index| format!("adapter-{index}")).collect();
    let composition = Composition::parallel(names);
    let read: Composition = quick(|| composition.to_string().parse()).unwrap();
    assert_eq!(read, composition);
    quick(|| composition.validate()).unwrap();
    assert_eq!(Composition::from_json_value(&composition.to_json_value()).unwrap(), composition);
    let rows = composition.names().into_iter().map(|name| Some(name.to_owned())).cycle().take(MANY).collect::<Vec<_>>();
    let route = quick(|| Composition::open_route().with_rows(&rows));
    quick(|| route.validate_for_batch(MANY, None)).unwrap();
}

#[test]
fn a_key_that_stands_twice_is_refused_at_any_depth() {
    for text in [
        r#"{"type": "Stack", "children": [], "type": "Parallel"}"#,
        r#"{"type": "Average", "children": [{"type": "single", "children": ["a"]}], "kwargs": {"weights": [1], "weights": [2]}}"#,
    ] {
        let error = Composition::from_json_str(text).unwrap_err();
        assert!(error.to_string().contains("appears twice"), "{error}");
        assert!(serde_json::from_str::<Composition>(text).is_err());
        let setup = format!(r#"{{"adapter_setup": {text}}}"#);
        assert!(AdapterSetup::from_json_str(&setup).unwrap_err().to_string().contains("appears twice"));
    }
}
