//! Training in several processes, started by mpirun.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::common::{Workplace, json_of, short_training};

const PROGRAM: &str = env!("CARGO_BIN_EXE_burn-adapters");

/// mpirun with options of Open MPI; processes may be more than cores, and may run as root.
fn mpirun(place: &Workplace) -> Command {
    let mut command = Command::new("mpirun");
    command.arg("--oversubscribe").current_dir(place.dir.path()).env("NO_COLOR", "1");
    command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    // Not the network's interfaces, and no files of another test.
    command.env("OMPI_MCA_btl", "self,vader").env("TMPDIR", place.dir.path()).env("RAYON_NUM_THREADS", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn together(place: &Workplace, processes: usize, arguments: &[&str]) -> Output {
    let count = processes.to_string();
    mpirun(place).args(["-n", &count, PROGRAM]).args(arguments).output().unwrap()
}

fn succeeds(place: &Workplace, processes: usize, arguments: &[&str]) -> String {
    let output = together(place, processes, arguments);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(output.stderr));
    text(output.stdout)
}

/// Every file that a training writes, but for the curves.
fn results(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = ["adapter_config.json", "adapter.safetensors", "model_head.safetensors", "history.json"];
    let finals = ["parameters.safetensors", "optimizer.safetensors"];
    let finals = finals.map(|name| format!("final-checkpoint/{name}"));
    let names = files.map(str::to_owned).into_iter().chain(finals);
    names.map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

fn assert_same(found: &Path, expected: &Path) {
    for ((name, found), (_, expected)) in results(found).into_iter().zip(results(expected)) {
        assert!(found == expected, "{name} differs");
    }
}

/// A training whose batches need not be divided, with dropout, evaluation and the best epoch.
fn training<'a>(output: &'a str, extra: &[&'a str]) -> Vec<&'a str> {
    let fixed = ["--accumulation", "4", "--eval-fraction", "0.2", "--best", "loss"];
    short_training(output, &[&fixed[..], extra].concat())
}

#[test]
fn two_and_four_processes_train_what_one_trains_to_the_last_bit() {
    let place = Workplace::with_data(200);
    succeeds(&place, 1, &training("one", &[]));
    assert_eq!(place.run(training("alone", &[])).0, 0);
    assert_same(&place.path("one"), &place.path("alone"));
    for (processes, output) in [(2, "two"), (4, "four")] {
        let out = succeeds(&place, processes, &training(output, &["--json"]));
        let result = json_of(&out);
        assert_eq!(result["processes"]["count"], processes);
        assert!(result["processes"]["sent_bytes"].as_u64().unwrap() > 1000, "{out}");
        assert_same(&place.path(output), &place.path("one"));
    }
}

#[test]
fn a_divided_batch_is_trained_as_several_smaller_ones() {
    let place = Workplace::with_data(90);
    let common = ["--keep-order", "--epochs", "2", "--batch-size"];
    let with = |output, extra: &[&'static str]| {
        let fixed = ["train", "--model", "model", "--data", "data.csv", "--output", output, "--config", "mam"];
        [&fixed[..], &["--device", "cpu", "--learning-rate", "0.01"], &common, extra].concat()
    };
    succeeds(&place, 4, &with("divided", &["8"]));
    succeeds(&place, 1, &with("smaller", &["2", "--accumulation", "4"]));
    assert_same(&place.path("divided"), &place.path("smaller"));
}

#[test]
fn a_mistake_is_reported_once_and_ends_all_processes() {
    let place = Workplace::with_data(40);
    let with_data = |file| {
        let mut arguments = training("out", &["--format", "csv"]);
        arguments.iter_mut().filter(|argument| **argument == "data.csv").for_each(|argument| *argument = file);
        arguments
    };
    for (arguments, expected) in [
        (with_data("no.csv"), "no.csv"),
        (training("out", &["--epochs-per-day", "3"]), "--epochs-per-day"),
        (training("out", &["--adapter", "nowhere"]), "nowhere"),
    ] {
        let output = together(&place, 4, &arguments);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert_eq!(err.matches("error:").count(), 1, "{err}");
        assert!(err.contains(expected), "{err}");
    }
    let output = together(&place, 2, &with_data("-"));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && err.contains("only one of the 2 processes"), "{err}");
    assert!(!place.path("out").exists());
}

#[test]
fn processes_with_other_options_are_refused() {
    let place = Workplace::with_data(40);
    let start = std::time::Instant::now();
    let (first, second) = (training("out", &["--seed", "1"]), training("out", &["--seed", "2"]));
    let mut command = mpirun(&place);
    command.args(["-n", "1", PROGRAM]).args(first).arg(":").args(["-n", "1", PROGRAM]).args(second);
    let output = command.output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(err.contains("of process 1 differs from that of process 0"), "{err}");
    assert!(start.elapsed() < Duration::from_secs(60));
}

/// The processes that mpirun has started.
fn children(mpirun: &Child) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{}/task", mpirun.id())).into_iter().flatten().flatten();
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let all: String = tasks.map(of_task).collect();
    let is_ours = |id: &u32| {
        fs::read_link(format!("/proc/{id}/exe"))
            .is_ok_and(|program| program == Path::new(PROGRAM).canonicalize().unwrap())
    };
    all.split_whitespace().filter_map(|id| id.parse().ok()).filter(is_ours).collect()
}

fn signal(id: u32, name: &str) {
    Command::new("kill").args([name, &id.to_string()]).status().unwrap();
}

fn wait(mut child: Child) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(60), "the others go on without the lost process");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// The checkpoints of an unfinished training are whole.
fn assert_whole(output: &Path) {
    for checkpoint in fs::read_dir(output.join("checkpoints")).into_iter().flatten().flatten() {
        let name = checkpoint.file_name().into_string().unwrap();
        if name.starts_with("epoch-") {
            for file in ["state.json", "parameters.safetensors", "optimizer.safetensors"] {
                assert!(checkpoint.path().join(file).is_file(), "{name}/{file}");
            }
        }
    }
}

