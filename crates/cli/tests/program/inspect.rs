//! `inspect`, and the configurations and adapters that do not fit a model.

use std::fs;

use crate::common::{Workplace, json_of};

#[test]
fn inspect_counts_the_parameters_of_every_site_from_config_json_alone() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    fs::remove_file(model.join("model.safetensors")).unwrap();
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    let (code, out, err) =
        place.run(["inspect", "--model", "model", "--config", "seq_bn[reduction_factor=4]", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let value = json_of(&out);
    // Down 16 → 4 and up 4 → 16, with biases.
    let site = 16 * 4 + 4 + 4 * 16 + 16;
    assert_eq!(value["trainable"], 2 * site);
    let sites = value["sites"].as_array().unwrap();
    assert_eq!(sites.len(), 2);
    assert_eq!(
        (sites[0]["site"].as_str(), sites[0]["parameters"].as_u64()),
        (Some("encoder.0.feed_forward"), Some(site))
    );
    // Embeddings, their norm, two layers, pooler.
    let layer = 4 * (16 * 16 + 16) + (16 * 32 + 32) + (32 * 16 + 16) + 4 * 16;
    assert_eq!(value["base"], (24 + 20 + 2) * 16 + 2 * 16 + 2 * layer + 16 * 16 + 16);
    assert!(value["bytes"].as_u64().unwrap() > 4 * 2 * site);
}

#[test]
fn inspect_shows_a_table_for_people() {
    let place = Workplace::new();
    place.model("model", 2);
    let (code, out, _) = place.run(["inspect", "--model", "model", "--config", "lora[r=2]"]);
    assert_eq!(code, 0);
    assert!(out.contains("encoder.1.query") && out.contains("256 parameters are trained"), "{out}");
    let (code, out, _) = place.run(["inspect", "--model", "model"]);
    assert_eq!(code, 0);
    assert!(out.contains("encoder.1.feed_forward_up") && out.contains("16 x 32"), "{out}");
}

#[test]
fn inspect_counts_a_saved_adapter_and_its_bytes() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    let adapter = place.adapter(&model, "lora[r=2]");
    let (code, out, err) = place.run(["--quiet", "inspect", "--model", "model", "--adapter", "adapter", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let value = json_of(&out);
    assert_eq!((value["trainable"].as_u64(), value["config"].as_str()), (Some(256), Some("lora[r=2]")));
    let bytes: u64 = ["adapter_config.json", "adapter.safetensors"]
        .iter()
        .map(|name| fs::metadata(adapter.join(name)).unwrap().len())
        .sum();
    assert_eq!(value["bytes"], bytes);
}

#[test]
fn a_model_folder_that_is_none_is_an_error_that_says_what_it_should_hold() {
    let place = Workplace::new();
    let (code, out, err) = place.run(["inspect", "--model", "nowhere"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("config.json") && err.contains("help:"), "{err}");
    fs::create_dir(place.path("mamba")).unwrap();
    place.write("mamba/config.json", r#"{"model_type": "mamba"}"#);
    let (code, _, err) = place.run(["inspect", "--model", "mamba"]);
    assert_eq!(code, 2);
    assert!(err.contains("mamba") && err.contains("bert"), "{err}");
}

#[test]
fn a_configuration_that_trains_nothing_on_this_model_is_an_error() {
    let place = Workplace::new();
    place.model("model", 2);
    for (config, told) in [
        ("lora[attn_matrices=['qq']]", "qq"),
        ("seq_bn[leave_out=[0,1]]", "leave"),
        ("seq_bn[leave_out=[7]]", "7"),
        ("lora[leave_out=[0,1]]", "leave"),
        ("seq_bn[output_adapter=False]", "nothing"),
        ("lora[selfattn_lora=False]", "nothing"),
    ] {
        let (code, out, err) = place.run(["inspect", "--model", "model", "--config", config]);
        assert_eq!((code, out.as_str()), (2, ""), "{config}");
        assert!(err.contains(told), "{config}: {err}");
    }
}

#[test]
fn an_adapter_of_a_deeper_or_shallower_model_is_an_error_that_names_both_depths() {
    for (trained, used) in [(4, 2), (2, 4)] {
        let place = Workplace::new();
        let model = place.model("trained-on", trained);
        place.adapter(&model, "seq_bn[reduction_factor=4]");
        place.model("used-on", used);
        let (code, _, err) = place.run(["predict", "--model", "used-on", "--adapter", "adapter", "--text", "a film"]);
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(&format!("{trained} layers")) && err.contains(&format!("{used} layers")), "{err}");
    }
}

#[test]
fn an_adapter_of_another_family_is_an_error_that_names_both() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    let adapter = place.adapter(&model, "seq_bn[reduction_factor=4]");
    let path = adapter.join("adapter_config.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
    fs::write(&path, text).unwrap();
    let (code, _, err) = place.run(["predict", "--model", "model", "--adapter", "adapter", "--text", "a film"]);
    assert_eq!(code, 2);
    assert!(err.contains("`roberta`") && err.contains("`bert`"), "{err}");
}

#[test]
fn adapter_files_that_are_damaged_are_errors_and_no_crashes() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    let adapter = place.adapter(&model, "seq_bn[reduction_factor=4]");
    let weights = adapter.join("adapter.safetensors");
    let whole = fs::read(&weights).unwrap();
    let nan_header: Vec<u8> = f64::NAN.to_le_bytes().into_iter().chain(whole[8..].iter().copied()).collect();
    let huge_header: Vec<u8> = u64::MAX.to_le_bytes().into_iter().chain(whole[8..].iter().copied()).collect();
    let half = whole[..whole.len() / 2].to_vec();
    for (what, bytes) in [
        ("half", half),
        ("NaN", nan_header),
        ("huge", huge_header),
        ("empty", vec![]),
        ("text", b"not tensors".to_vec()),
    ] {
        fs::write(&weights, bytes).unwrap();
        let (code, out, err) = place.run(["predict", "--model", "model", "--adapter", "adapter", "--text", "a film"]);
        assert_eq!((code, out.as_str()), (2, ""), "{what}: {err}");
        assert!(err.contains("adapter.safetensors") && !err.contains("panicked"), "{what}: {err}");
    }
}

#[test]
fn an_adapter_that_lacks_a_tensor_is_an_error_that_names_it() {
    let place = Workplace::new();
    let model = place.model("model", 2);
    let adapter = place.adapter(&model, "seq_bn[reduction_factor=4]");
    let weights = adapter.join("adapter.safetensors");
    let bytes = fs::read(&weights).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let dropped = tensors.names().into_iter().min().unwrap().to_owned();
    let kept: Vec<_> = tensors.tensors().into_iter().filter(|(name, _)| *name != dropped).collect();
    let bytes = safetensors::serialize(kept, None).unwrap();
    fs::write(&weights, bytes).unwrap();
    let (code, _, err) = place.run(["predict", "--model", "model", "--adapter", "adapter", "--text", "a film"]);
    assert_eq!(code, 2);
    assert!(err.contains(&dropped) && err.contains("missing"), "{err}");
}
