//! The kind of a folder, determined from its files.
#![allow(clippy::unwrap_used)]

use std::fs;

use burn_adapters_files::{FolderKind, is_there};

#[test]
fn folders_are_told_by_their_files() {
    let peft = |method: Option<&str>| FolderKind::Peft { method: method.map(str::to_owned) };
    let cases = [
        (vec![("adapter_config.json", r#"{"config": {}, "name": "a"}"#)], FolderKind::Adapter),
        (vec![("adapter_config.json", r#"{"peft_type": "LORA"}"#)], peft(Some("LORA"))),
        (vec![("adapter_config.json", r#"{"peft_type": "ia3"}"#)], peft(Some("IA3"))),
        (vec![("adapter_config.json", "{}"), ("adapter_model.safetensors", "")], peft(None)),
        (vec![("adapter_model.bin", "")], peft(None)),
        (vec![("config.json", "{}")], FolderKind::Model),
        (vec![("head_config.json", "{}")], FolderKind::Head),
        (vec![("adapter_fusion_config.json", "{}")], FolderKind::Fusion),
        (vec![("adapter_setup.json", "{}"), ("head_config.json", "{}")], FolderKind::Setup),
    ];
    for (files, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).unwrap());
        assert_eq!(FolderKind::of(dir.path()), Some(expected), "{files:?}");
    }
    assert_eq!(FolderKind::of(tempfile::tempdir().unwrap().path()), None);
    assert_eq!(peft(Some("LORA")).to_string(), "a LoRA adapter of PEFT");
}

#[test]
fn whatever_stands_at_a_path_is_there() {
    let dir = tempfile::tempdir().unwrap();
    assert!(is_there(dir.path()));
    assert!(!is_there(&dir.path().join("missing")));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        assert!(is_there(&dir.path().join("link")), "a dangling link");
    }
}
