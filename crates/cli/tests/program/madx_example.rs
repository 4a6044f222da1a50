//! The example `madx`, with a tiny model and without a network.

#[allow(dead_code)]
#[path = "../../examples/madx/main.rs"]
mod madx;

use clap::Parser;

use crate::common::Workplace;

#[test]
fn the_example_of_mad_x_trains_languages_and_a_task_and_swaps_the_language() {
    let place = Workplace::new();
    place.model("model", 2);
    std::fs::create_dir(place.path("data")).unwrap();
    for (name, text) in [("movieReviewSnippets", "the film is"), ("tweets", "a plot was")] {
        let rows: String = (1..=60)
            .map(|row| {
                let (word, rating) = [("good", "2.5"), ("bad", "-1.2"), ("great", "3"), ("dull", "0")][row % 4];
                format!("{row}\t{rating}\t{text} {word} and very very {word} .\r\n")
            })
            .collect();
        place.write(&format!("data/{name}_GroundTruth.txt"), &rows);
    }
    let text = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let (model, data, output) = (text("model"), text("data"), text("out"));
    let arguments =
        ["madx", "--model", &model, "--data", &data, "--output", &output, "--language-epochs", "60", "--epochs", "2"];
    let report = madx::run(&madx::Arguments::parse_from(arguments)).unwrap().json();

    assert_eq!(report["sentences"]["tweets"]["held_out"], 6);
    // The model has 24 tokens: a language adapter does better than chance.
    let perplexity = |language: usize, kind: &str| report["masked_lm"][language]["perplexity"][kind].as_f64().unwrap();
    for (language, kind) in ["movie reviews", "tweets"].into_iter().enumerate() {
        assert!(perplexity(language, kind) < 15.0, "{report:#}");
    }
    assert_eq!(report["task"].as_array().unwrap().len(), 4);
    let table = std::fs::read_to_string(place.path("out/MADX.md")).unwrap();
    assert!(table.contains("| task adapter on the movie reviews' adapter |"), "{table}");
}
