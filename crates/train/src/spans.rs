//! Entities in tagged words, and their evaluation.
//!
//! Entities are counted as by `seqeval` in its default mode, which is that of conlleval. An entity begins with `B-` or
//! `S-`, after `O`, `E-` or `S-`, or where the type changes, and so also in malformed sequences (`I-` after `O`). It is
//! correct if its type, its first word and its last word are correct.

use std::collections::{BTreeMap, BTreeSet};

use crate::ClassScore;
use crate::metrics::{mean, ratio};

/// The part of an entity that a tag marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Outside,
    Begin,
    Inside,
    End,
    Single,
}

impl Part {
    /// The part and the type of a tag: `B-PER` is the beginning of a `PER`. `None` if the tag is not `O` and has none
    /// of the prefixes of IOB2 and IOBES.
    pub(crate) fn of(tag: &str) -> Option<(Self, &str)> {
        let (prefix, kind) = tag.split_once('-').unwrap_or((tag, ""));
        let part = match prefix {
            "O" if kind.is_empty() && tag == "O" => Part::Outside,
            "B" => Part::Begin,
            "I" => Part::Inside,
            "E" => Part::End,
            "S" => Part::Single,
            _ => return None,
        };
        Some((part, kind))
    }
}

/// The labels of a head as tags.
pub(crate) struct TagSet {
    tags: Vec<(Part, usize)>,
    /// The types of entities.
    types: Vec<String>,
}

/// A sequence of words that is one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// The number of the type.
    pub(crate) kind: usize,
    /// The first word.
    pub(crate) start: usize,
    /// The word after the last one.
    pub(crate) end: usize,
}

impl TagSet {
    /// Labels without a prefix (parts of speech) are types, and each word is an entity.
    pub(crate) fn new(labels: &[String]) -> Self {
        let chunks = labels.iter().any(|label| Part::of(label).is_some());
        let mut types: Vec<String> = Vec::new();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let mut tags = Vec::with_capacity(labels.len());
        for label in labels {
            let (part, kind) = Part::of(label).filter(|_| chunks).unwrap_or((Part::Single, label));
            let number = match part {
                Part::Outside => usize::MAX,
                _ => *numbers.entry(kind).or_insert_with(|| {
                    types.push(if kind.is_empty() { "_".to_owned() } else { kind.to_owned() });
                    types.len() - 1
                }),
            };
            tags.push((part, number));
        }
        Self { tags, types }
    }

    /// The name of an entity type.
    pub(crate) fn type_of(&self, span: Span) -> &str {
        self.types.get(span.kind).map_or("_", String::as_str)
    }

    /// The entities in a sequence of labels.
    pub(crate) fn spans(&self, sequence: &[usize]) -> Vec<Span> {
        let outside = (Part::Outside, usize::MAX);
        let mut spans: Vec<Span> = Vec::new();
        let mut before = outside;
        for (word, label) in sequence.iter().enumerate() {
            let (part, kind) = self.tags.get(*label).copied().unwrap_or(outside);
            let closed = matches!(before.0, Part::Outside | Part::End | Part::Single);
            let begins = matches!(part, Part::Begin | Part::Single) || closed || before.1 != kind;
            match spans.last_mut() {
                _ if part == Part::Outside => {}
                Some(span) if !begins => span.end = word + 1,
                _ => spans.push(Span { kind, start: word, end: word + 1 }),
            }
            before = (part, kind);
        }
        spans
    }
}

/// Precision, recall and F1.
pub(crate) type Triple = [f64; 3];

/// The scores of entities in some sequences.
#[derive(Debug, PartialEq)]
pub(crate) struct SpanScores {
    /// Each type that occurs in the data or the predictions, in alphabetical order.
    pub(crate) classes: Vec<ClassScore>,
    /// All entities together.
    pub(crate) micro: Triple,
    /// The mean over the types.
    pub(crate) macro_mean: Triple,
    /// The mean over the types, weighted by their numbers of entities.
    pub(crate) weighted: Triple,
    /// The fraction of words with the correct label.
    pub(crate) accuracy: f64,
}

