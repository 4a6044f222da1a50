//! From labels to numbers.

use std::collections::{BTreeSet, HashMap};

use burn_adapters_heads::{HeadConfig, Labels, Task};

use super::error::{Problem, Problems};
use super::{DataError, Dataset, Label};

/// The most classes that a head for data is made for.
const MAX_CLASSES: usize = 1 << 16;

/// The most targets (texts times classes) of multi-label data: they take 1 GiB.
const MAX_TARGETS: usize = 1 << 28;

impl Dataset {
    /// The names of the classes: those that were [given](Self::with_label_names), or else those that occur, in
    /// alphabetical order, or if all of them are whole numbers, in numerical order. The entries of vectors are called
    /// `LABEL_0`, `LABEL_1`, … as in the reference.
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

    /// The names of classes that occur.
    pub(super) fn distinct_names(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        for example in self.examples() {
            match &example.label {
                Some(Label::Class(name)) => drop(names.insert(name.as_str())),
                Some(Label::Classes(several)) => names.extend(several.iter().map(String::as_str)),
                Some(Label::Number(_) | Label::Vector(_)) | None => {}
            }
        }
        names
    }

    /// The length of the label vectors, if there are any.
    pub fn vector_width(&self) -> Option<usize> {
        self.examples().iter().find_map(|example| match &example.label {
            Some(Label::Vector(flags)) => Some(flags.len()),
            _ => None,
        })
    }

    /// Names the classes, in the order of the head's logits, whether they occur in the data or not. Labels may be these
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
    /// If a name is empty or given twice, a label is none of these, or the labels are numbers to be predicted. The rows
    /// are named.
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
            name.ok_or_else(|| Problem::NotNamed { label: label.to_owned(), names: names.clone() })
        };
        for example in &mut self.examples {
            let named = match &example.label {
                Some(Label::Class(label)) => rename(label).map(Label::Class),
                Some(Label::Classes(labels)) => {
                    labels.iter().map(|label| rename(label)).collect::<Result<_, _>>().map(Label::Classes)
                }
                Some(Label::Vector(flags)) if flags.len() == names.len() => {
                    let set = flags.iter().zip(&names).filter(|(flag, _)| **flag);
                    Ok(Label::Classes(set.map(|(_, name)| name.clone()).collect()))
                }
                Some(Label::Vector(flags)) => {
                    let of = "given label name".to_owned();
                    Err(Problem::VectorLength { found: flags.len(), expected: names.len(), of })
                }
                Some(Label::Number(_)) => {
                    return Err(malformed("the labels are numbers to be predicted, which have no names".into()));
                }
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

    /// The head that learns this data: classification, multi-label or regression, by the kind of the labels, with
    /// [`label_names`](Self::label_names) in their order.
    ///
    /// # Errors
    /// If there is no label, the kinds are mixed, or all examples are of one class; and with [`DataError::Ambiguous`] if
    /// classes may as well be something else: fractions, numbers or names that hardly ever repeat, lists. If they are
    /// classes, [`head_config_for`](Self::head_config_for) says so.
    pub fn head_config(&self) -> Result<HeadConfig, DataError> {
        self.check_doubts()?;
        self.head()
    }

    /// As [`head_config`](Self::head_config), where the task is known: what the labels look like is not doubted.
    ///
    /// # Errors
    /// As [`head_config`](Self::head_config), without the doubts; and if the labels are of another task.
    pub fn head_config_for(&self, task: Task) -> Result<HeadConfig, DataError> {
        let head = self.head()?;
        if head.task() == task {
            return Ok(head);
        }
        let message = format!("the labels are those of {}, not of {}", head.task().name(), task.name());
        Err(DataError::Malformed { source_name: self.source().to_owned(), message })
    }

    fn head(&self) -> Result<HeadConfig, DataError> {
        let names = self.label_names();
        let kinds: BTreeSet<&str> = self.examples().iter().filter_map(|e| e.label.as_ref()).map(Label::kind).collect();
        let malformed = |message: &str| {
            Err(DataError::Malformed { source_name: self.source().to_owned(), message: message.to_owned() })
        };
        if kinds.len() > 1 {
            return malformed("the labels are of different kinds: names of a class, lists of names, vectors, numbers");
        }
        if names.len() > MAX_CLASSES {
            let source_name = self.source().to_owned();
            return Err(DataError::TooManyClasses { source_name, classes: names.len(), limit: MAX_CLASSES });
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

    /// Whether the labels are taken for the numbers of the head's labels: whole numbers from 0, for a head whose labels
    /// have no names of their own but `LABEL_0`, `LABEL_1`, ….
    pub fn numbers_the_labels_of(&self, head: &HeadConfig) -> bool {
        if head.task() == Task::Regression {
            return false;
        }
        let unnamed = head.labels().iter().enumerate().all(|(id, label)| *label == format!("LABEL_{id}"));
        let number = |name: &&str| name.parse::<usize>().is_ok_and(|number| number < head.num_labels);
        let names = self.distinct_names();
        unnamed && !names.is_empty() && names.iter().all(number)
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
        if head.task() == Task::MultiLabel && self.len().saturating_mul(head.num_labels) > MAX_TARGETS {
            let message = format!(
                "{} texts with {} labels each are more than is held in memory: train on fewer texts or labels",
                self.len(),
                head.num_labels
            );
            return Err(DataError::Malformed { source_name: self.source().to_owned(), message });
        }
        let known = Known::new(head, self.numbers_the_labels_of(head));
        let mut labels = match head.task() {
            Task::Classification => Labels::Classes(Vec::with_capacity(self.len())),
            Task::MultiLabel => Labels::Sets(Vec::with_capacity(self.len())),
            Task::Regression => Labels::Values(Vec::with_capacity(self.len())),
        };
        let mut problems = Problems::default();
        for example in self.examples() {
            if let Err(problem) = known.push(example.label.as_ref(), &mut labels) {
                problems.push_with(example.line, || known.problem(problem));
            }
        }
        problems.into_result(self.source())?;
        Ok(Some(labels))
    }
}

impl Label {
    const CLASS: &str = "the name of one class";
    const CLASSES: &str = "a list of names";
    const VECTOR: &str = "a vector of 0 and 1";
    const NUMBER: &str = "a number";

    fn kind(&self) -> &'static str {
        match self {
            Label::Class(_) => Self::CLASS,
            Label::Classes(_) => Self::CLASSES,
            Label::Vector(_) => Self::VECTOR,
            Label::Number(_) => Self::NUMBER,
        }
    }
}

/// The labels of a head by name.
struct Known {
    names: Vec<String>,
    index: HashMap<String, usize>,
    /// Labels are numbers of the head's labels.
    by_number: bool,
}

/// What is wrong with a label, without what it costs to list all that are known.
enum Wrong {
    Unknown(String),
    Other(Problem),
}

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        Wrong::Other(problem)
    }
}

