//! Tokenizers beside a model, and merging: into one adapter, and into a model.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Workplace, json_of};

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
