//! Conversion of labels to label numbers.

use std::collections::{BTreeSet, HashMap};

use burn_adapters_heads::{HeadConfig, Targets, Task};

use crate::tasks::{TRAIN_TASKS, TrainTask, train_task, train_task_named};

use super::error::{DataProblem, Problems};
use super::{DataError, Dataset, Label};

/// The most classes of a head that is created for data.
const MAX_CLASSES: usize = 1 << 16;

impl Dataset {
    /// The names of the classes: either those that were [given](Self::with_label_names), or those that occur, in
    /// alphabetical order or, if all are integers, in numerical order. The entries of vectors are named `LABEL_0`,
    /// `LABEL_1`, … as in the reference.
    pub fn label_names(&self) -> Vec<String> {
        if let Some(names) = &self.names {
            return names.clone();
        }
        if let Some(width) = self.vector_width() {
            return HeadConfig::multilabel_classification(width).labels();
        }
        let mut names: Vec<String> = self.distinct_names().into_iter().map(str::to_owned).collect();
        if names.iter().all(|name| name.parse::<i64>().is_ok()) {
            names.sort_by_key(|name| name.parse::<i64>().unwrap_or(0));
        }
        names
    }

    /// The names of the classes that occur.
    pub(super) fn distinct_names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for example in self.examples() {
            match &example.label {
                Some(Label::Class(name)) => drop(names.insert(name.as_str())),
                Some(Label::Classes(several)) => names.extend(several.iter().map(String::as_str)),
                Some(Label::Tags(tags)) => names.extend(tags.iter().map(String::as_str)),
                Some(Label::Number(_) | Label::Vector(_) | Label::Answers(_) | Label::Choice(_) | Label::Text(_))
                | None => {}
            }
        }
        names
    }

    /// The length of the label vectors, if the labels are vectors.
    pub fn vector_width(&self) -> Option<usize> {
        self.examples().iter().find_map(|example| match &example.label {
            Some(Label::Vector(flags)) => Some(flags.len()),
            _ => None,
        })
    }

    /// Names the classes in the order of the head's logits, whether or not they occur in the data. Labels may be these
    /// names, their numbers (from 0), or vectors with an entry for each of them.
    ///
    /// ```
    /// use burn_adapters_train::Dataset;
    ///
    /// let data = Dataset::from_classes("d", [("a fine film", "1"), ("a bore", "0")]).with_label_names(["bad", "good"])?;
    /// assert_eq!(data.head_config()?.labels(), ["bad", "good"]);
    /// # Ok::<(), burn_adapters_train::DataError>(())
    /// ```
    ///
    /// # Errors
    /// If a name is empty or given twice, a label is none of these forms, or the labels are numbers to be predicted.
    /// The error lists the rows.
    pub fn with_label_names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Result<Self, DataError> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let malformed = |message: String| DataError::Malformed { source_name: "the label names".into(), message };
        let distinct: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        if distinct.len() < names.len() || distinct.contains("") || names.is_empty() {
            return Err(malformed("each class needs a name of its own".into()));
        }
        let known = |name: &str| distinct.contains(name);
        let by_number = !self.distinct_names().into_iter().all(known);
        let mut problems = Problems::default();
        let rename = |label: &str| {
            let numbered = || names.get(label.parse::<usize>().ok()?).cloned();
            let name = if by_number { numbered() } else { Some(label.to_owned()) };
            name.ok_or_else(|| DataProblem::NotNamed { label: label.to_owned(), names: names.clone() })
        };
        for example in &mut self.examples {
            let named = match &example.label {
                Some(Label::Class(label)) => rename(label).map(Label::Class),
                Some(Label::Classes(labels)) => {
                    labels.iter().map(|label| rename(label)).collect::<Result<_, _>>().map(Label::Classes)
                }
                Some(Label::Tags(tags)) => {
                    tags.iter().map(|tag| rename(tag)).collect::<Result<_, _>>().map(Label::Tags)
                }
                Some(Label::Vector(flags)) if flags.len() == names.len() => {
                    let set = flags.iter().zip(&names).filter(|(flag, _)| **flag);
                    Ok(Label::Classes(set.map(|(_, name)| name.clone()).collect()))
                }
                Some(Label::Vector(flags)) => {
                    let of = "given label name".to_owned();
                    Err(DataProblem::VectorLength { found: flags.len(), expected: names.len(), of })
                }
                Some(Label::Number(_)) => {
                    return Err(malformed("the labels are numbers to be predicted, which have no names".into()));
                }
                Some(Label::Choice(_)) => return Err(malformed("the labels are choices, which have no names".into())),
                Some(Label::Answers(_)) => return Err(malformed("the labels are answers, which have no names".into())),
                Some(Label::Text(_)) => return Err(malformed("the labels are texts, which have no names".into())),
                None => continue,
            };
            match named {
                Ok(label) => example.label = Some(label),
                Err(problem) => problems.push(example.line, problem),
            }
        }
        problems.into_result(self.source())?;
        self.names = Some(names);
        Ok(self)
    }

    /// The head that learns this data: classification, multilabel or regression, by the kind of the labels, with
    /// [`label_names`](Self::label_names) in their order.
    ///
    /// # Errors
    /// If there is no label, the kinds are mixed, or all examples are of one class; and with [`DataError::Ambiguous`]
    /// if classes could be something else: fractions, numbers or names that rarely repeat, lists. Use
    /// [`head_config_for`](Self::head_config_for) if they are classes.
    pub fn head_config(&self) -> Result<HeadConfig, DataError> {
        self.check_doubts()?;
        self.head(None)
    }

    /// [`head_config`](Self::head_config) for a known task: labels are not checked for ambiguity.
    ///
    /// # Errors
    /// As [`head_config`](Self::head_config), except for ambiguity; and if the labels belong to another task.
    pub fn head_config_for(&self, task: &dyn Task) -> Result<HeadConfig, DataError> {
        let head = self.head(train_task_named(task.name()))?;
        if head.task() == task {
            return Ok(head);
        }
        let message = format!("the labels are those of {}, not of {task}", head.task());
        Err(DataError::Malformed { source_name: self.source().to_owned(), message })
    }

    /// The head of a preferred task, if the labels may be its labels; otherwise of the first task whose labels they may be.
    fn head(&self, preferred: Option<&'static dyn TrainTask>) -> Result<HeadConfig, DataError> {
        let names = self.label_names();
        let labels = || self.examples().iter().filter_map(|example| example.label.as_ref());
        let malformed = |message: &str| {
            Err(DataError::Malformed { source_name: self.source().to_owned(), message: message.to_owned() })
        };
        let Some(first) = labels().next() else { return malformed("no example has a label") };
        if labels().any(|label| label.kind() != first.kind()) {
            return malformed(
                "the labels are of different kinds: names of a class, lists of names, vectors, numbers, tags",
            );
        }
        if names.len() > MAX_CLASSES {
            let source_name = self.source().to_owned();
            return Err(DataError::TooManyClasses { source_name, classes: names.len(), limit: MAX_CLASSES });
        }
        match preferred.iter().chain(&TRAIN_TASKS).find(|task| task.takes(first)) {
            Some(task) => task.head(self, &names),
            None => malformed("no task learns from labels of this kind"),
        }
    }

    /// Whether labels are read as label numbers: integers from 0, for a head whose labels have only the default names
    /// `LABEL_0`, `LABEL_1`, ….
    pub fn numbers_the_labels_of(&self, head: &HeadConfig) -> bool {
        if !head.task().has_classes() {
            return false;
        }
        let unnamed = head.labels().iter().enumerate().all(|(id, label)| *label == format!("LABEL_{id}"));
        let number = |name: &&str| name.parse::<usize>().is_ok_and(|number| number < head.num_labels);
        let names = self.distinct_names();
        unnamed && !names.is_empty() && names.iter().all(number)
    }

    /// The labels as the head's label numbers; `None` if no example has a label. Tags are per word:
    /// [`TokenData`](crate::TokenData) has those of tokens.
    ///
    /// # Errors
    /// If a label is not one of the head's, is of another kind, or is missing while others are present. The error lists
    /// the rows.
    pub fn labels(&self, head: &HeadConfig) -> Result<Option<Targets>, DataError> {
        if self.examples().iter().all(|example| example.label.is_none()) {
            return Ok(None);
        }
        train_task(head).targets(self, head, &[]).map(Some)
    }
}

