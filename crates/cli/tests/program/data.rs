//! Data as people have it: what is read, what is refused, and what is told.

use crate::common::{Workplace, json_of};
use serde_json::Value;

fn place() -> Workplace {
    let place = Workplace::new();
    place.model("model", 2);
    place
}

const TRAIN: [&str; 9] = ["train", "--model", "model", "--device", "cpu", "--config", "lora[r=2]", "--epochs", "1"];

fn train(place: &Workplace, data: &str, extra: &[&str]) -> (i32, String, String) {
    let data = ["--data", data, "--output", "out", "--json"];
    let _ = std::fs::remove_dir_all(place.path("out"));
    place.run([&TRAIN, data.as_slice(), extra].concat())
}

fn trains(place: &Workplace, data: &str, extra: &[&str]) -> (Value, String) {
    let (code, out, err) = train(place, data, extra);
    assert_eq!(code, 0, "{data} {extra:?}: {err}");
    (json_of(&out), err)
}

fn refuses(place: &Workplace, data: &str, extra: &[&str], told: &[&str]) {
    let (code, out, err) = train(place, data, extra);
    assert_eq!((code, out.as_str()), (2, ""), "{data} {extra:?}: {err}");
    told.iter().for_each(|told| assert!(err.contains(told), "{data} {extra:?}, no {told}: {err}"));
    assert!(!place.path("out").exists(), "{data}");
}

fn labels(place: &Workplace) -> Vec<String> {
    let head = json_of(&std::fs::read_to_string(place.path("out/head_config.json")).unwrap());
    let labels = head["config"]["label2id"].as_object().unwrap();
    let mut labels: Vec<(u64, String)> = labels.iter().map(|(name, id)| (id.as_u64().unwrap(), name.clone())).collect();
    labels.sort();
    labels.into_iter().map(|(_, name)| name).collect()
}

#[test]
fn multi_hot_labels_are_vectors_with_the_names_that_are_given() {
    let place = place();
    place.write("hot.csv", "text,label\ngood film,\"[0, 1, 1]\"\nbad film,\"[1, 0, 0]\"\n");
    place.write("hot.jsonl", "{\"text\":\"good\",\"label\":[0,1,1]}\n{\"text\":\"bad\",\"label\":[1,0,0]}\n");
    for data in ["hot.csv", "hot.jsonl"] {
        // The former flag, too.
        for task in [["--task", "multilabel"], ["--labels", "classes"]] {
            let (_, err) = trains(&place, data, &task);
            assert!(err.contains("--label-names"), "{err}");
            assert_eq!(labels(&place), ["LABEL_0", "LABEL_1", "LABEL_2"]);
        }
        let (_, err) = trains(&place, data, &["--task", "multilabel", "--label-names", "dull,fine,long"]);
        assert!(!err.contains("warning"), "{err}");
        assert_eq!(labels(&place), ["dull", "fine", "long"]);
        let evaluated = ["evaluate", "--model", "model", "--adapter", "out", "--data", data, "--json"];
        let (code, out, err) = place.run(evaluated);
        assert_eq!(code, 0, "{err}");
        assert_eq!(json_of(&out)["classes"][1]["label"], "fine");
        refuses(
            &place,
            data,
            &[],
            &["list", "--task multilabel"].map(|told| if data == "hot.csv" { told } else { "--task" }),
        );
        refuses(&place, data, &["--task", "multilabel", "--label-names", "a,b"], &["line", "3 entries", "expected 2"]);
    }
    place.write("mixed.jsonl", "{\"text\":\"good\",\"label\":[0,1,1]}\n{\"text\":\"bad\",\"label\":[\"dull\"]}\n");
    refuses(&place, "mixed.jsonl", &["--task", "multilabel"], &["line 2", "one form"]);
    place.write("short.jsonl", "{\"text\":\"good\",\"label\":[false,true]}\n{\"text\":\"bad\",\"label\":[true]}\n");
    refuses(&place, "short.jsonl", &["--task", "multilabel"], &["line 2", "1 entries", "expected 2"]);
}

#[test]
fn fractions_and_numbers_that_never_repeat_are_no_classes_until_it_is_said() {
    let place = place();
    place.write("floats.csv", "text,label\ngood,0.25\nbad,0.37\nfine,0.91\ndull,0.11\n");
    place.write("numbers.csv", "text,label\ngood,25\nbad,37\nfine,91\ndull,11\n");
    for data in ["floats.csv", "numbers.csv"] {
        refuses(&place, data, &[], &["--task regression", "--task classification"]);
        for (task, count) in [("regression", 1), ("classification", 4)] {
            trains(&place, data, &["--task", task]);
            let head = json_of(&std::fs::read_to_string(place.path("out/head_config.json")).unwrap());
            assert_eq!(head["config"]["num_labels"], count, "{data} {task}");
        }
    }
    let names: String = (0..40).map(|row| format!("good,name {row}\n")).collect();
    place.write("names.csv", &format!("text,label\n{names}"));
    refuses(&place, "names.csv", &[], &["40 different labels", "--task classification"]);
}

