//! An untrusted mirror of the hub.
#![cfg(feature = "hub")]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use burn_adapters_fetch::{Cache, Progress, model};

/// The variable that makes a process fetch.
const MARK: &str = "BURN_ADAPTERS_MIRROR_TEST";

#[test]
#[ignore = "run by the other tests"]
fn the_process_that_fetches() {
    struct Lines;
    impl Progress for Lines {
        fn say(&mut self, text: &str) {
            eprintln!("said: {text}");
        }
    }
    if std::env::var_os(MARK).is_none() {
        return;
    }
    let error = model(&Cache::from_env().unwrap(), &mut Lines).unwrap_err();
    eprintln!("error: {error}");
}

/// Answers requests for the duration of the test.
fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            answer(request.split(' ').nth(1).unwrap(), &mut stream);
        }
    });
    address
}

/// All files and folders below a folder.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        found.push(entry.path());
        if entry.path().is_dir() {
            found.extend(below(&entry.path()));
        }
    }
    found
}

/// Fetches the model from there; returns the output, after a check of the written files.
fn fetch(endpoint: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    // As deep as the paths in the headers climb.
    let cache = dir.path().join("a/b/c/d/cache");
    fs::create_dir_all(&cache).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["the_process_that_fetches", "--exact", "--ignored", "--nocapture"])
        .env("BURN_ADAPTERS_CACHE", &cache)
        .env("HF_ENDPOINT", endpoint)
        .env("PATH", dir.path())
        .env(MARK, "1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(below(&dir.path().join("a")).len(), 4, "nothing stays: {:?}", below(dir.path()));
    assert!(!said.contains('\u{1b}'), "{said}");
    said
}

const HEADERS: &str = "x-repo-commit: ../../../../../evil\r\netag: \"../../../../../../evil-etag\"\r\n\
    x-linked-etag: \"/../../../../../../evil-linked\"\r\ncontent-disposition: attachment; filename=\"../../../evil-name\"\r\n\
    content-range: bytes 0-611/612\r\nconnection: close\r\n";

#[test]
fn headers_choose_no_path() {
    let endpoint = serve(|_, stream| {
        let body = "x".repeat(612);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n{HEADERS}content-length: 612\r\n\r\n{body}");
    });
    let said = fetch(&endpoint);
    assert!(said.contains("tokenizer.json") || said.contains("config.json"), "{said}");
    assert!(said.contains("that failed") && said.contains("SHA-256"), "{said}");
}

#[test]
fn redirects_choose_no_path_and_do_not_go_on_for_ever() {
    let endpoint = serve(|path, stream| {
        let _ = write!(
            stream,
            "HTTP/1.1 302 Found\r\n{HEADERS}location: {path}/../../../../evil\r\ncontent-length: 0\r\n\r\n"
        );
    });
    assert!(fetch(&endpoint).contains("redirect"));
    let endpoint = serve(|_, stream| {
        let _ = write!(stream, "HTTP/1.1 302 Found\r\n{HEADERS}content-length: 0\r\n\r\n");
    });
    assert!(fetch(&endpoint).contains("that failed"));
    let endpoint = serve(|_, stream| {
        let _ = write!(stream, "HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n");
    });
    assert!(fetch(&endpoint).contains("that failed"));
}

#[test]
fn a_body_without_end_is_cut_off() {
    let endpoint = serve(|_, stream| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n{HEADERS}\r\n");
        let megabyte = vec![b'x'; 1 << 20];
        while stream.write_all(&megabyte).is_ok() {}
    });
    let start = Instant::now();
    let said = fetch(&endpoint);
    assert!(said.contains("config.json: the server sends more than the 612 bytes"), "{said}");
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn what_a_server_says_is_not_repeated_raw() {
    let endpoint = serve(|_, stream| {
        let _ = write!(stream, "HTTP/1.1 500 \u{1b}[31mno\r\nx: \u{1b}[2J\r\ncontent-length: 4\r\n\r\n\u{1b}[2J");
    });
    assert!(fetch(&endpoint).contains("that failed"));
    let endpoint = serve(|_, stream| drop(stream.write_all(b"\x1b[31mrubbish\r\n\r\n")));
    assert!(fetch(&endpoint).contains("that failed"));
}
