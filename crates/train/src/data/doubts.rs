//! Ambiguous labels, and notes on how labels were read.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::error::shortened;
use super::{DataError, Dataset, Label, lists};

/// Up to this number of different labels they are classes, even with few examples.
const SURELY_CLASSES: usize = 20;

/// Why labels are ambiguous.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Doubt {
    /// A fraction among names.
    #[error(
        "the label `{}` is a fraction: a number to be predicted (regression) or the name of a class (classification)?",
        shortened(label)
    )]
    Fraction {
        /// The label.
        label: String,
    },
    /// Integers that rarely repeat.
    #[error(
        "the labels are whole numbers, {distinct} different ones in {examples} examples: numbers to be predicted \
         (regression) or names of classes (classification)?"
    )]
    ManyNumbers {
        /// The number of different labels.
        distinct: usize,
        /// The number of labeled examples.
        examples: usize,
    },
    /// Names that rarely repeat.
    #[error(
        "there are {distinct} different labels in {examples} examples: are they classes (classification), and is the \
         column that of the labels?"
    )]
    ManyNames {
        /// The number of different labels.
        distinct: usize,
        /// The number of labeled examples.
        examples: usize,
    },
    /// A list instead of a name.
    #[error(
        "the label `{}` is a list: several labels (multilabel) or the name of one class (classification)?",
        shortened(label)
    )]
    List {
        /// The label.
        label: String,
    },
}

impl Dataset {
    /// Rejects classes that could be something else.
    pub(super) fn check_doubts(&self) -> Result<(), DataError> {
        if self.names.is_some() {
            return Ok(());
        }
        let mut labeled = 0;
        // In the order of the file, so that the error names the first one.
        let mut seen = BTreeSet::new();
        let ambiguous = |line: usize, doubt: Doubt| {
            Err(DataError::Ambiguous { source_name: self.source().to_owned(), line, doubt })
        };
        for example in self.examples() {
            let Some(Label::Class(label)) = &example.label else { continue };
            labeled += 1;
            if !seen.insert(label.as_str()) {
                continue;
            }
            if is_fraction(label) {
                return ambiguous(example.line, Doubt::Fraction { label: label.clone() });
            }
            if lists::looks_like_a_list(label) {
                return ambiguous(example.line, Doubt::List { label: label.clone() });
            }
        }
        let line = self.examples().iter().find(|example| example.label.is_some()).map_or(0, |example| example.line);
        let (distinct, examples) = (seen.len(), labeled);
        let numbers: Option<BTreeSet<i128>> = seen.iter().map(|label| label.parse().ok()).collect();
        match numbers {
            Some(numbers) => {
                let range = numbers.last().zip(numbers.first()).map_or(0, |(last, first)| last.saturating_sub(*first));
                let each_once = distinct > 2 && distinct == examples && range >= distinct as i128;
                if each_once || distinct > SURELY_CLASSES && distinct * 5 > examples {
                    return ambiguous(line, Doubt::ManyNumbers { distinct, examples });
                }
            }
            None if distinct > SURELY_CLASSES && distinct * 2 > examples => {
                return ambiguous(line, Doubt::ManyNames { distinct, examples });
            }
            None => {}
        }
        Ok(())
    }

    /// Notes for the user on how the labels were read: spaces that were removed, and classes whose names differ only by
    /// case or spaces.
    pub fn notes(&self) -> Vec<String> {
        let source = self.source();
        let mut notes: Vec<String> = self.read_notes.iter().map(|note| format!("{source}: {note}")).collect();
        if let Some((count, line)) = self.trimmed {
            let (labels, had) = if count == 1 { ("label", "has") } else { ("labels", "have") };
            notes.push(format!(
                "{}: {count} {labels} {had} spaces around the name, which are removed (the first on line {line})",
                self.source()
            ));
        }
        let mut alike: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for name in self.distinct_names() {
            let key: String = name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
            alike.entry(key).or_default().push(name);
        }
        let alike: Vec<String> = alike
            .into_values()
            .filter(|names| names.len() > 1)
            .map(|names| names.iter().map(|name| format!("`{}`", shortened(name))).collect::<Vec<_>>().join(" and "))
            .collect();
        if !alike.is_empty() {
            let more = if alike.len() > 3 { format!(" and {} more", alike.len() - 3) } else { String::new() };
            notes.push(format!(
                "{}: the labels {}{more} differ only by case or spaces, and are different classes",
                self.source(),
                alike[..alike.len().min(3)].join(", ")
            ));
        }
        notes
    }
}