/// The newest epoch with a checkpoint; 0 if there is none.
fn newest_epoch(place: &Workplace) -> usize {
    let names =
        fs::read_dir(place.path("out/checkpoints")).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let epochs = names.filter_map(|name| name.to_str()?.strip_prefix("epoch-")?.parse().ok());
    epochs.max().unwrap_or(0)
}

#[test]
fn a_process_killed_at_any_moment_ends_all_and_nothing_is_lost() {
    let arguments = ["--epochs", "120"];
    let place = Workplace::with_data(240);
    succeeds(&place, 1, &training("whole", &arguments));
    let mut rng = StdRng::seed_from_u64(7);
    let all = training("out", &[&arguments[..], &["--resume"]].concat());
    let (mut kills, mut epochs) = (0, BTreeSet::new());
    while kills < 20 {
        let processes = [2, 4, 3][kills % 3];
        let mut child = mpirun(&place).args(["-n", &processes.to_string(), PROGRAM]).args(&all).spawn().unwrap();
        while children(&child).len() < processes && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Early, or at a moment of an epoch that is reached on slow machines, too.
        let (epochs_more, millis) = (rng.random_range(0..4), rng.random_range(0..300));
        let goal = newest_epoch(&place) + epochs_more;
        while newest_epoch(&place) < goal && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(millis));
        let running = children(&child);
        let Some(lost) = running.get(rng.random_range(0..processes)) else {
            // It has finished meanwhile: once more from the start.
            wait(child);
            assert_same(&place.path("out"), &place.path("whole"));
            fs::remove_dir_all(place.path("out")).unwrap();
            continue;
        };
        signal(*lost, "-KILL");
        let output = wait(child);
        assert!(!output.status.success() || place.path("out/adapter.safetensors").exists());
        assert_whole(&place.path("out"));
        epochs
            .extend(fs::read_dir(place.path("out/checkpoints")).into_iter().flatten().flatten().map(|e| e.file_name()));
        kills += 1;
    }
    assert!(epochs.len() > 2, "hardly any training was done between the kills: {epochs:?}");
    succeeds(&place, 2, &all);
    assert_same(&place.path("out"), &place.path("whole"));
}

#[test]
fn a_signal_to_one_process_ends_all_after_the_same_step() {
    let place = Workplace::with_data(600);
    let arguments = training("out", &["--epochs", "200"]);
    let mut child = mpirun(&place).args(["-n", "2", PROGRAM]).args(&arguments).spawn().unwrap();
    while !place.path("out/checkpoints/epoch-0001").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let last = children(&child).into_iter().max().unwrap();
    signal(last, "-INT");
    let output = wait(child);
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{err}");
    assert!(err.contains("--resume") && err.contains("out/checkpoints/epoch-"), "{err}");
    assert_eq!(err.matches("was interrupted").count(), 1, "{err}");
}
