//! What is saved where: nothing by halves, and nothing over something else.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{Workplace, json_of, names, short_training, tree};

const RESULTS: [&str; 3] = ["adapter.safetensors", "model_head.safetensors", "history.json"];

fn results(dir: &Path) -> [Vec<u8>; 3] {
    RESULTS.map(|name| fs::read(dir.join(name)).unwrap())
}

#[test]
fn a_finished_folder_is_replaced_only_where_that_is_asked_for() {
    let place = Workplace::with_data(24);
    let (code, _, err) = place.run(short_training("out", &["--epochs", "1"]));
    assert_eq!(code, 0, "{err}");
    place.write("out/notes.txt", "mine");
    fs::write(place.path("out/pytorch_adapter.bin"), "old").unwrap();
    let before = tree(&place.path("out"));

    let (code, out, err) = place.run(short_training("out", &["--epochs", "1", "--seed", "2"]));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("--overwrite") && !err.contains("loaded"), "{err}");
    let (code, _, err) = place.run(["merge", "out", "out", "--output", "out", "--overwrite"]);
    assert_eq!(code, 2, "{err}");
    assert_eq!(tree(&place.path("out")), before);

    let (code, _, err) = place.run(short_training("out", &["--epochs", "1", "--seed", "2", "--overwrite"]));
    assert_eq!(code, 0, "{err}");
    let after = tree(&place.path("out"));
    assert_eq!(after[&place.path("out/notes.txt")], b"mine");
    assert_ne!(results(&place.path("out"))[0], before[&place.path("out/adapter.safetensors")]);
    assert!(!after.contains_key(&place.path("out/pytorch_adapter.bin")));
    assert_eq!(names(place.dir.path()), ["data.csv", "model", "out"]);

    // Merging likewise; a merge without a head leaves none of before.
    let (code, _, err) = place.run(["merge", "out", "out", "--output", "merged"]);
    assert_eq!(code, 0, "{err}");
    let before = tree(&place.path("merged"));
    let (code, _, err) = place.run(["merge", "out", "out", "--output", "merged", "--no-head"]);
    assert_eq!(code, 2);
    assert!(err.contains("--overwrite"), "{err}");
    assert_eq!(tree(&place.path("merged")), before);
    let (code, _, err) = place.run(["merge", "out", "out", "--output", "merged", "--no-head", "--overwrite"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(names(&place.path("merged")), ["adapter.safetensors", "adapter_config.json"]);
}

#[test]
fn an_input_is_never_written_over() {
    let place = Workplace::with_data(24);
    let (code, _, err) = place.run(short_training("out", &["--epochs", "1", "--name", "a"]));
    assert_eq!(code, 0, "{err}");
    fs::create_dir_all(place.path("above/model")).unwrap();
    for file in names(&place.path("model")) {
        fs::copy(place.path("model").join(&file), place.path("above/model").join(&file)).unwrap();
    }
    place.data("out/history.json", 12);
    #[cfg(unix)]
    std::os::unix::fs::symlink("out", place.path("link")).unwrap();
    let before = tree(place.dir.path());
    let stack = ["--setup", "Stack(a, adapter)", "--epochs", "1", "--overwrite", "--adapter"];
    let cases: Vec<(Vec<&str>, &str)> = vec![
        (short_training("model", &["--overwrite"]), "--model"),
        (
            [vec!["train", "--model", "above/model"], short_training("above", &["--overwrite"])[3..].to_vec()].concat(),
            "--model",
        ),
        (short_training("out", &[&stack[..], &["out"]].concat()), "--adapter"),
        (short_training("./out/../out", &[&stack[..], &["a=out"]].concat()), "--adapter"),
        (short_training("link", &[&stack[..], &["out"]].concat()), "--adapter"),
        (short_training("out/deeper", &[&stack[..], &["out"]].concat()), "--adapter"),
        (short_training("out", &["--eval", "out/history.json", "--overwrite"]), "--eval"),
        (vec!["merge", "out", "out", "--output", "link", "--overwrite"], "adapter"),
    ];
    for (arguments, named) in cases {
        let (code, out, err) = place.run(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains(named), "{arguments:?}: {err}");
        assert_eq!(tree(place.dir.path()), before, "{arguments:?}");
    }
}

#[test]
fn what_stands_in_the_way_of_the_output_is_found_before_the_model_is_loaded() {
    let place = Workplace::with_data(24);
    place.write("file", "in the way");
    for name in ["full", "hidden"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    place.write("full/notes.txt", "x");
    fs::create_dir_all(place.path("ready/adapter.safetensors")).unwrap();
    let mut cases = vec!["file", "file/out", "full", "ready"];
    if cfg!(target_os = "linux") {
        cases.push("/proc/out");
    }
    for output in cases {
        let (code, out, err) = place.run(short_training(output, &[]));
        assert_eq!((code, out.as_str()), (2, ""), "{output}: {err}");
        assert!(err.contains(output) && !err.contains("loaded") && !err.contains("training"), "{output}: {err}");
    }
    let (code, _, err) = place.run(short_training("ready", &["--overwrite"]));
    assert_eq!(code, 2);
    assert!(err.contains("adapter.safetensors is a folder"), "{err}");
    // Beside what is there, and a hidden file is nothing.
    assert_eq!(place.run(short_training("full", &["--epochs", "1", "--overwrite"])).0, 0);
    assert_eq!(fs::read(place.path("full/notes.txt")).unwrap(), b"x");
    place.write("hidden/.gitkeep", "");
    assert_eq!(place.run(short_training("hidden", &["--epochs", "1"])).0, 0);
    assert!(place.path("hidden/.gitkeep").exists());
    // What fails later leaves no empty folder.
    let (code, _, _) = place.run(short_training("new/deep", &["--max-length", "900"]));
    assert_eq!((code, place.path("new").exists()), (2, false));
}

#[test]
fn the_untrained_start_is_never_the_best_epoch() {
    let place = Workplace::with_data(24);
    // One class throughout the held-out rows' majority: accuracy cannot rise.
    let row = |row: usize| {
        format!("the film is {},{}\n", ["good", "bad"][row % 2], if row.is_multiple_of(10) { "b" } else { "a" })
    };
    place.write("data.csv", &format!("text,label\n{}", (0..40).map(row).collect::<String>()));
    let mut arguments = short_training("out", &["--best", "accuracy", "--eval", "data.csv", "--epochs", "3", "--json"]);
    arguments.iter_mut().filter(|text| **text == "0.01").for_each(|rate| *rate = "1e-9");
    let (code, out, err) = place.run(arguments);
    assert_eq!(code, 0, "{err}");
    let result = json_of(&out);
    assert_eq!(result["best"]["epoch"], 3, "{out}");
    let warning = result["warnings"][0].as_str().unwrap();
    assert!(warning.contains("no epoch was better than the start"), "{out}");
    assert!(err.contains("warning: no epoch was better than the start"), "{err}");
}

#[test]
fn a_curve_that_cannot_be_drawn_is_told_and_the_adapter_counts() {
    let place = Workplace::with_data(24);
    fs::create_dir_all(place.path("out/curve.svg")).unwrap();
    let (code, out, err) = place.run(short_training("out", &["--epochs", "1", "--overwrite", "--json"]));
    assert_eq!(code, 0, "{err}");
    assert!(json_of(&out)["warnings"][0].as_str().unwrap().contains("curve.svg"), "{out}");
    assert!(err.contains("warning: the learning curve curve.svg is left out"), "{err}");
    assert!(place.path("out/curve.png").is_file() && place.path("out/adapter.safetensors").is_file());
}

#[test]
fn the_quickstart_can_be_run_again_but_not_over_something_else() {
    let place = Workplace::new();
    place.model("model", 1);
    place.write("rated.txt", &"1\t2\tgood\n2\t-1\tbad\n3\t1\tfine\n".repeat(10));
    let run = |extra: &[&str]| {
        let mut arguments = vec!["quickstart", "--model", "model", "--data", "rated.txt", "--epochs", "1"];
        arguments.extend(extra);
        place.run(arguments)
    };
    for _ in 0..2 {
        let (code, _, err) = run(&[]);
        assert_eq!(code, 0, "{err}");
        assert!(!place.path("quickstart-out/quickstart-checkpoints").exists());
    }
    let (code, out, _) = run(&["--resume"]);
    assert!(code == 0 && out.contains("is finished"), "{out}");
    place.write("rated.csv", "text,label\ngood,a\nbad,b\n");
    let other = ["train", "--model", "model", "--data", "rated.csv", "--output", "other", "--epochs", "1"];
    assert_eq!(place.run(other).0, 0);
    let (code, _, err) = run(&["--dir", "other"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--overwrite"), "{err}");
    assert_eq!(run(&["--dir", "other", "--overwrite"]).0, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_save_that_runs_out_of_space_leaves_the_old_adapter_with_its_own_head() {
    let place = Workplace::with_data(24);
    assert_eq!(place.run(short_training("a", &["--epochs", "1"])).0, 0);
    assert_eq!(place.run(short_training("b", &["--epochs", "1", "--seed", "9"])).0, 0);
    assert_eq!(place.run(["merge", "a", "b", "--output", "merged"]).0, 0);
    let before = tree(&place.path("merged"));
    let program = env!("CARGO_BIN_EXE_burn-adapters");
    for blocks in 0..12 {
        // Files of at most so many KiB; the shell makes the signal an error.
        let script = format!(
            "trap '' XFSZ; ulimit -f {blocks}; exec {program} merge a b --weights 0.9,0.1 --output merged --overwrite"
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(place.dir.path()).output().unwrap();
        let after = tree(&place.path("merged"));
        if output.status.success() {
            assert_ne!(after, before);
            assert!(blocks > 0);
            return;
        }
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(after, before, "{blocks} blocks");
        assert_eq!(names(place.dir.path()), ["a", "b", "data.csv", "merged", "model"]);
    }
    panic!("the merged adapter is larger than expected");
}

#[test]
fn the_current_folder_can_be_the_output() {
    let place = Workplace::with_data(24);
    fs::create_dir(place.path("out")).unwrap();
    place.write("out/notes.txt", "mine");
    for (code, extra) in [(2, &[][..]), (0, &["--overwrite"]), (2, &[]), (0, &["--overwrite", "--seed", "7"])] {
        let mut arguments = short_training(".", &["--epochs", "1"]);
        arguments.extend(extra);
        arguments[2] = "../model";
        arguments[4] = "../data.csv";
        let output = place.program().current_dir(place.path("out")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(fs::read(place.path("out/notes.txt")).unwrap(), b"mine");
    }
    assert!(place.path("out/final-checkpoint/state.json").exists() && !place.path("out/checkpoints").exists());
    assert!(names(&place.path("out")).iter().all(|name| !name.starts_with('.')));
}

#[test]
fn an_adapter_cannot_be_called_as_what_a_run_keeps_beside_it() {
    let place = Workplace::with_data(24);
    for name in ["checkpoints", "final-checkpoint", "history.json"] {
        let setup = format!("Parallel('{name}', b)");
        let (code, _, err) = place.run(short_training("out", &["--setup", &setup]));
        assert_eq!(code, 2, "{err}");
        assert!(err.contains(name), "{err}");
        assert!(!place.path("out").exists());
    }
}
