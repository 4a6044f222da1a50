//! Files and folders that are not the expected ones.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use burn_adapters_files::{FileErrorKind, FolderKind, is_there, open, parse_json, read, read_text};

#[test]
fn a_regular_file_is_read_without_its_byte_order_mark() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    fs::write(&path, "\u{feff}text").unwrap();
    assert_eq!(read_text(&path, 100).unwrap(), "text");
}

#[test]
fn a_file_over_the_limit_is_refused_by_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("giant");
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = read(&path, 1 << 20).unwrap_err();
    assert!(matches!(error.kind, FileErrorKind::TooLarge { size, .. } if size == 1 << 40), "{error}");
}

#[test]
fn directories_and_missing_files_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(open(dir.path()).unwrap_err().kind, FileErrorKind::NotAFile { found: "a directory" }));
    assert!(open(&dir.path().join("missing")).unwrap_err().is_not_found());
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_refused_without_blocking() {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    let name = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: the name is a string that ends in NUL and lives for the whole call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    assert!(matches!(open(&path).unwrap_err().kind, FileErrorKind::NotAFile { found: "a pipe" }));
    assert!(matches!(open(Path::new("/dev/zero")).unwrap_err().kind, FileErrorKind::NotAFile { found: "a device" }));
}

#[test]
fn git_lfs_pointers_and_other_encodings_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let pointer = dir.path().join("model.safetensors");
    fs::write(&pointer, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n").unwrap();
    assert!(open(&pointer).unwrap_err().to_string().contains("git lfs pull"));
    let wide = dir.path().join("wide.csv");
    fs::write(&wide, b"\xFF\xFEt\0e\0").unwrap();
    assert!(read_text(&wide, 100).unwrap_err().to_string().contains("UTF-16"));
}

#[test]
fn json_with_a_key_twice_is_refused_at_any_depth() {
    assert!(parse_json(r#"{"a": [{"b": 1, "b": 2}]}"#).is_err());
    assert!(parse_json(r#"{"a": {"x": 1}, "b": {"x": 1}}"#).is_ok());
    assert!(parse_json(r#"{"a": 1} x"#).is_err());
    assert_eq!(parse_json("0.1").unwrap(), serde_json::json!(0.1));
}

// The kind of a folder, determined from its files.

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
