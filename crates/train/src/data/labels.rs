//! From labels to numbers.

use std::collections::{BTreeMap, BTreeSet};

use burn_adapters_heads::{HeadConfig, Labels, Task};

use super::error::{Problem, Problems};
use super::{DataError, Dataset, Label};

impl Dataset {
    /// The names of the classes that occur: in alphabetical order, or if all of them are whole numbers, in numerical
    /// order.
    pub fn label_names(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for example in self.examples() {
            match &example.label {
                Some(Label::Class(name)) => drop(names.insert(name.clone())),
                Some(Label::Classes(several)) => names.extend(several.iter().cloned()),
                Some(Label::Number(_)) | None => {}
            }
        }
        let mut names: Vec<String> = names.into_iter().collect();
        if names.iter().all(|name| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or(0));
        }
        names
    }

    /// The head that learns this data: classification, multi-label or regression, by the kind of the labels, with
    /// [`label_names`](Self::label_names) in their order.
    ///
    /// # Errors
    /// If there is no label, the kinds are mixed, or all examples are of one class.
    pub fn head_config(&self) -> Result<HeadConfig, DataError> {
        let names = self.label_names();
        let kinds: BTreeSet<&str> = self.examples().iter().filter_map(|e| e.label.as_ref()).map(Label::kind).collect();
        let malformed = |message: &str| {
            Err(DataError::Malformed { source_name: self.source().to_owned(), message: message.to_owned() })
        };
        if kinds.len() > 1 {
            return malformed("the labels are of different kinds: names of a class, lists of names, numbers");
        }
        match (kinds.first().copied(), names.as_slice()) {
            (None, _) => malformed("no example has a label"),
            (Some(Label::NUMBER), _) => Ok(HeadConfig::regression()),
            (Some(Label::CLASS), [one]) => {
                Err(DataError::OneClass { source_name: self.source().to_owned(), label: one.clone() })
            }
            (Some(Label::CLASS), names) => Ok(HeadConfig::classification(names.len()).with_labels(names)),
            (Some(_), []) => malformed("no label is ever given"),
            (Some(_), names) => Ok(HeadConfig::multilabel_classification(names.len()).with_labels(names)),
        }
    }

    /// The labels as the numbers that a head knows them by; `None` if no example has a label.
    ///
    /// # Errors
    /// If a label is not among the head's, is of another kind, or is missing where others are there. The rows are
    /// named.
    pub fn labels(&self, head: &HeadConfig) -> Result<Option<Labels>, DataError> {
        if self.examples().iter().all(|example| example.label.is_none()) {
            return Ok(None);
        }
        let known = Known::new(head);
        let mut labels = match head.task() {
            Task::Classification => Labels::Classes(Vec::with_capacity(self.len())),
            Task::MultiLabel => Labels::Sets(Vec::with_capacity(self.len())),
            Task::Regression => Labels::Values(Vec::with_capacity(self.len())),
        };
        let mut problems = Problems::default();
        for example in self.examples() {
            if let Err(problem) = known.push(example.label.as_ref(), &mut labels) {
                problems.push(example.line, problem);
            }
        }
        problems.into_result(self.source())?;
        Ok(Some(labels))
    }
}

impl Label {
    const CLASS: &str = "the name of one class";
    const CLASSES: &str = "a list of names";
    const NUMBER: &str = "a number";

    fn kind(&self) -> &'static str {
        match self {
            Label::Class(_) => Self::CLASS,
            Label::Classes(_) => Self::CLASSES,
            Label::Number(_) => Self::NUMBER,
        }
    }
}

/// The labels of a head by name.
struct Known {
    names: Vec<String>,
    index: BTreeMap<String, usize>,
}

impl Known {
    fn new(head: &HeadConfig) -> Self {
        let names = head.labels();
        let index = names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        Self { names, index }
    }

    fn index(&self, name: &str) -> Result<usize, Problem> {
        let unknown = || Problem::UnknownLabel { label: name.to_owned(), known: self.names.clone() };
        self.index.get(name).copied().ok_or_else(unknown)
    }

    fn set<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<Vec<f32>, Problem> {
        let mut set = vec![0.0; self.names.len()];
        for name in names {
            set[self.index(name)?] = 1.0;
        }
        Ok(set)
    }

    fn push(&self, label: Option<&Label>, labels: &mut Labels) -> Result<(), Problem> {
        let label = label.ok_or(Problem::NoLabel)?;
        let wrong = |expected| Problem::WrongType { what: "label", found: label.kind().to_owned(), expected };
        match labels {
            Labels::Classes(labels) => match label {
                Label::Class(name) => labels.push(self.index(name)?),
                _ => return Err(wrong(Label::CLASS)),
            },
            Labels::Sets(labels) => match label {
                Label::Class(name) => labels.push(self.set([name])?),
                Label::Classes(names) => labels.push(self.set(names)?),
                Label::Number(_) => return Err(wrong(Label::CLASSES)),
            },
            Labels::Values(labels) => match label {
                Label::Number(number) => labels.push(*number as f32),
                Label::Class(name) => return Err(Problem::NotANumber { found: name.clone() }),
                Label::Classes(_) => return Err(wrong(Label::NUMBER)),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Example;

    fn labelled(labels: impl IntoIterator<Item = Label>) -> Dataset {
        let example = |(index, label)| Example { text: "text".into(), label: Some(label), line: index + 1 };
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
        assert_eq!((head.task(), head.labels()), (Task::Classification, vec!["x".into(), "y".into()]));
        let head = labelled([Label::Classes(vec!["x".into()]), Label::Classes(vec![])]).head_config().unwrap();
        assert_eq!((head.task(), head.num_labels), (Task::MultiLabel, 1));
        assert_eq!(labelled([Label::Number(0.5)]).head_config().unwrap().task(), Task::Regression);
        assert!(labelled([Label::Number(0.5), Label::Class("x".into())]).head_config().is_err());
        assert!(labelled([Label::Classes(vec![])]).head_config().is_err());
        assert!(Dataset::from_texts("d", ["a"]).head_config().is_err());
    }

    #[test]
    fn one_class_leaves_nothing_to_learn() {
        let data = Dataset::from_classes("d", [("a", "x"), ("b", "x")]);
        assert!(matches!(data.head_config(), Err(DataError::OneClass { .. })));
    }

    #[test]
    fn unlabelled_data_has_no_labels_but_a_gap_is_an_error() {
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
        let data = labelled([Label::Classes(vec!["z".into(), "x".into()]), Label::Classes(vec![])]);
        let expected = Labels::Sets(vec![vec![1.0, 0.0, 1.0], vec![0.0; 3]]);
        assert_eq!(data.labels(&head).unwrap(), Some(expected));
        let error = data.labels(&HeadConfig::regression()).unwrap_err().to_string();
        assert!(error.contains("line 1: the label is a list of names: expected a number"), "{error}");
    }
}
