//! The quickstart with a tiny model, and without a network.

use crate::common::{Workplace, json_of};

#[test]
fn the_quickstart_runs_on_a_given_model_and_file() {
    let place = Workplace::new();
    place.model("model", 2);
    let rows: String = (1..=60)
        .map(|row| {
            let (word, rating) =
                [("good", "2.5"), ("dull", "-1.2"), ("great", "3"), ("bad", "-0.5"), ("poor", "0")][row % 5];
            format!("{row}\t{rating}\tthe film is {word}\r\n")
        })
        .collect();
    place.write("rated.txt", &rows);
    let arguments = [
        "quickstart",
        "--model",
        "model",
        "--data",
        "rated.txt",
        "--dir",
        "out",
        "--epochs",
        "2",
        "--text",
        "a good film",
    ];
    let (code, out, err) = place.run(arguments);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("truth \\ predicted") && out.contains("a good film") && out.contains("held-out accuracy"),
        "{out}"
    );
    assert!(err.contains("before training"), "{err}");
    for file in [
        "adapter_config.json",
        "adapter.safetensors",
        "head_config.json",
        "model_head.safetensors",
        "curve.svg",
        "curve.png",
        "result.json",
    ] {
        assert!(place.path("out").join(file).is_file(), "{file}");
    }
    let result = json_of(&std::fs::read_to_string(place.path("out/result.json")).unwrap());
    assert_eq!((result["examples"]["train"].as_u64(), result["examples"]["held_out"].as_u64()), (Some(54), Some(6)));
    assert_eq!(result["epochs"].as_array().unwrap().len(), 2);
    assert!(result["accuracy"].is_number() && result["accuracy_before"].is_number());
    let labels = &result["confusion"]["labels"];
    assert_eq!((labels[0].as_str(), labels[1].as_str()), (Some("negative"), Some("positive")));
}

#[test]
fn the_quickstart_prints_one_json_value_on_request() {
    let place = Workplace::new();
    place.model("model", 1);
    place.write("rated.txt", &"1\t2\tgood\n2\t-1\tbad\n3\t1\tfine\n".repeat(10));
    let (code, out, err) =
        place.run(["--quiet", "quickstart", "--model", "model", "--data", "rated.txt", "--epochs", "1", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(json_of(&out)["predictions"].as_array().unwrap().len(), 3);
    assert!(place.path("quickstart-out").is_dir());
}

#[test]
fn a_bad_line_of_the_rated_sentences_is_named() {
    let place = Workplace::new();
    place.model("model", 1);
    place.write("rated.txt", "1\t2\tgood\n2\tbad\n");
    let (code, _, err) = place.run(["quickstart", "--model", "model", "--data", "rated.txt"]);
    assert_eq!(code, 2);
    assert!(err.contains("rated.txt, line 2"), "{err}");
}

#[test]
fn without_network_and_cache_the_error_says_what_to_fetch_and_where_to_put_it() {
    let place = Workplace::new();
    let cache = place.path("cache");
    let run = |arguments: &[&str]| {
        let output = place
            .program()
            .args(arguments)
            .env("BURN_ADAPTERS_CACHE", &cache)
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            .env("PATH", place.path("no-programs"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, out, err) = run(&["quickstart"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    let target = cache.join("all-MiniLM-L6-v2");
    assert!(
        err.contains("model.safetensors") && err.contains(target.to_str().unwrap()) && err.contains("--model DIR"),
        "{err}"
    );

    place.model("model", 1);
    let (code, _, err) = run(&["quickstart", "--model", "model"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("movieReviewSnippets_GroundTruth.txt") && err.contains("--data FILE"), "{err}");
    // Nothing half-done is left behind.
    let left: Vec<_> = std::fs::read_dir(&cache).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_damaged_cache_is_noticed() {
    let place = Workplace::new();
    let cache = place.path("cache");
    let dir = cache.join("all-MiniLM-L6-v2");
    std::fs::create_dir_all(&dir).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::write(dir.join(name), "{}").unwrap();
    }
    let output = place
        .program()
        .arg("quickstart")
        .env("BURN_ADAPTERS_CACHE", &cache)
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env("PATH", place.path("no-programs"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("damaged") && err.contains("SHA-256"), "{err}");
}
