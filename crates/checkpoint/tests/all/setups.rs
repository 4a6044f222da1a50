//! Whole setups in one folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{contents, folders, golden_spec, goldens, json, spec};
use burn::tensor::Device;
use burn_adapters_checkpoint::{
    AdapterFolder, CheckpointError, FusionFolder, HeadFolder, SaveOptions, load_setup, save_adapter, save_setup,
};
use burn_adapters_composition::{AdapterSetup, Composition, HeadSetup};
use burn_adapters_fusion::FusionConfig;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::AdapterBank;

fn empty() -> AdapterBank {
    AdapterBank::new(spec(2), &Device::default())
}

/// A bank with the adapters `a`, `b` and `c`, heads `a` and `h`, and the fusion `b,c`.
fn full() -> AdapterBank {
    let mut bank = empty();
    for (name, config) in [("a", "lora[r=2]"), ("b", "seq_bn[reduction_factor=2]"), ("c", "seq_bn[reduction_factor=4]")]
    {
        bank.add_seeded(name, config.parse().unwrap(), 3).unwrap();
    }
    for name in ["a", "h"] {
        bank.add_head_seeded(name, &HeadConfig::classification(2), 4).unwrap();
    }
    bank.add_fusion("b,c", &["b", "c"], &FusionConfig::dynamic(), 5).unwrap();
    bank
}

fn composition() -> Composition {
    "Stack(a, Fuse(b, c))".parse().unwrap()
}

fn save(dir: &Path, bank: &AdapterBank, heads: Option<&HeadSetup>) {
    save_setup(dir, bank, &composition(), heads, &SaveOptions::default()).unwrap();
}

type Files = Vec<(String, Vec<u8>)>;

/// Every file in a folder's folders, with its bytes.
fn tree(dir: &Path) -> Vec<(PathBuf, Files)> {
    folders(dir).into_iter().map(|folder| (folder.strip_prefix(dir).unwrap().to_owned(), contents(&folder))).collect()
}

/// The names of adapters and heads; of fusions, the tree has them.
fn held(bank: &AdapterBank) -> (Vec<&str>, Vec<&str>) {
    (bank.names().collect(), bank.head_names().collect())
}

#[test]
fn every_setup_of_the_python_library_is_loaded_whole_and_saved_as_it_was() {
    let goldens = folders(&goldens().join("compositions/setups"));
    assert!(goldens.len() > 7, "{}", goldens.len());
    for golden in goldens {
        let model = golden.file_name().unwrap().to_str().unwrap().split_once("__").unwrap().0.to_owned();
        let mut bank = AdapterBank::new(golden_spec(&model), &Device::default());
        let (setup, reports) = load_setup(&golden, &mut bank).unwrap_or_else(|error| panic!("{golden:?}: {error}"));
        let saved = tempfile::tempdir().unwrap();
        let options = SaveOptions::new(format!("models/{model}"));
        save_setup(saved.path(), &bank, &setup.adapters, setup.heads.as_ref(), &options).unwrap();

        let mut parts = 0;
        let names = |dir: &Path| folders(dir).iter().map(|dir| dir.file_name().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(saved.path()), names(&golden));
        for name in names(&golden) {
            let (there, here) = (golden.join(&name), saved.path().join(&name));
            for (exists, file) in [
                (AdapterFolder::exists(&there), "adapter_config.json"),
                (HeadFolder::exists(&there), "head_config.json"),
                (FusionFolder::exists(&there), "adapter_fusion_config.json"),
            ] {
                assert_eq!(here.join(file).exists(), exists, "{here:?}: {file}");
                if exists {
                    parts += 1;
                    assert_eq!(json(&here.join(file)), json(&there.join(file)), "{there:?}");
                }
            }
            if AdapterFolder::exists(&there) {
                let (mut there, here) = (AdapterFolder::read(&there).unwrap(), AdapterFolder::read(&here).unwrap());
                // The library writes the pool of prefixes once more for each layer.
                there.tensors.retain(|name, _| !name.contains(".prefix_tuning.pool."));
                assert_eq!(here.tensors, there.tensors, "{name:?}");
            }
            if HeadFolder::exists(&there) {
                assert_eq!(HeadFolder::read(&here).unwrap().tensors, HeadFolder::read(&there).unwrap().tensors);
            }
            if FusionFolder::exists(&there) {
                assert_eq!(FusionFolder::read(&here).unwrap().tensors, FusionFolder::read(&there).unwrap().tensors);
            }
        }
        assert_eq!(parts, reports.len(), "{golden:?}");
        let file = |dir: &Path| json(&dir.join(AdapterSetup::FILE_NAME));
        let (mut written, there) = (file(saved.path()), file(&golden));
        if golden.ends_with("tiny-a__named_fusion") {
            // The library forgets the fusion's name; here it is found again, and kept.
            assert_eq!(setup.adapters, Composition::fuse(["seq_a", "seq_b"]).named("mixture"));
            assert_eq!(written["adapter_setup"]["kwargs"]["name"], "mixture");
            written["adapter_setup"].as_object_mut().unwrap().remove("kwargs");
        }
        if golden.ends_with("tiny-a__average_not_normalized") {
            // The library forgets that the weights were not to be normalized; they are written as they are used.
            let weights = written["adapter_setup"]["kwargs"].as_object_mut().unwrap().remove("weights").unwrap();
            let (first, second) = (weights[0].as_f64().unwrap(), weights[1].as_f64().unwrap());
            assert!((first - 0.8 / 2.3).abs() < 1e-12 && (second - 1.5 / 2.3).abs() < 1e-12, "{weights}");
            continue;
        }
        assert_eq!(written, there, "{golden:?}");
    }
}

