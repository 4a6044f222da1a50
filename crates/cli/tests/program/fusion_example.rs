//! The example `fusion`, with a tiny model and without a network.

#[allow(dead_code)]
#[path = "../../examples/fusion/main.rs"]
mod fusion;

use clap::Parser;

use crate::common::Workplace;

#[test]
fn the_fusion_example_trains_composes_and_draws() {
    let place = Workplace::new();
    place.model("model", 2);
    std::fs::create_dir(place.path("data")).unwrap();
    let rows = |words: [(&str, &str); 4]| -> String {
        let line = |row: usize| format!("{row}\t{}\tit is {}\r\n", words[row % 4].1, words[row % 4].0);
        (1..=40).map(line).collect()
    };
    for name in ["movieReviewSnippets", "tweets", "amazonReviewSnippets", "nytEditorialSnippets"] {
        let text = rows([("good", "2.5"), ("bad", "-1.2"), ("great", "3"), ("dull", "0")]);
        place.write(&format!("data/{name}_GroundTruth.txt"), &text);
    }
    let text = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (model, data, output) = (text("model"), text("data"), text("out"));
    let arguments =
        ["fusion", "--model", &model, "--data", &data, "--output", &output, "--epochs", "1", "--rows", "30"];
    let report = fusion::run(&fusion::Arguments::parse_from(arguments)).unwrap().json();

    assert_eq!(report["held_out"].as_array().unwrap().len(), 11);
    let panels = report["attention"].as_array().unwrap();
    assert_eq!(panels.len(), 8);
    let layers = panels.iter().flat_map(|panel| panel["layers"].as_array().unwrap());
    let sums: Vec<f64> =
        layers.map(|layer| layer.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).sum()).collect();
    assert_eq!(sums.len(), 16);
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");

    let table = std::fs::read_to_string(place.path("out/FUSION.md")).unwrap();
    assert!(table.contains("| fusion for each kind |") && table.contains("movie reviews 27 and 3"), "{table}");
    let lines = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).count();
    assert_eq!(lines, 12, "{table}");
    let drawing = std::fs::read_to_string(place.path("out/fusion-attention.svg")).unwrap();
    assert!(drawing.contains("layer 2") && drawing.contains("on editorials"), "{drawing}");
    assert!(std::fs::read(place.path("out/fusion-attention.png")).unwrap().starts_with(b"\x89PNG"));
}