impl Known {
    fn new(head: &HeadConfig, by_number: bool) -> Self {
        let names = head.labels();
        let index = names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        Self { names, index, by_number }
    }

    fn problem(&self, wrong: Wrong) -> Problem {
        match wrong {
            Wrong::Unknown(label) => Problem::UnknownLabel { label, known: self.names.clone() },
            Wrong::Other(problem) => problem,
        }
    }

    fn index(&self, name: &str) -> Result<usize, Wrong> {
        let number = self.by_number.then(|| name.parse().ok()).flatten();
        number.or_else(|| self.index.get(name).copied()).ok_or_else(|| Wrong::Unknown(name.to_owned()))
    }

    fn set<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<Vec<f32>, Wrong> {
        let mut set = vec![0.0; self.names.len()];
        for name in names {
            set[self.index(name)?] = 1.0;
        }
        Ok(set)
    }

    fn push(&self, label: Option<&Label>, labels: &mut Labels) -> Result<(), Wrong> {
        let label = label.ok_or(Problem::NoLabel)?;
        let wrong =
            |expected| Wrong::Other(Problem::WrongType { what: "label", found: label.kind().to_owned(), expected });
        match labels {
            Labels::Classes(labels) => match label {
                Label::Class(name) => labels.push(self.index(name)?),
                _ => return Err(wrong(Label::CLASS)),
            },
            Labels::Sets(labels) => match label {
                Label::Class(name) => labels.push(self.set([name])?),
                Label::Classes(names) => labels.push(self.set(names)?),
                Label::Vector(flags) if flags.len() == self.names.len() => {
                    labels.push(flags.iter().map(|flag| f32::from(u8::from(*flag))).collect());
                }
                Label::Vector(flags) => {
                    let of = "label of the head".to_owned();
                    let (found, expected) = (flags.len(), self.names.len());
                    return Err(Problem::VectorLength { found, expected, of }.into());
                }
                Label::Number(_) => return Err(wrong(Label::CLASSES)),
            },
            Labels::Values(labels) => match label {
                Label::Number(number) => labels.push(*number as f32),
                Label::Class(name) => return Err(Problem::NotANumber { found: name.clone() }.into()),
                Label::Classes(_) | Label::Vector(_) => return Err(wrong(Label::NUMBER)),
            },
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
