//! The program's manners: help, exit codes, what goes to which stream, and the commands that need no model.

use crate::common::{Workplace, json_of};

#[test]
fn help_names_every_command_and_goes_to_standard_output() {
    let place = Workplace::new();
    let (code, out, err) = place.run(["--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for command in ["quickstart", "train", "evaluate", "predict", "inspect", "methods", "config", "devices"] {
        assert!(out.contains(command), "{command} is missing in {out}");
        let (code, help, err) = place.run([command, "--help"]);
        assert_eq!((code, err.as_str()), (0, ""), "{command}");
        assert!(help.contains("Usage: burn-adapters"), "{command}: {help}");
    }
}

#[test]
fn the_help_of_train_names_the_options_that_a_newcomer_needs() {
    let (_, help, _) = Workplace::new().run(["train", "--help"]);
    for option in [
        "--model",
        "--data",
        "--config",
        "--name",
        "--output",
        "--text-column",
        "--label-column",
        "--eval",
        "--eval-fraction",
        "--epochs",
        "--batch-size",
        "--learning-rate",
        "--max-length",
        "--seed",
        "--device",
        "--resume",
        "--json",
    ] {
        assert!(help.contains(option), "{option}");
    }
    assert!(help.contains("Example"), "{help}");
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_so_on_standard_error() {
    let place = Workplace::new();
    for arguments in [
        &[][..],
        &["fly"],
        &["train"],
        &["inspect", "--model"],
        &["methods", "--frobnicate"],
        &["predict", "--model", "x"],
    ] {
        let (code, out, err) = place.run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(!err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn methods_lists_every_identifier_and_as_json_with_its_defaults() {
    let place = Workplace::new();
    let (code, out, err) = place.run(["methods"]);
    assert_eq!((code, err.as_str()), (0, ""));
    for name in [
        "seq_bn",
        "double_seq_bn",
        "lora",
        "prefix_tuning_flat",
        "compacter++",
        "ia3",
        "unipelt",
        "loreft",
        "adapter_plus",
    ] {
        assert!(out.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name} is missing in {out}");
    }
    let (_, out, _) = place.run(["methods", "--json"]);
    let methods = json_of(&out);
    let methods = methods.as_array().unwrap();
    let lora = methods.iter().find(|method| method["name"] == "lora").unwrap();
    assert_eq!((lora["config"]["r"].as_u64(), lora["config"]["architecture"].as_str()), (Some(8), Some("lora")));
    let seq_bn = methods.iter().find(|method| method["name"] == "seq_bn").unwrap();
    assert_eq!(seq_bn["aliases"][0], "pfeiffer");
}

#[test]
fn a_configuration_is_shown_in_the_references_dictionary_and_can_be_read_back() {
    let place = Workplace::new();
    let (code, out, err) = place.run(["config", "pfeiffer[reduction_factor=8]", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let value = json_of(&out);
    assert_eq!((value["reduction_factor"].as_f64(), value["output_adapter"].as_bool()), (Some(8.0), Some(true)));

    place.write("adapter.json", &out);
    let (_, shown, _) = place.run(["config", "adapter.json"]);
    assert!(shown.starts_with("seq_bn[reduction_factor=8]\n"), "{shown}");
    let (_, again, _) = place.run(["config", "adapter.json", "--json"]);
    assert_eq!(again, out);
}

#[test]
fn a_configuration_error_is_drawn_with_carets_on_standard_error() {
    let (code, out, err) = Workplace::new().run(["config", "seq_bn[reduction_facto=8]"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(
        err.starts_with(
            "error: unknown key `reduction_facto` for `seq_bn`\n  | seq_bn[reduction_facto=8]\n  |        ^^^^^^^^^^^^^^^ did you mean \
             `reduction_factor`?\n"
        ),
        "{err}"
    );
    assert!(!err.contains('\u{1b}'));
}

#[test]
fn several_problems_of_a_configuration_are_told_at_once() {
    let (code, _, err) = Workplace::new().run(["config", "lora[r=0,alpa=2]|seq_bm"]);
    assert_eq!(code, 2);
    assert_eq!(err.matches("error: ").count(), 3, "{err}");
    assert!(err.contains("did you mean `alpha`?") && err.contains("did you mean `seq_bn`?"), "{err}");
}

#[test]
fn a_problem_in_a_configuration_file_is_shown_with_file_and_line() {
    let place = Workplace::new();
    place.write("bad.json", "{\n  \"architecture\": \"lora\",\n  \"r\": 0\n}\n");
    let (code, _, err) = place.run(["config", "bad.json"]);
    assert_eq!(code, 2);
    assert!(err.contains("bad.json") && err.contains("3 |   \"r\": 0"), "{err}");
}

#[test]
fn a_configuration_of_64_kib_of_rubbish_is_an_error_of_reasonable_size() {
    for rubbish in ["[".repeat(65_536), "é".repeat(30_000), "lora[r=".to_owned() + &"9".repeat(60_000)] {
        let (code, _, err) = Workplace::new().run(["config", rubbish.as_str()]);
        assert_eq!(code, 2);
        assert!(err.len() < 8_000, "{}", err.len());
    }
}

#[test]
fn a_missing_configuration_file_is_the_users_mistake() {
    let (code, _, err) = Workplace::new().run(["config", "nowhere.json"]);
    assert_eq!(code, 2);
    assert!(err.contains("nowhere.json") && err.contains("no such file"), "{err}");
}

#[test]
fn devices_lists_what_is_compiled_in_and_marks_the_automatic_choice() {
    let place = Workplace::new();
    let (code, out, _) = place.run(["devices", "--json"]);
    assert_eq!(code, 0);
    let value = json_of(&out);
    let devices = value["devices"].as_array().unwrap();
    assert!(devices.iter().any(|device| device["backend"] == "flex"), "{out}");
    assert_eq!(devices.iter().filter(|device| device["auto"] == true).count(), 1, "{out}");
    let (code, out, _) = place.run(["devices"]);
    assert!(code == 0 && out.contains("flex"), "{out}");
}

#[test]
fn a_device_that_is_not_compiled_in_is_an_error_that_names_the_cargo_feature() {
    let place = Workplace::new();
    let devices = json_of(&place.run(["devices", "--json"]).1);
    let missing = devices["not_compiled"].as_array().unwrap().first().and_then(|name| name.as_str()).map(str::to_owned);
    let Some(missing) = missing else { return };
    let model = place.model("model", 1);
    let (code, out, err) =
        place.run(["quickstart", "--device", &missing, "--data", "x", "--model", model.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(&format!("--features {missing}")), "{err}");
}

#[test]
fn a_device_that_does_not_exist_is_refused() {
    for device in ["gpu", "wgpu:x", "flex:1"] {
        let (code, _, err) = Workplace::new().run(["quickstart", "--device", device]);
        assert_eq!(code, 2);
        assert!(err.contains("--device"), "{err}");
    }
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_burn-adapters"))
        .args(["methods", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}
