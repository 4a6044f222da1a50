//! What is written so that the Python library reads what was meant, and what is said where it cannot.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use crate::common::{bank, contents, json, spec};
use burn::tensor::Device;
use burn_adapters_checkpoint::{AdapterFolder, SaveOptions, load_adapter, save_adapter, save_fusion};
use burn_adapters_config::{AdapterConfig, identifiers};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_model::{AdapterBank, Setup};
use safetensors::SafeTensors;

/// Saves an adapter of this configuration; its notes.
fn save(dir: &Path, config: &str) -> Vec<String> {
    save_adapter(dir, &bank(config), "a", &SaveOptions::default()).unwrap().notes
}

/// Loads it; its configuration and the notes.
fn load(dir: &Path) -> (AdapterConfig, Vec<String>) {
    let mut bank = AdapterBank::new(spec(2), &Device::default());
    let report = load_adapter(dir, &mut bank, None).unwrap();
    (bank.adapter("a").unwrap().config().clone(), report.notes)
}

/// The same file as the Python library writes it: without our mark.
fn as_of_python(dir: &Path) {
    let path = dir.join("adapter.safetensors");
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    fs::write(path, safetensors::serialize(file.iter().collect::<Vec<_>>(), Some(metadata)).unwrap()).unwrap();
}

#[test]
fn direft_is_written_as_the_string_that_the_library_reads_as_direft() {
    for config in
        ["direft[r=2]", "direft[orthogonality=True,layers=[0],non_linearity='relu']", "direft[tied_weights=True]"]
    {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(save(first.path(), config), Vec::<String>::new());
        let written = json(&first.path().join("adapter_config.json"))["config"].clone();
        assert!(written.as_str().unwrap().starts_with("direft"), "{written}");
        let (read, notes) = load(first.path());
        assert_eq!((read, notes), (config.parse().unwrap(), vec![]));
        let folder = AdapterFolder::read(first.path()).unwrap();
        folder.write(second.path()).unwrap();
        assert_eq!(contents(first.path()), contents(second.path()));
    }
}

#[test]
fn noreft_is_ambiguous_only_in_a_file_of_the_library() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(save(dir.path(), "noreft[r=2]"), Vec::<String>::new());
    assert_eq!(load(dir.path()), ("noreft[r=2]".parse().unwrap(), vec![]));
    as_of_python(dir.path());
    let (config, notes) = load(dir.path());
    assert_eq!(config, "noreft[r=2]".parse().unwrap());
    assert!(notes[0].contains("DiReFT"), "{notes:?}");
    // LoReFT has no twin.
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "loreft[r=2]");
    as_of_python(dir.path());
    assert_eq!(load(dir.path()).1, Vec::<String>::new());
    // In a union neither file says.
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "noreft[r=2]|lora[r=2]");
    assert_eq!(load(dir.path()).1, Vec::<String>::new());
    as_of_python(dir.path());
    assert!(load(dir.path()).1[0].contains("DiReFT"));
}

#[test]
fn what_the_library_reads_otherwise_is_noted_and_nothing_else() {
    let noted = [
        ("direft[r=2]|lora[r=2]", "DiReFT as NoReFT"),
        ("seq_bn[reduction_factor=2,inv_adapter='glow',inv_adapter_reduction_factor=2]", "GLOW"),
        ("vera[r=2,intermediate_lora=True]", "several sizes"),
        ("mtl_lora[r=2,task_specific_matrix_type='linear']", "linear"),
        ("compacter[reduction_factor=2,phm_dim=2,shared_W_phm=True,factorized_phm_W=False]", "factorized_phm_W"),
    ];
    for (config, part) in noted {
        let dir = tempfile::tempdir().unwrap();
        let notes = save(dir.path(), config);
        assert!(notes.len() == 1 && notes[0].contains(part), "{config}: {notes:?}");
        assert_eq!(load(dir.path()), (config.parse().unwrap(), vec![]), "{config}");
    }
    let mut same: Vec<String> = [
        "prefix_tuning_flat[prefix_length=2]",
        "prompt_tuning[prompt_length=2,random_uniform_scale=0.1]",
        "seq_bn[reduction_factor=2,init_weights_seed=0]",
        "noreft[dropout=0.0]|lora[r=2]",
        "vera[r=2]",
    ]
    .map(str::to_owned)
    .into();
    // DoRA starts from a model's weights, and the widths of Compacter's and the prefixes' defaults are not for 8.
    let left_out = ["dora", "dvora", "compacter", "compacter++"];
    same.extend(
        identifiers().iter().map(|known| known.name.to_owned()).filter(|name| !left_out.contains(&name.as_str())),
    );
    for config in same {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(save(dir.path(), &config), Vec::<String>::new(), "{config}");
        assert_eq!(load(dir.path()).1, Vec::<String>::new(), "{config}");
    }
}

#[test]
fn a_temperature_that_has_cooled_is_noted() {
    let dir = tempfile::tempdir().unwrap();
    let mut bank = bank("seq_bn[reduction_factor=2]");
    bank.add_seeded("b", "seq_bn[reduction_factor=2]".parse().unwrap(), 1).unwrap();
    let config: FusionConfig = "dynamic[temperature=True]".parse().unwrap();
    bank.add_fusion("a,b", &["a", "b"], &config, 1).unwrap();
    assert_eq!(save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap().notes, Vec::<String>::new());
    let setup = Setup::compose("Fuse(a, b)".parse().unwrap()).train_fusions();
    bank.cool_fusions(&setup);
    let notes = save_fusion(dir.path(), &bank, "a,b", &SaveOptions::default()).unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("temperature"), "{notes:?}");
}

#[test]
fn a_configuration_that_is_a_wrong_string_is_an_error_that_points_at_it() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "direft[r=2]");
    let path = dir.path().join("adapter_config.json");
    let text = fs::read_to_string(&path).unwrap();
    for (wrong, part) in [("direft[r=0]", "`r` is 0"), ("dirreft", "dirreft"), ("", "adapter_config.json")] {
        fs::write(&path, text.replace("direft[r=2]", wrong)).unwrap();
        let error = AdapterFolder::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
