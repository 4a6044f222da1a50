//! Trainings that end before their end, and what resuming makes of them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::{Workplace, json_of, names, short_training, tree};

fn start(place: &Workplace, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_burn-adapters"))
        .args(arguments)
        .current_dir(place.dir.path())
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn wait_until(child: &mut Child, condition: impl Fn() -> bool) {
    while !condition() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

const RESULTS: [&str; 3] = ["adapter.safetensors", "model_head.safetensors", "history.json"];

fn results(dir: &Path) -> [Vec<u8>; 3] {
    RESULTS.map(|name| fs::read(dir.join(name)).unwrap())
}

#[test]
fn a_finished_training_is_resumed_only_with_more_epochs() {
    let place = Workplace::with_data(24);
    let arguments = |extra: &[&str]| {
        let mut all = short_training("out", &["--eval-fraction", "0.25", "--best", "loss"]);
        all.extend(extra.iter().map(|text| text.to_string().leak() as &str));
        all
    };
    assert_eq!(place.run(arguments(&["--epochs", "2"])).0, 0);
    assert!(!place.path("out/checkpoints").exists() && place.path("out/final-checkpoint/state.json").exists());
    let before = tree(&place.path("out"));
    let (code, out, err) = place.run(arguments(&["--epochs", "2", "--resume"]));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("is finished") && out.contains("nothing was changed"), "{out}");
    let (code, out, err) = place.run(arguments(&["--epochs", "2", "--resume", "--json"]));
    assert_eq!((code, json_of(&out)["already_finished"].as_bool()), (0, Some(true)), "{err}");
    let (code, _, err) = place.run(arguments(&["--epochs", "2", "--resume", "--seed", "5"]));
    assert_eq!(code, 2);
    assert!(err.contains("another training"), "{err}");
    assert_eq!(tree(&place.path("out")), before);

    let (code, out, err) = place.run(arguments(&["--epochs", "3", "--resume", "--json"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(json_of(&out)["already_finished"], false);
    let history = json_of(&fs::read_to_string(place.path("out/history.json")).unwrap());
    assert_eq!(history["evaluations"].as_array().unwrap().len(), 4);
    assert_eq!(history["steps"].as_array().unwrap().last().unwrap()["epoch"], 3);

    // Without its state it cannot be continued, and does not begin anew.
    fs::remove_dir_all(place.path("out/final-checkpoint")).unwrap();
    let (code, _, err) = place.run(arguments(&["--epochs", "5", "--resume"]));
    assert_eq!(code, 2);
    assert!(err.contains("final-checkpoint"), "{err}");
}

#[test]
fn checkpoints_that_were_left_behind_do_not_undo_a_finished_training() {
    let place = Workplace::with_data(24);
    assert_eq!(place.run(short_training("out", &["--epochs", "2"])).0, 0);
    let left = place.path("out/checkpoints/epoch-0002");
    fs::create_dir_all(&left).unwrap();
    fs::copy(place.path("out/final-checkpoint/optimizer.safetensors"), left.join("optimizer.safetensors")).unwrap();
    let before = results(&place.path("out"));
    let (code, _, err) = place.run(short_training("out", &["--epochs", "2", "--resume"]));
    assert_eq!(code, 0, "{err}");
    assert_eq!(results(&place.path("out")), before);
}

#[test]
fn two_trainings_into_one_folder_do_not_meet() {
    let place = Workplace::with_data(2000);
    let arguments = short_training("out", &["--epochs", "50"]);
    let mut first = start(&place, &arguments);
    wait_until(&mut first, || place.path("out/checkpoints/epoch-0001").exists());
    for extra in [&[][..], &["--resume"], &["--overwrite"]] {
        let (code, out, err) = place.run(short_training("out", &[&["--epochs", "50"][..], extra].concat()));
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains("another process") && err.contains("out"), "{err}");
        if cfg!(target_os = "linux") {
            assert!(err.contains(&first.id().to_string()), "{err}");
        }
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // A process that was killed locks nothing.
    let (code, _, err) = place.run(short_training("out", &["--epochs", "1", "--overwrite"]));
    assert_eq!(code, 0, "{err}");
}

#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_says_how_to_resume_and_is_resumed_to_the_same_files() {
    let arguments = ["--epochs", "8", "--eval-fraction", "0.1", "--best", "accuracy"];
    let whole = Workplace::with_data(600);
    assert_eq!(whole.run(short_training("out", &arguments)).0, 0);

    let place = Workplace::with_data(600);
    for (signal_name, code, epoch) in [("-INT", 130, "epoch-0002"), ("-TERM", 143, "epoch-0004")] {
        let mut all = short_training("out", &arguments);
        all.extend((code == 143).then_some("--resume"));
        let mut child = start(&place, &all);
        wait_until(&mut child, || place.path("out/checkpoints").join(epoch).exists());
        signal(&child, signal_name);
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.contains("interrupted") && err.contains("out/checkpoints/epoch-000"), "{err}");
        assert!(err.contains("--resume"), "{err}");
        assert!(!place.path("out/adapter.safetensors").exists());
    }
    let (code, _, err) = place.run(short_training("out", &[&arguments[..], &["--resume"]].concat()));
    assert_eq!(code, 0, "{err}");
    assert_eq!(results(&place.path("out")), results(&whole.path("out")));
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_program_at_once_and_one_before_the_first_epoch_leaves_nothing() {
    let place = Workplace::with_data(60_000);
    let arguments = short_training("out", &["--epochs", "1", "--json"]);
    for signals in [1, 2] {
        let mut child = start(&place, &arguments);
        // The checkpoints' folder is there when the training begins.
        wait_until(&mut child, || place.path("out/checkpoints").exists());
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..signals {
            signal(&child, "-INT");
            std::thread::sleep(Duration::from_millis(if signals == 2 { 1 } else { 0 }));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        if signals == 1 {
            let out = String::from_utf8(output.stdout).unwrap();
            assert_eq!(
                (json_of(&out)["interrupted"].as_bool(), json_of(&out)["checkpoint"].is_null()),
                (Some(true), true)
            );
            assert!(!place.path("out").exists());
        }
    }
    // What a kill leaves is no obstacle.
    place.data("data.csv", 24);
    let (code, _, err) = place.run(short_training("out", &["--epochs", "1"]));
    assert_eq!(code, 0, "{err}");
}

#[cfg(unix)]
#[test]
fn a_training_that_is_killed_at_any_time_is_whole_or_resumed() {
    let arguments = ["--epochs", "3", "--eval-fraction", "0.25"];
    let whole = Workplace::with_data(48);
    let began = std::time::Instant::now();
    assert_eq!(whole.run(short_training("out", &arguments)).0, 0);
    let takes = began.elapsed();
    let expected = results(&whole.path("out"));
    for part in 1..=10 {
        let place = Workplace::with_data(48);
        let mut child = start(&place, &short_training("out", &arguments));
        std::thread::sleep(takes * part / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        if place.path("out/adapter.safetensors").exists() {
            assert_eq!(results(&place.path("out")), expected);
        }
        let (code, _, err) = place.run(short_training("out", &[&arguments[..], &["--resume"]].concat()));
        assert_eq!(code, 0, "{part}: {err}");
        assert_eq!(results(&place.path("out")), expected, "{part}");
        assert_eq!(names(place.dir.path()), ["data.csv", "model", "out"], "{part}");
        assert!(!place.path("out/checkpoints").exists());
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_quickstart_is_resumed_or_begun_anew() {
    let place = Workplace::new();
    place.model("model", 2);
    place.write("rated.txt", &"1\t2\tgood\n2\t-1\tbad\n3\t1\tfine\n".repeat(300));
    let arguments = |dir: &'static str| {
        let data = ["--model", "model", "--data", "rated.txt", "--epochs", "10", "--device", "cpu"];
        [&["quickstart", "--dir", dir][..], &data].concat()
    };
    assert_eq!(place.run(arguments("whole")).0, 0);
    for extra in [&["--resume"][..], &[]] {
        let mut child = start(&place, &arguments("out"));
        // Later epochs replace the first one's checkpoint, which a busy machine may miss.
        let epochs = place.path("out/quickstart-checkpoints");
        let is_epoch = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("epoch-");
        wait_until(&mut child, || {
            fs::read_dir(&epochs).is_ok_and(|mut all| all.any(|entry| entry.is_ok_and(is_epoch)))
        });
        signal(&child, "-INT");
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{err}");
        assert!(err.contains("--resume") && err.contains("quickstart-checkpoints/epoch-000"), "{err}");
        let (code, _, err) = place.run([&arguments("out")[..], extra].concat());
        assert_eq!(code, 0, "{err}");
        assert_eq!(err.contains("continuing after step"), !extra.is_empty(), "{err}");
        assert_eq!(results(&place.path("out")), results(&place.path("whole")));
        let epochs = |dir: &str| {
            let text = fs::read_to_string(place.path(dir).join("result.json")).unwrap();
            json_of(&text)["epochs"].clone()
        };
        assert_eq!(epochs("out"), epochs("whole"));
        fs::remove_dir_all(place.path("out")).unwrap();
    }
}