#[test]
fn a_setup_comes_back_with_its_adapters_fusion_and_heads() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let heads = HeadSetup::several(["a", "h"]);
    let options = SaveOptions::default();
    let saved = save_setup(first.path(), &full(), &composition(), Some(&heads), &options).unwrap();
    // Three adapters, one with a head of its own, a fusion, another head, and the setup.
    assert_eq!(saved.len(), 7);
    assert_eq!(saved[6].files, [first.path().join("adapter_setup.json")]);

    let mut bank = empty();
    let (setup, reports) = load_setup(first.path(), &mut bank).unwrap();
    assert_eq!(setup, AdapterSetup::new(composition()).with_heads(heads));
    let names: Vec<&str> = reports.iter().map(|report| report.name.as_str()).collect();
    assert_eq!(names, ["a", "a", "b", "c", "b,c", "h"]);
    assert_eq!(held(&bank), (vec!["a", "b", "c"], vec!["a", "h"]));
    save_setup(second.path(), &bank, &setup.adapters, setup.heads.as_ref(), &options).unwrap();
    assert_eq!(tree(second.path()), tree(first.path()));
    assert_eq!(json(&second.path().join("adapter_setup.json")), json(&first.path().join("adapter_setup.json")));
}

#[test]
fn a_named_fusion_is_saved_under_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut bank = full();
    bank.add_fusion("mixture", &["b", "c"], &FusionConfig::r#static(), 6).unwrap();
    let fuse = Composition::fuse(["b", "c"]).named("mixture");
    save_setup(dir.path(), &bank, &fuse, None, &SaveOptions::default()).unwrap();
    let mut other = empty();
    assert_eq!(load_setup(dir.path(), &mut other).unwrap().0.adapters, fuse);
    assert!(other.fusion("mixture").is_ok() && other.fusion("b,c").is_err());
}

#[test]
fn of_two_fusions_that_a_nameless_one_could_be_none_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &full(), None);
    let path = |name: &str| dir.path().join(name);
    fs::rename(path("b,c"), path("x")).unwrap();
    let mut bank = empty();
    let named = load_setup(dir.path(), &mut bank).unwrap().0.adapters;
    assert_eq!(named.fusions(), ["x"]);

    fs::create_dir(path("y")).unwrap();
    fs::copy(path("x/adapter_fusion_config.json"), path("y/adapter_fusion_config.json")).unwrap();
    let error = load_setup(dir.path(), &mut empty()).unwrap_err().to_string();
    assert!(error.ends_with("names: the fusion `b,c` (there is no folder `b,c`)"), "{error}");
}