impl SpanScores {
    /// Compares pairs of a true and a predicted sequence of equal length.
    pub(crate) fn new<'a>(tags: &TagSet, pairs: impl Iterator<Item = (&'a [usize], &'a [usize])>) -> Self {
        let mut counts = vec![[0_usize; 3]; tags.types.len()];
        let (mut right, mut words) = (0, 0);
        for (truth, found) in pairs {
            right += truth.iter().zip(found).filter(|(truth, found)| truth == found).count();
            words += truth.len();
            let truth: BTreeSet<Span> = tags.spans(truth).into_iter().collect();
            truth.iter().for_each(|span| counts[span.kind][2] += 1);
            for span in tags.spans(found) {
                counts[span.kind][1] += 1;
                counts[span.kind][0] += usize::from(truth.contains(&span));
            }
        }
        let score = |(name, [hits, found, truth]): (&String, &[usize; 3])| ClassScore::new(name, *hits, *found, *truth);
        let occurs = |(_, [_, found, truth]): &(&String, &[usize; 3])| *found > 0 || *truth > 0;
        let mut classes: Vec<ClassScore> = tags.types.iter().zip(&counts).filter(occurs).map(score).collect();
        classes.sort_by(|a, b| a.label.cmp(&b.label));
        let sum = |index: usize| counts.iter().map(|count| count[index]).sum::<usize>();
        let all = ClassScore::new("", sum(0), sum(1), sum(2));
        let triple = |class: &ClassScore| [class.precision, class.recall, class.f1];
        let values = |index: usize| classes.iter().map(|class| triple(class)[index]).collect::<Vec<_>>();
        let weighted = |index: usize| {
            let parts = classes.iter().map(|class| triple(class)[index] * class.support as f64);
            parts.sum::<f64>() / (sum(2).max(1) as f64)
        };
        Self {
            micro: triple(&all),
            macro_mean: [0, 1, 2].map(|index| mean(&values(index))),
            weighted: [0, 1, 2].map(weighted),
            accuracy: ratio(right, words),
            classes,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn sequences(value: &Value) -> Vec<Vec<String>> {
        let words = |row: &Value| row.as_str().unwrap().split(' ').map(str::to_owned).collect();
        value.as_array().unwrap().iter().map(words).collect()
    }

    fn triple(value: &Value) -> Triple {
        [0, 1, 2].map(|index| value[index].as_f64().unwrap())
    }

    #[test]
    fn entities_are_counted_as_seqeval_counts_them_in_broken_sequences_too() {
        let cases: Value = serde_json::from_str(include_str!("../tests/goldens/spans.json")).unwrap();
        let cases = cases.as_array().unwrap();
        assert!(cases.len() > 40);
        for case in cases {
            let (truth, found) = (sequences(&case["truth"]), sequences(&case["found"]));
            let labels: BTreeSet<String> = truth.iter().chain(&found).flatten().cloned().collect();
            let labels: Vec<String> = labels.into_iter().collect();
            let numbers = |rows: &[Vec<String>]| -> Vec<Vec<usize>> {
                let number = |tag: &String| labels.iter().position(|label| label == tag).unwrap();
                rows.iter().map(|row| row.iter().map(number).collect()).collect()
            };
            let (truth, found) = (numbers(&truth), numbers(&found));
            let pairs = truth.iter().zip(&found).map(|(truth, found)| (truth.as_slice(), found.as_slice()));
            let scores = SpanScores::new(&TagSet::new(&labels), pairs);
            let close = |found: Triple, name: &str| {
                let near = found.iter().zip(triple(&case[name])).all(|(a, b)| (a - b).abs() < 1e-8);
                assert!(near, "{name} {found:?}: {case}");
            };
            close(scores.micro, "micro");
            close(scores.macro_mean, "macro");
            close(scores.weighted, "weighted");
            assert!((scores.accuracy - case["accuracy"].as_f64().unwrap()).abs() < 1e-8, "{case}");
            let classes = case["classes"].as_object().unwrap();
            assert_eq!(scores.classes.len(), classes.len(), "{case}");
            for class in &scores.classes {
                let expected = &classes[&class.label];
                let found = [class.precision, class.recall, class.f1];
                let near = found.iter().zip(triple(expected)).all(|(a, b)| (a - b).abs() < 1e-8);
                assert!(near && expected[3] == class.support, "{class:?}: {case}");
            }
        }
    }

    #[test]
    fn labels_without_a_prefix_are_entities_of_one_word() {
        let tags = TagSet::new(&["ADJ", "NOUN"].map(str::to_owned));
        let spans = tags.spans(&[1, 1, 0]);
        assert_eq!(spans.iter().map(|span| (span.start, span.end)).collect::<Vec<_>>(), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(tags.type_of(spans[2]), "ADJ");
    }

    proptest! {
        #[test]
        fn precision_and_recall_change_places_with_truth_and_prediction(
            rows in proptest::collection::vec(proptest::collection::vec((0..9_usize, 0..9_usize), 0..12), 0..5),
        ) {
            let labels = ["O", "B-a", "I-a", "E-a", "S-a", "B-b", "I-b", "E-b", "S-b"].map(str::to_owned);
            let tags = TagSet::new(&labels);
            let (truth, found): (Vec<Vec<usize>>, Vec<Vec<usize>>) =
                rows.iter().map(|row| row.iter().copied().unzip()).unzip();
            let score = |a: &[Vec<usize>], b: &[Vec<usize>]| {
                SpanScores::new(&tags, a.iter().zip(b).map(|(a, b)| (a.as_slice(), b.as_slice())))
            };
            let (one, other) = (score(&truth, &found), score(&found, &truth));
            prop_assert_eq!(one.micro, [other.micro[1], other.micro[0], other.micro[2]]);
            prop_assert_eq!(one.accuracy, other.accuracy);
            let same = score(&truth, &truth);
            let any = truth.iter().flatten().any(|label| *label > 0);
            prop_assert_eq!(same.micro, [f64::from(u8::from(any)); 3]);
            // Entities do not overlap, and none begins or ends outside.
            for row in &truth {
                let spans = tags.spans(row);
                prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
                let inside: usize = spans.iter().map(|span| span.end - span.start).sum();
                prop_assert_eq!(inside, row.iter().filter(|label| **label > 0).count());
            }
        }
    }
}
