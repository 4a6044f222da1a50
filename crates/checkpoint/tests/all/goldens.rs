//! What the Python library saved is read, and written again as it was.

use crate::common::{golden_cases, golden_spec, goldens, json};
use burn::tensor::Device;
use burn_adapters_checkpoint::{
    AdapterFolder, HeadFolder, SaveOptions, load_adapter, load_head, save_adapter, save_head,
};
use burn_adapters_core::{Place, Site};
use burn_adapters_model::AdapterBank;
use serde_json::Value;

/// Methods whose adapters can be built.
const METHODS: [&str; 16] = [
    "bottleneck",
    "lora",
    "dora",
    "vera",
    "dvora",
    "mtl_lora",
    "ia3",
    "union",
    "head",
    "invertible",
    "compacter",
    "prefix_tuning",
    "prompt_tuning",
    "mam",
    "unipelt",
    "reft",
];

fn options(model: &str) -> SaveOptions {
    SaveOptions::new(format!("models/{model}"))
}

#[test]
fn every_adapter_is_loaded_whole_and_saved_as_it_was() {
    let cases = golden_cases(&METHODS);
    assert!(cases.len() > 150, "{}", cases.len());
    for (folder, model) in cases {
        let spec = golden_spec(&model);
        let layers = spec.layers() as u64;
        let mut bank = AdapterBank::new(spec, &Device::default());
        let loaded = load_adapter(&folder, &mut bank, None);
        let config = json(&folder.join("adapter_config.json"))["config"].clone();
        if let Some(refusal) = refusal(&config, layers) {
            let error = loaded.unwrap_err().to_string();
            assert!(error.contains(&refusal), "{folder:?}: {error}");
            continue;
        }
        let report = loaded.unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let file = AdapterFolder::read(&folder).unwrap();
        assert_eq!(report.applied.len(), file.tensors.len(), "{folder:?}");
        assert!(report.applied.iter().eq(file.tensors.keys()), "{folder:?}");

        let saved = tempfile::tempdir().unwrap();
        save_adapter(saved.path(), &bank, &report.name, &options(&model)).unwrap();
        let again = AdapterFolder::read(saved.path()).unwrap();
        // The library writes the pool of prefixes once more for each layer.
        let mut once = file.tensors;
        once.retain(|name, _| !name.contains(".prefix_tuning.pool."));
        assert_eq!(again.tensors, once, "{folder:?}");
        let config = |dir: &std::path::Path| json(&dir.join("adapter_config.json"));
        assert_eq!(config(saved.path()), config(&folder), "{folder:?}");
    }
}

/// What the Python library takes, and we refuse: layers that the model does not have, and activations with parameters
/// of their own.
fn refusal(config: &Value, layers: u64) -> Option<String> {
    let left_out = config["leave_out"].as_array().into_iter().flatten().filter_map(Value::as_u64);
    if let Some(layer) = left_out.filter(|layer| *layer >= layers).min() {
        return Some(format!("names layer {layer}, but the model has {layers} layers"));
    }
    let activation = config["non_linearity"].as_str()?;
    ["prelu", "xielu"].contains(&activation).then(|| activation.to_owned())
}

#[test]
fn every_head_is_loaded_whole_and_saved_as_it_was() {
    for (folder, model) in golden_cases(&METHODS) {
        let mut bank = AdapterBank::new(golden_spec(&model), &Device::default());
        let report = load_head(&folder, &mut bank, None).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let saved = tempfile::tempdir().unwrap();
        save_head(saved.path(), &bank, &report.name, &options(&model)).unwrap();
        let (file, again) = (HeadFolder::read(&folder).unwrap(), HeadFolder::read(saved.path()).unwrap());
        assert_eq!(again.tensors, file.tensors, "{folder:?}");
        let config = |dir: &std::path::Path| json(&dir.join("head_config.json"));
        assert_eq!(config(saved.path()), config(&folder), "{folder:?}");
    }
}

#[test]
fn matrices_are_transposed_and_vectors_are_not() {
    let folder = goldens().join("cases/tiny-a__seq_bn");
    let file = AdapterFolder::read(&folder).unwrap();
    let name = file.meta.name.clone();
    let raw = |local: &str| file.tensors[&format!("bert.encoder.layer.1.output.adapters.{name}.{local}")].clone();
    let (down, bias) = (raw("adapter_down.0.weight"), raw("adapter_down.0.bias"));
    let (adapter, _) = file.clone().into_adapter(&golden_spec("tiny-a"), &Device::default(), None).unwrap();
    let module = adapter.bottleneck.get(&Site::encoder(1, Place::FeedForward)).unwrap();
    let weight = module.down_project.as_linear().unwrap().weight.val();
    let [hidden, width] = weight.dims();
    assert_eq!(down.shape, [width, hidden]);
    let ours: Vec<f32> = weight.into_data().try_to_vec().unwrap();
    for row in 0..width {
        for column in 0..hidden {
            assert_eq!(ours[column * width + row], down.values[row * hidden + column]);
        }
    }
    let ours: Vec<f32> =
        module.down_project.as_linear().unwrap().bias.as_ref().unwrap().val().into_data().try_to_vec().unwrap();
    assert_eq!(ours, bias.values);
}

#[test]
fn an_adapter_of_another_depth_is_an_error_that_names_both() {
    let spec = golden_spec("tiny-a");
    let file = AdapterFolder::read(goldens().join("cases/tiny-a__lora")).unwrap();
    for layers in [1, 4] {
        let mut other = spec.clone();
        other.stacks[0].layers = layers;
        let error = file.clone().into_adapter(&other, &Device::default(), None).unwrap_err().to_string();
        let expected = format!("with 2 layers, but this model has {layers} layers");
        assert!(error.ends_with(&expected), "{error}");
    }
}
