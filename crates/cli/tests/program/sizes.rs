//! Extreme numbers on the command line: an error with exit code 2, or a result; never a panic, an abort or a long wait.

use std::fs;
use std::time::{Duration, Instant};

use crate::common::{Workplace, json_of};

/// Runs the program, and checks that it ended soon and in order.
fn run(place: &Workplace, arguments: &[&str]) -> (i32, String, String) {
    let started = Instant::now();
    let output = place.program().args(arguments).timeout(Duration::from_secs(60)).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let code = output.status.code().unwrap_or_else(|| panic!("{arguments:?} was killed: {err}"));
    assert!(matches!(code, 0..=2), "{arguments:?}: {code}: {err}");
    assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    assert!(started.elapsed() < Duration::from_secs(30), "{arguments:?}");
    (code, out, err)
}

#[test]
fn inspect_tells_what_a_huge_adapter_needs_and_what_there_is() {
    let place = Workplace::new();
    place.model("model", 2);
    // 2 matrices in 2 layers, `A: [16, r]` and `B: [r, 16]` each.
    let (code, out, err) = run(&place, &["inspect", "--model", "model", "--config", "lora[r=1000000000000]"]);
    assert_eq!((code, out.as_str()), (2, ""));
    for part in ["128000000000000", "bytes", "available", "lower `r`"] {
        assert!(err.contains(part), "{err}");
    }
    let configs = [
        "prompt_tuning[prompt_length=9223372036854775808]",
        "lora[r=9223372036854775808]",
        "seq_bn[reduction_factor=1e-300]",
        "seq_bn[reduction_factor={'0': 1e-300, 'default': 2}]",
        "prefix_tuning[prefix_length=1000000000000]",
        "prefix_tuning[bottleneck_size=1000000000000]",
        "prefix_tuning_flat[prefix_length=9223372036854775808]",
        "compacter[phm_rank=1000000000000,reduction_factor=4]",
        "compacter[phm_dim=9223372036854775808]",
        "seq_bn_inv[inv_adapter_reduction_factor=1e-300]",
        "mtl_lora[n_up_projection=9223372036854775808]",
        "vera[r=9223372036854775808]",
        "noreft[r=9223372036854775808]",
        "loreft[r=9223372036854775808]",
    ];
    for config in configs {
        let (code, _, err) = run(&place, &["inspect", "--model", "model", "--config", config, "--json"]);
        assert_eq!(code, 2, "{config}: {err}");
    }
    // What does not take memory is no error: nothing is intervened on beyond the text.
    let positions = "loreft[prefix_positions=9223372036854775808,suffix_positions=9223372036854775808]";
    let (code, out, _) = run(&place, &["inspect", "--model", "model", "--config", positions, "--json"]);
    assert_eq!(code, 0);
    assert!(json_of(&out)["trainable"].as_u64().unwrap() > 0);
    let (code, ..) = run(&place, &["config", "lora[r=9223372036854775808]"]);
    assert_eq!(code, 0);
}

#[test]
fn training_checks_sizes_before_it_starts() {
    let place = Workplace::new();
    place.model("model", 1);
    place.data("data.csv", 12);
    let train = |more: &[&str]| {
        let start = ["train", "--model", "model", "--data", "data.csv", "--output", "out", "--epochs", "1"];
        let start = if more.contains(&"--epochs") { &start[..7] } else { &start[..] };
        let result = run(&place, &[start, more].concat());
        let _ = fs::remove_dir_all(place.path("out"));
        result
    };
    let (code, _, err) = train(&["--config", "lora[r=1000000000000]"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("bytes") && err.contains("lower `r`"), "{err}");
    let (code, _, err) = train(&["--epochs", "1000000000000000000"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--epochs") && err.contains("1000000"), "{err}");
    let (code, _, err) = train(&["--max-length", "1000000000000"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("20 tokens"), "{err}");
    for huge in ["1000000000000", "9223372036854775807", "18446744073709551615"] {
        for option in ["--batch-size", "--accumulation", "--warmup"] {
            let (code, _, err) = train(&[option, huge, "--config", "seq_bn[reduction_factor=8]"]);
            assert_eq!(code, 0, "{option} {huge}: {err}");
        }
    }
    for (option, huge) in [("--learning-rate", "1e300"), ("--weight-decay", "1e300"), ("--max-gradient-norm", "1e300")]
    {
        train(&[option, huge, "--config", "seq_bn[reduction_factor=8]"]);
    }
    for option in ["--batch-size", "--accumulation", "--epochs", "--warmup", "--seed", "--max-length", "--patience"] {
        for bad in ["-1", "18446744073709551616", "1e300", "nan", "inf", "0.5x"] {
            let (code, _, err) = train(&[&format!("{option}={bad}"), "--best=loss"]);
            assert_eq!(code, 2, "{option} {bad}: {err}");
        }
    }
}

#[test]
fn merging_to_a_huge_rank_is_an_error() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    place.adapter(&model, "lora[r=2]");
    for rank in ["0", "17", "1000000000000", "18446744073709551615"] {
        let (code, _, err) = run(
            &place,
            &["merge", "adapter", "adapter", "--strategy", "lora_delta_w_svd", "--rank", rank, "--output", "merged"],
        );
        assert_eq!(code, 2, "{rank}: {err}");
    }
}

#[test]
fn a_folder_that_claims_a_huge_size_is_an_error_at_once() {
    let place = Workplace::new();
    let model = place.model("model", 1);
    let adapter = place.adapter(&model, "lora[r=2]");
    for (file, key) in
        [("adapter_config.json", "r"), ("head_config.json", "num_labels"), ("head_config.json", "layers")]
    {
        let text = fs::read_to_string(adapter.join(file)).unwrap();
        for size in ["16777216", "1000000000000", "9223372036854775808", "18446744073709551615", "1e300", "-1"] {
            let mut value = json_of(&text);
            value["config"][key] = serde_json::from_str(size).unwrap();
            fs::write(adapter.join(file), value.to_string()).unwrap();
            let (code, _, err) =
                run(&place, &["predict", "--model", "model", "--adapter", "adapter", "--text", "a good film"]);
            assert_eq!(code, 2, "{file} {key} {size}: {err}");
        }
        fs::write(adapter.join(file), text).unwrap();
    }
}