impl Label {
    pub(crate) const CLASS: &str = "the name of one class";
    pub(crate) const CLASSES: &str = "a list of names";
    pub(crate) const VECTOR: &str = "a vector of 0 and 1";
    pub(crate) const NUMBER: &str = "a number";
    pub(crate) const TAGS: &str = "a tag for each word";
    pub(crate) const CHOICE: &str = "one of several choices";
    pub(crate) const ANSWERS: &str = "answers in a context";
    pub(crate) const TEXT: &str = "a text";

    /// The kind of label, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Label::Class(_) => Self::CLASS,
            Label::Classes(_) => Self::CLASSES,
            Label::Vector(_) => Self::VECTOR,
            Label::Number(_) => Self::NUMBER,
            Label::Tags(_) => Self::TAGS,
            Label::Answers(_) => Self::ANSWERS,
            Label::Choice(_) => Self::CHOICE,
            Label::Text(_) => Self::TEXT,
        }
    }
}

/// The label numbers of a head, by name.
pub(crate) struct Known {
    names: Vec<String>,
    index: HashMap<String, usize>,
    /// Labels are label numbers of the head.
    by_number: bool,
}

/// The problem with a label, before the costly list of all known labels.
pub(crate) enum Wrong {
    Unknown(String),
    Other(DataProblem),
}