#[test]
fn a_first_line_that_may_be_a_header_is_asked_about() {
    let place = place();
    place.write("data.csv", "text,label\ngood,pos\nbad,neg\n");
    let numbers = ["--text-column", "0", "--label-column", "1"];
    refuses(&place, "data.csv", &numbers, &["line 1", "--header", "--no-header"]);
    trains(&place, "data.csv", &[&numbers, ["--header"].as_slice()].concat());
    assert_eq!(labels(&place), ["neg", "pos"]);
    trains(&place, "data.csv", &[&numbers, ["--no-header"].as_slice()].concat());
    assert_eq!(labels(&place), ["label", "neg", "pos"]);
    let predict =
        ["predict", "--model", "model", "--adapter", "out", "--input", "data.csv", "--text-column", "0", "--json"];
    let (code, _, err) = place.run(predict);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--no-header"), "{err}");
    let (_, out, _) = place.run([&predict, ["--header"].as_slice()].concat());
    assert_eq!(out.lines().count(), 2);
    refuses(&place, "data.csv", &["--no-header"], &["no column `text`"]);
}

#[test]
fn columns_of_one_name_are_refused_where_they_are_used() {
    let place = place();
    place.write("twice.csv", "text,label,label\ngood,pos,x\nbad,neg,y\n");
    refuses(&place, "twice.csv", &[], &["2 columns `label`", "number 1, 2"]);
    trains(&place, "twice.csv", &["--label-column", "2"]);
    assert_eq!(labels(&place), ["x", "y"]);
    place.write("other.csv", "text,more,more,label\ngood,1,2,pos\nbad,1,2,neg\n");
    trains(&place, "other.csv", &[]);
    place.write("twice.jsonl", "{\"text\":\"good\",\"label\":\"a\",\"label\":\"b\"}\n");
    refuses(&place, "twice.jsonl", &[], &["line 1", "appears twice"]);
}

#[test]
fn what_is_left_out_of_labels_is_told() {
    let place = place();
    place.write("case.csv", "text,label\ngood,pos\nfine,Pos \nbad,neg\n");
    let (_, err) = trains(&place, "case.csv", &["-q"]);
    assert!(err.contains("`Pos` and `pos` differ only by case") && err.contains("line 3"), "{err}");
}

#[test]
fn broken_files_are_told_by_what_is_wrong_with_them() {
    let place = place();
    let utf_16: Vec<u8> = "\u{feff}text,label\ngood,pos\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(place.path("utf16.csv"), utf_16).unwrap();
    refuses(&place, "utf16.csv", &[], &["UTF-16", "UTF-8"]);
    place.write("commas.csv", "text,label\nA fine film, really,pos\nbad one,neg\n");
    refuses(&place, "commas.csv", &[], &["line 2", "quoted", ".tsv"]);
    place.write("quote.csv", "text,label\ngood,pos\n\"bad,neg\nfine,pos\n");
    refuses(&place, "quote.csv", &[], &["line 3", "never ends"]);
    place.write("semicolons.csv", "text;label\ngood;pos\n");
    refuses(&place, "semicolons.csv", &[], &["`;`"]);
    place.data("data.csv", 12);
    for length in ["0", "1", "2"] {
        refuses(&place, "data.csv", &["--max-length", length], &["at least 3"]);
    }
    trains(&place, "data.csv", &["--max-length", "3"]);
}