#[test]
fn all_that_is_missing_is_listed_and_the_bank_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &full(), Some(&"h".into()));
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    fs::remove_file(dir.path().join("b/adapter_config.json")).unwrap();
    fs::remove_dir_all(dir.path().join("h")).unwrap();
    let mut bank = empty();
    let error = load_setup(dir.path(), &mut bank).unwrap_err();
    assert!(matches!(&error, CheckpointError::Incomplete { missing, .. } if missing.len() == 3), "{error}");
    let error = error.to_string();
    assert!(error.contains("the adapter `a` (there is no folder `a`)"), "{error}");
    assert!(error.contains("the adapter `b` (the folder `b` has no adapter_config.json)"), "{error}");
    assert!(error.ends_with("the head `h` (there is no folder `h`)"), "{error}");
    assert_eq!(held(&bank), (vec![], vec![]));
}

#[test]
fn a_part_that_cannot_be_loaded_leaves_the_bank_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &full(), None);
    fs::write(dir.path().join("b,c/model_adapter_fusion.safetensors"), b"damaged").unwrap();
    let mut bank = empty();
    let error = load_setup(dir.path(), &mut bank).unwrap_err();
    assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
    assert_eq!(held(&bank), (vec![], vec![]));

    let mut taken = empty();
    taken.add("c", "lora".parse().unwrap()).unwrap();
    let error = load_setup(dir.path(), &mut taken).unwrap_err();
    assert!(matches!(error, CheckpointError::Bank(_)), "{error}");
    assert_eq!(held(&taken), (vec!["c"], vec![]));
}

#[test]
fn an_adapter_goes_by_the_name_of_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let bank = full();
    save_setup(dir.path(), &bank, &"a".into(), None, &SaveOptions::default()).unwrap();
    save_adapter(dir.path().join("a"), &bank, "b", &SaveOptions::default()).unwrap();
    let mut other = empty();
    let (_, reports) = load_setup(dir.path(), &mut other).unwrap();
    assert_eq!((reports[0].name.as_str(), reports[0].saved_name.as_str()), ("a", "b"));
}

#[test]
fn what_cannot_be_saved_is_told_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut bank = full();
    bank.add("x/y", "lora".parse().unwrap()).unwrap();
    bank.add_fusion("ab", &["b", "c"], &FusionConfig::dynamic(), 1).unwrap();
    let save = |adapters: &Composition, heads: Option<HeadSetup>| {
        let folder = dir.path().join("setup");
        let error = save_setup(&folder, &bank, adapters, heads.as_ref(), &SaveOptions::default()).unwrap_err();
        assert!(!folder.exists());
        error.to_string()
    };
    let cases = [
        (Composition::stack(["a", "missing"]), None, "missing"),
        (Composition::fuse(["c", "b"]), None, "c,b"),
        (Composition::fuse(["b", "a"]).named("ab"), None, "fuses `b`, `c`, but the setup has no `c`; add them to it"),
        (Composition::stack(["a", "x/y"]), None, "the adapter `x/y` cannot have a folder of its own name"),
        ("a".into(), Some("other".into()), "other"),
        ("a".into(), Some(HeadSetup::Unnamed), "give the head's name"),
        (Composition::fuse([Composition::fuse(["a", "b"]), "c".into()]), None, "Fuse"),
    ];
    for (adapters, heads, expected) in cases {
        let error = save(&adapters, heads);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("setup");
    save_setup(&inner, &full(), &"a".into(), None, &SaveOptions::default()).unwrap();
    fs::rename(inner.join("a"), dir.path().join("outside")).unwrap();
    let absolute = dir.path().join("outside").display().to_string();
    for name in ["../outside", &absolute, "..", ".", ""] {
        let setup = AdapterSetup::new(Composition::stack([name]));
        fs::write(inner.join("adapter_setup.json"), setup.to_json_string()).unwrap();
        let error = load_setup(&inner, &mut empty()).unwrap_err();
        let refused = matches!(error, CheckpointError::FolderName { .. } | CheckpointError::Bank(_));
        assert!(refused, "{name}: {error}");
    }
}

#[test]
fn a_setup_file_that_is_missing_or_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let load = || load_setup(dir.path(), &mut empty()).unwrap_err().to_string();
    assert!(load().ends_with("holds no setup: expected adapter_setup.json in it"));
    for (text, expected) in [("{", "JSON"), (r#"{"adapter_setup": {"type": "Stak", "children": []}}"#, "`Stack`")] {
        fs::write(dir.path().join("adapter_setup.json"), text).unwrap();
        let error = load();
        assert!(error.contains("adapter_setup.json`: ") && error.contains(expected), "{error}");
    }
}