impl From<DataProblem> for Wrong {
    fn from(problem: DataProblem) -> Self {
        Wrong::Other(problem)
    }
}

impl Wrong {
    /// A label of an unexpected kind.
    pub(crate) fn kind(label: &Label, expected: &'static str) -> Self {
        Wrong::Other(DataProblem::WrongType { what: "label", found: label.kind().to_owned(), expected })
    }
}

impl Known {
    fn new(head: &HeadConfig, by_number: bool) -> Self {
        let names = head.labels();
        let index = names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        Self { names, index, by_number }
    }

    fn problem(&self, wrong: Wrong) -> DataProblem {
        match wrong {
            Wrong::Unknown(label) => DataProblem::UnknownLabel { label, known: self.names.clone() },
            Wrong::Other(problem) => problem,
        }
    }

    /// The number of labels.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of a label.
    pub(crate) fn index(&self, name: &str) -> Result<usize, Wrong> {
        let number = self.by_number.then(|| name.parse().ok()).flatten();
        number.or_else(|| self.index.get(name).copied()).ok_or_else(|| Wrong::Unknown(name.to_owned()))
    }
}

/// Converts the label of each example with `target`. Problems are collected.
pub(crate) fn collect<T>(
    data: &Dataset,
    head: &HeadConfig,
    target: impl Fn(&Known, &Label) -> Result<T, Wrong>,
) -> Result<Vec<T>, DataError> {
    let known = Known::new(head, data.numbers_the_labels_of(head));
    let mut targets = Vec::with_capacity(data.len());
    let mut problems = Problems::default();
    for example in data.examples() {
        let label = example.label.as_ref().ok_or(Wrong::Other(DataProblem::NoLabel));
        match label.and_then(|label| target(&known, label)) {
            Ok(target) => targets.push(target),
            Err(problem) => problems.push_with(example.line, || known.problem(problem)),
        }
    }
    problems.into_result(data.source())?;
    Ok(targets)
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
