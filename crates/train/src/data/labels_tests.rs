//! How labels are read.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::Example;

fn labeled(labels: impl IntoIterator<Item = Label>) -> Dataset {
    let example = |(index, label)| Example::new("text", index + 1).with_label(label);
    Dataset::from_examples("d", labels.into_iter().enumerate().map(example).collect()).unwrap()
}

#[test]
fn whole_numbers_are_sorted_as_numbers_and_names_as_text() {
    let data = Dataset::from_classes("d", [("a", "10"), ("b", "9"), ("c", "-1"), ("d", "9")]);
    assert_eq!(data.label_names(), ["-1", "9", "10"]);
    let data = Dataset::from_classes("d", [("a", "10"), ("b", "9"), ("c", "x")]);
    assert_eq!(data.label_names(), ["10", "9", "x"]);
}

#[test]
fn a_label_that_training_never_saw_is_named_with_its_line_and_the_known_ones() {
    let head = Dataset::from_classes("train", [("a", "bad"), ("b", "good")]).head_config().unwrap();
    let held_out = Dataset::from_classes("eval.csv", [("a", "bad"), ("b", "meh")]);
    let error = held_out.labels(&head).unwrap_err().to_string();
    assert_eq!(error, "eval.csv, line 2: the label `meh` is not known from training; known are `bad`, `good`");
}

#[test]
fn the_kind_of_the_labels_makes_the_head() {
    let head = Dataset::from_classes("d", [("a", "x"), ("b", "y")]).head_config().unwrap();
    assert_eq!((head.task().name(), head.labels()), ("classification", vec!["x".into(), "y".into()]));
    let head = labeled([Label::Classes(vec!["x".into()]), Label::Classes(vec![])]).head_config().unwrap();
    assert_eq!((head.task().name(), head.num_labels), ("multilabel", 1));
    assert_eq!(labeled([Label::Number(0.5)]).head_config().unwrap().task().name(), "regression");
    assert!(labeled([Label::Number(0.5), Label::Class("x".into())]).head_config().is_err());
    assert!(labeled([Label::Classes(vec![])]).head_config().is_err());
    assert!(Dataset::from_texts("d", ["a"]).head_config().is_err());
}

#[test]
fn one_class_leaves_nothing_to_learn() {
    let data = Dataset::from_classes("d", [("a", "x"), ("b", "x")]);
    assert!(matches!(data.head_config(), Err(DataError::OneClass { .. })));
}

#[test]
fn unlabeled_data_has_no_labels_but_a_gap_is_an_error() {
    let head = HeadConfig::classification(2).with_labels(["x", "y"]);
    assert_eq!(Dataset::from_texts("d", ["a"]).labels(&head).unwrap(), None);
    let mut first = true;
    let gap = Dataset::from_classes("d", [("a", "x"), ("b", "x")])
        .map_labels(|label| std::mem::take(&mut first).then_some(label));
    assert!(gap.labels(&head).unwrap_err().to_string().contains("line 2: there is no label"));
}

#[test]
fn several_classes_become_a_row_of_targets() {
    let head = HeadConfig::multilabel_classification(3).with_labels(["x", "y", "z"]);
    let data = labeled([Label::Classes(vec!["z".into(), "x".into()]), Label::Classes(vec![])]);
    let expected = Targets::Sets(vec![vec![1.0, 0.0, 1.0], vec![0.0; 3]]);
    assert_eq!(data.labels(&head).unwrap(), Some(expected));
    let error = data.labels(&HeadConfig::regression()).unwrap_err().to_string();
    assert!(error.contains("line 1: the label is a list of names: expected a number"), "{error}");
}

#[test]
fn vectors_must_have_an_entry_for_each_label_of_the_head() {
    let data = labeled([Label::Vector(vec![false, true, true]), Label::Vector(vec![true, false, false])]);
    let head = data.head_config().unwrap();
    assert_eq!((head.task().name(), head.num_labels), ("multilabel", 3));
    let expected = Targets::Sets(vec![vec![0.0, 1.0, 1.0], vec![1.0, 0.0, 0.0]]);
    let named = HeadConfig::multilabel_classification(3).with_labels(["x", "y", "z"]);
    assert_eq!(data.labels(&named).unwrap(), Some(expected.clone()));
    let given = data.clone().with_label_names(["x", "y", "z"]).unwrap();
    assert_eq!(given.head_config().unwrap(), named);
    assert_eq!(given.labels(&named).unwrap(), Some(expected));
    for error in [
        data.labels(&HeadConfig::multilabel_classification(2)).unwrap_err(),
        data.clone().with_label_names(["x", "y"]).unwrap_err(),
    ] {
        assert!(error.to_string().contains("line 1: the label is a vector of 3 entries: expected 2"), "{error}");
    }
}

#[test]
fn names_may_be_given_to_numbers_and_in_another_order() {
    let data = Dataset::from_classes("d", [("a", "1"), ("b", "0"), ("c", "1")]);
    let head = data.clone().with_label_names(["bad", "good", "best"]).unwrap().head_config().unwrap();
    assert_eq!(head.labels(), ["bad", "good", "best"]);
    let error = data.clone().with_label_names(["bad"]).unwrap_err().to_string();
    assert!(error.contains("line 1: the label `1` is neither one of the given names (`bad`)"), "{error}");
    assert!(data.clone().with_label_names(["bad", "bad"]).is_err() && data.with_label_names(["bad", ""]).is_err());
    let data = Dataset::from_classes("d", [("a", "good"), ("b", "bad")]).with_label_names(["good", "bad"]).unwrap();
    assert_eq!(data.label_names(), ["good", "bad"]);
}

#[test]
fn numbers_are_the_labels_of_a_head_whose_labels_have_no_names() {
    let data = Dataset::from_classes("d", [("a", "2"), ("b", "0")]);
    let unnamed = HeadConfig::classification(3);
    assert!(data.numbers_the_labels_of(&unnamed));
    assert_eq!(data.labels(&unnamed).unwrap(), Some(Targets::Classes(vec![2, 0])));
    for head in [HeadConfig::classification(2), HeadConfig::classification(3).with_labels(["x", "y", "z"])] {
        assert!(!data.numbers_the_labels_of(&head));
        assert!(data.labels(&head).is_err());
    }
    let mixed = Dataset::from_classes("d", [("a", "2"), ("b", "LABEL_0")]);
    assert!(mixed.labels(&unnamed).is_err());
}

#[test]
fn many_classes_take_time_linear_in_their_number() {
    let names = |count: usize| (0..count).map(|index| (format!("text {index}"), format!("label {}", index / 2)));
    let data = Dataset::from_classes("d", names(120_000));
    let head = data.head_config_for(&burn_adapters_heads::Classification).unwrap();
    assert_eq!(data.labels(&head).unwrap().unwrap().len(), 120_000);
    // Every label is unknown.
    assert!(data.labels(&HeadConfig::classification(60_000)).is_err());
    let error =
        Dataset::from_classes("d", names(200_000)).head_config_for(&burn_adapters_heads::Classification).unwrap_err();
    assert!(matches!(error, DataError::TooManyClasses { classes: 100_000, .. }), "{error}");
}
