//! What training says where the Python library will read another adapter than was trained.

use std::fs;

use crate::common::{Workplace, json_of};

#[test]
fn training_warns_where_python_computes_something_else_and_only_there() {
    let place = Workplace::new();
    place.model("model", 1);
    place.data("data.csv", 12);
    for (config, written, warned) in [
        ("direft", Some("direft"), false),
        ("noreft", None, false),
        ("direft|lora[r=2]", None, true),
        ("prefix_tuning_flat[prefix_length=2]", None, false),
    ] {
        let (code, _, err) = place.run([
            "train", "--model", "model", "--data", "data.csv", "--epochs", "1", "--output", "out", "--config", config,
        ]);
        assert_eq!(code, 0, "{config}: {err}");
        assert_eq!(err.contains("DiReFT as NoReFT"), warned, "{config}: {err}");
        let saved = json_of(&fs::read_to_string(place.path("out/adapter_config.json")).unwrap());
        assert_eq!(saved["config"].as_str(), written, "{config}");
        // Our own file says what it is.
        let (code, out, err) = place.run(["inspect", "--model", "model", "--adapter", "out", "--json"]);
        assert_eq!((code, err.as_str()), (0, ""), "{config}");
        assert_eq!(json_of(&out)["config"], config);
        fs::remove_dir_all(place.path("out")).unwrap();
    }
}