/// Whether a number is not written as an integer; decimal commas count.
fn is_fraction(label: &str) -> bool {
    if label.parse::<i128>().is_ok() || !label.contains(|c: char| c.is_ascii_digit()) {
        return false;
    }
    label.parse::<f64>().is_ok() || label.matches(',').count() == 1 && label.replace(',', ".").parse::<f64>().is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn data<'a>(labels: impl IntoIterator<Item = &'a str>) -> Dataset {
        Dataset::from_classes("d", labels.into_iter().map(|label| ("text", label)))
    }

    fn doubt<'a>(labels: impl IntoIterator<Item = &'a str>) -> Option<Doubt> {
        match data(labels).head_config() {
            Err(DataError::Ambiguous { doubt, .. }) => Some(doubt),
            Ok(_) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn fractions_are_not_classes_unless_this_is_said() {
        for labels in [["0.25", "0.37"], ["1.0", "2.0"], ["a", "-.5"], ["1e-3", "2"], ["0,25", "0,5"], ["3", "5."]] {
            assert!(matches!(doubt(labels), Some(Doubt::Fraction { .. })), "{labels:?}");
            assert!(data(labels).head_config_for(&burn_adapters_heads::Classification).is_ok());
        }
        for labels in [["1", "2"], ["v1.0", "v1.1"], ["nan", "inf"], ["1.2.3", "1.2.4"], ["3 stars", "4.5 stars"]] {
            assert_eq!(doubt(labels), None, "{labels:?}");
        }
    }

    #[test]
    fn lists_are_not_classes_unless_this_is_said() {
        for labels in [["[0, 1, 1]", "[1, 0, 0]"], ["a|b", "a"], ["[\"a\"]", "x"], ["0 1 1", "1 0 0"], ["(0, 1)", "x"]]
        {
            assert!(matches!(doubt(labels), Some(Doubt::List { .. })), "{labels:?}");
        }
        for labels in [["[good]", "[bad]"], ["not good", "good, really"], ["|", "||"], ["(", ")"]] {
            assert_eq!(doubt(labels), None, "{labels:?}");
        }
    }

    #[test]
    fn numbers_that_hardly_ever_repeat_are_not_classes_unless_this_is_said() {
        let numbers = |count: usize, different: usize, step: usize| -> Vec<String> {
            (0..count).map(|index| (index % different * step).to_string()).collect()
        };
        let doubt = |labels: &[String]| doubt(labels.iter().map(String::as_str));
        assert!(matches!(doubt(&numbers(4, 4, 37)), Some(Doubt::ManyNumbers { distinct: 4, .. })));
        assert!(matches!(doubt(&numbers(300, 100, 1)), Some(Doubt::ManyNumbers { .. })));
        assert_eq!(doubt(&numbers(3, 3, 1)), None);
        assert_eq!(doubt(&numbers(400, 5, 10)), None);
        assert_eq!(doubt(&numbers(770, 77, 1)), None);
    }

    #[test]
    fn names_that_hardly_ever_repeat_are_not_classes_unless_this_is_said() {
        let names: Vec<String> = (0..40).map(|index| format!("name {index}")).collect();
        assert!(matches!(doubt(names.iter().map(String::as_str)), Some(Doubt::ManyNames { distinct: 40, .. })));
        assert_eq!(doubt(names.iter().chain(&names).map(String::as_str)), None);
    }

    #[test]
    fn labels_that_differ_by_case_or_spaces_are_told() {
        let notes = data(["pos", "Pos", "neg"]).notes();
        assert_eq!(notes, ["d: the labels `Pos` and `pos` differ only by case or spaces, and are different classes"]);
        assert!(data(["pos", "neg"]).notes().is_empty());
    }
}