#[test]
fn data_comes_from_standard_input_and_from_compressed_files() {
    let place = place();
    let text = std::fs::read_to_string(place.data("data.csv", 24)).unwrap();
    let (expected, _) = trains(&place, "data.csv", &["--eval-fraction", "0.25"]);
    let piped = |arguments: &[&str]| {
        let _ = std::fs::remove_dir_all(place.path("out"));
        let fixed = ["--data", "-", "--output", "out", "--json", "--eval-fraction", "0.25"];
        let all = [&TRAIN, fixed.as_slice(), arguments].concat();
        let output = place.program().args(all).write_stdin(text.clone()).output().unwrap();
        let told = String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap();
        (output.status.code(), told)
    };
    let (code, told) = piped(&[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("--format"), "{told}");
    let (code, told) = piped(&["--format", "csv"]);
    assert_eq!((code, &json_of(&told)["epochs"]), (Some(0), &expected["epochs"]));

    let gz = std::fs::File::create(place.path("data.csv.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(gz, flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let (found, _) = trains(&place, "data.csv.gz", &["--eval-fraction", "0.25"]);
    assert_eq!(found["epochs"], expected["epochs"]);
    let predict = ["predict", "--model", "model", "--adapter", "out", "--input", "data.csv.gz", "--json"];
    assert_eq!(place.run(predict).1.lines().count(), 24);
    let evaluate = ["evaluate", "--model", "model", "--adapter", "out", "--data", "-", "--format", "csv", "--json"];
    let output = place.program().args(evaluate).write_stdin(text.clone()).output().unwrap();
    assert_eq!(json_of(&String::from_utf8(output.stdout).unwrap())["examples"], 24);
}

#[test]
fn numbers_are_the_labels_of_a_head_without_names() {
    let place = place();
    place.write("hot.csv", "text,label\ngood,0 1 1\nbad,1 0 0\n");
    trains(&place, "hot.csv", &["--task", "multilabel"]);
    place.write("numbers.csv", "text,label\ngood,0\nbad,1\nfine,2\n");
    let evaluate = ["evaluate", "--model", "model", "--adapter", "out", "--data", "numbers.csv", "--json"];
    let (code, out, err) = place.run(evaluate);
    assert_eq!(code, 0, "{err}");
    assert_eq!(json_of(&out)["examples"], 3);
    assert!(err.contains("numbers of the head's labels"), "{err}");
    place.write("more.csv", "text,label\ngood,0\nbad,3\n");
    let evaluate = ["evaluate", "--model", "model", "--adapter", "out", "--data", "more.csv"];
    assert_eq!(place.run(evaluate).0, 2);

    // A head with names of its own is not guessed about.
    place.data("data.csv", 24);
    trains(&place, "data.csv", &[]);
    place.write("numbers.csv", "text,label\ngood,1\nbad,0\n");
    let evaluate = ["evaluate", "--model", "model", "--adapter", "out", "--data", "numbers.csv", "--json"];
    let (code, _, err) = place.run(evaluate);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("--label-names"), "{err}");
    let (code, _, err) = place.run([&evaluate, ["--label-names", "neg,pos"].as_slice()].concat());
    assert_eq!(code, 0, "{err}");
}

#[test]
fn classes_may_weigh_more_or_less() {
    let place = place();
    let rare: String =
        (0..20).map(|row| format!("the film is good {row},{}\n", if row < 2 { "rare" } else { "common" })).collect();
    place.write("data.csv", &format!("text,label\n{rare}"));
    let loss = |weights: &[&str]| trains(&place, "data.csv", weights).0["final_loss"].as_f64().unwrap();
    let plain = loss(&[]);
    let (balanced, named) =
        (loss(&["--class-weights", "balanced"]), loss(&["--class-weights", "rare=5,common=0.5555555"]));
    assert!((balanced - named).abs() < 1e-4 && (balanced - plain).abs() > 1e-4, "{plain} {balanced} {named}");
    refuses(&place, "data.csv", &["--class-weights", "rare=0"], &["--class-weights"]);
    refuses(&place, "data.csv", &["--class-weights", "common"], &["--class-weights"]);
    let (code, _, err) = train(&place, "data.csv", &["--class-weights", "odd=2"]);
    assert_eq!(code, 2);
    assert!(err.contains("`odd`") && err.contains("`common`, `rare`"), "{err}");
    place.write("numbers.csv", "text,label\ngood,0.5\nbad,1.5\n");
    let (code, _, err) = train(&place, "numbers.csv", &["--task", "regression", "--class-weights", "balanced"]);
    assert_eq!(code, 2, "{err}");
}

#[test]
fn every_class_is_in_the_training_part_of_a_hold_out() {
    let place = place();
    let rows: String =
        (0..40).map(|row| format!("the film {row},{}\n", if row < 2 { "rare" } else { "common" })).collect();
    place.write("data.csv", &format!("text,label\n{rare}only,once\n", rare = rows));
    for seed in 0..4 {
        trains(&place, "data.csv", &["--eval-fraction", "0.5", "--seed", &seed.to_string()]);
        assert_eq!(labels(&place), ["common", "once", "rare"], "{seed}");
    }
}

#[test]
fn one_adapter_is_trained_further_without_a_setup() {
    let place = place();
    place.data("data.csv", 24);
    trains(&place, "data.csv", &["--name", "reviews"]);
    std::fs::rename(place.path("out"), place.path("first")).unwrap();
    let further = |extra: &[&str]| {
        let _ = std::fs::remove_dir_all(place.path("out"));
        let fixed = ["train", "--model", "model", "--device", "cpu", "--adapter", "first", "--output", "out", "--json"];
        place.run([&fixed, extra].concat())
    };
    let common = ["--data", "data.csv", "--eval", "data.csv", "--epochs", "1"];
    let (code, out, err) = further(&common);
    assert_eq!(code, 0, "{err}");
    let told = json_of(&out);
    assert_eq!((&told["name"], &told["loaded"], &told["head_loaded"]), (&"reviews".into(), &true.into(), &true.into()));
    // It starts where the first training ended.
    let evaluate = ["evaluate", "--model", "model", "--adapter", "first", "--data", "data.csv", "--json"];
    let before = json_of(&place.run(evaluate).1);
    let start = told["epochs"][0]["metrics"]["loss"].as_f64().unwrap();
    assert!((start - before["loss"].as_f64().unwrap()).abs() < 1e-6);

    let (code, out, err) = further(&[&common, ["--name", "renamed"].as_slice()].concat());
    assert_eq!((code, &json_of(&out)["name"]), (0, &"renamed".into()), "{err}");
    let (code, _, err) = further(&[&common, ["--config", "lora"].as_slice()].concat());
    assert_eq!(code, 2);
    assert!(err.contains("--config"), "{err}");
    let (code, _, err) = further(&[&common, ["--adapter", "first"].as_slice()].concat());
    assert_eq!(code, 2);
    assert!(err.contains("--setup"), "{err}");
    let (code, _, err) =
        place.run(["train", "--model", "model", "--adapter", "first", "--data", "data.csv", "--output", "first"]);
    assert_eq!(code, 2, "{err}");

    // Other labels: a new head, which is told.
    place.write("other.csv", "text,label\ngood,x\nbad,y\n");
    let (code, out, err) = further(&["--data", "other.csv", "--epochs", "1"]);
    assert_eq!((code, &json_of(&out)["head_loaded"]), (0, &false.into()), "{err}");
    assert!(err.contains("gets a new head"), "{err}");
}

#[test]
fn the_head_of_the_adapter_says_what_is_learned() {
    let place = place();
    place.write("numbers.csv", "text,label\ngood,0.5\nbad,1.5\nfine,0.25\n");
    trains(&place, "numbers.csv", &["--task", "regression"]);
    std::fs::rename(place.path("out"), place.path("first")).unwrap();
    let fixed = ["train", "--model", "model", "--adapter", "first", "--output", "out", "--epochs", "1", "--json"];
    let (code, out, err) = place.run([&fixed, ["--data", "numbers.csv"].as_slice()].concat());
    assert_eq!((code, &json_of(&out)["head_loaded"]), (0, &true.into()), "{err}");
}

#[test]
fn a_prompt_may_start_from_a_text() {
    let place = place();
    place.data("data.csv", 12);
    let config = "prompt_tuning[prompt_length=4,prompt_init='from_string',prompt_init_text='good film']";
    let common =
        ["--data", "data.csv", "--model", "model", "--epochs", "1", "--output", "out", "--learning-rate", "1e-30"];
    let (code, _, err) = place.run([&["train", "--config", config], common.as_slice()].concat());
    assert_eq!(code, 0, "{err}");
    let tensors = std::fs::read(place.path("out/adapter.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&tensors).unwrap();
    let model = std::fs::read(place.path("model/model.safetensors")).unwrap();
    let model = safetensors::SafeTensors::deserialize(&model).unwrap();
    let (_, prompt) = tensors.iter().next().unwrap();
    let words = model.tensor("embeddings.word_embeddings.weight").unwrap();
    // [CLS] good film [SEP], as the reference has it.
    for (row, id) in [2_usize, 9, 7, 3].into_iter().enumerate() {
        let found = &prompt.data()[row * 64..(row + 1) * 64];
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
        for (found, expected) in found.chunks(4).zip(words.data()[id * 64..(id + 1) * 64].chunks(4)) {
            assert!((number(found) - number(expected)).abs() < 1e-6);
        }
    }
    let (code, _, err) = place.run(["inspect", "--model", "model", "--config", config]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn large_cells_and_many_classes_take_little() {
    let place = place();
    place.write("cell.csv", &format!("text,label\n\"{}\",pos\nbad,neg\n", "good film ".repeat(2_000_000)));
    let (found, err) = trains(&place, "cell.csv", &[]);
    assert!(err.contains("longer than 20 tokens"), "{err}");
    assert!(found["peak_memory_bytes"].as_u64().is_none_or(|bytes| bytes < 600 << 20), "{found}");
    let rows: String = (0..100_000).map(|row| format!("good,name {row}\n")).collect();
    place.write("classes.csv", &format!("text,label\n{rows}"));
    refuses(&place, "classes.csv", &[], &["100000 different labels"]);
    refuses(&place, "classes.csv", &["--task", "classification"], &["at most 65536"]);
    refuses(&place, "classes.csv", &["--task", "multilabel"], &["at most 65536"]);
}
