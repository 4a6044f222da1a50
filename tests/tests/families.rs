//! The model families beside BERT: names, shapes and numbers of what is saved, from a model's specification alone.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, save_adapter};
use burn_adapters_core::SiteName::Whole;
use burn_adapters_core::{AttentionNames, ModelSpec, Place, SiteNames, StackKind, StackNames, StackSpec};
use burn_adapters_model::AdapterBank;
use burn_adapters_tests::{Golden, goldens, read_json};
use serde::Deserialize;

const DISTILBERT: SiteNames = SiteNames {
    model_class: Some("DistilBertAdapterModel"),
    prefix: Some("distilbert"),
    stacks: &[StackNames {
        kind: StackKind::Encoder,
        root: "",
        layer: "transformer.layer.{}",
        places: &[
            (Place::Query, Whole("attention.q_lin")),
            (Place::Key, Whole("attention.k_lin")),
            (Place::Value, Whole("attention.v_lin")),
            (Place::FeedForwardUp, Whole("ffn.lin1")),
            (Place::FeedForwardDown, Whole("ffn.lin2")),
            (Place::Attention, Whole("attention_adapters")),
            (Place::FeedForward, Whole("output_adapters")),
            (Place::Layer, Whole("reft_layer")),
        ],
        attentions: &[AttentionNames { place: Place::Attention, module: "attention", prefix_key: Some("self") }],
    }],
    ..SiteNames::OWN
};

/// What the reference saves of a configuration.
#[derive(Deserialize)]
struct Saved {
    /// The shapes of the tensors.
    tensors: BTreeMap<String, Vec<usize>>,
    /// The number of parameters, each once.
    parameters: usize,
}

fn family(name: &str) -> PathBuf {
    goldens().join("families").join(name)
}

#[test]
fn what_is_saved_has_the_names_and_shapes_of_the_reference() {
    let spec = ModelSpec::new("distilbert", 128).with_stack(StackSpec::encoder(2, 128, 4, 192)).with_names(DISTILBERT);
    let saved: BTreeMap<String, Saved> = read_json(&family("distilbert").join("names.json"));
    for (config, expected) in saved {
        let mut bank = AdapterBank::new(spec.clone(), &Device::default());
        // DoRA starts at the weights of the model.
        if config == "dora" {
            continue;
        }
        bank.add("x", config.parse().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let report = save_adapter(dir.path(), &bank, "x", &SaveOptions::default()).unwrap();
        // VeRA's diagonals are vectors here, and its frozen matrices do not count.
        if config != "vera" {
            assert_eq!(report.parameters, expected.parameters, "{config}");
        }
        let found: BTreeMap<String, Vec<usize>> = Golden::read(&dir.path().join("adapter.safetensors"))
            .0
            .into_iter()
            .map(|(name, (shape, _))| (name, shape))
            .collect();
        // The reference saves the pool of prefixes once more for each layer.
        let once: BTreeMap<_, _> =
            expected.tensors.into_iter().filter(|(name, _)| !name.contains(".prefix_tuning.pool.")).collect();
        assert_eq!(found, once, "{config}");
    }
}
