//! Paths that are not the expected files.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use burn_adapters_files::{FileErrorKind, open, parse_json, read, read_text};

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
