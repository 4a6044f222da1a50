//! Holding out part of the data.

use std::collections::HashMap;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::{DataError, Dataset, Label};
use crate::tasks::tagging::types;

impl Dataset {
    /// Holds out a random fraction of the examples, drawn from `seed`. Returns `(training, held out)`, each in the
    /// order of the file. The number of held-out examples is rounded to the nearest integer.
    ///
    /// The split is stratified: each class contributes its share, and no class is held out completely. The only example
    /// of a class stays in the training part, and so does at least one of two or more. In multilabel data, the rarest
    /// label of each text decides, and every label that occurs is in the training part. Numbers to be predicted have no
    /// influence.
    ///
    /// # Errors
    /// If the fraction is not between 0 and 1, or a part would be empty.
    pub fn split_fraction(self, fraction: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let source_name = self.source.clone();
        let mut parts = Self::split_together(vec![self], fraction, seed)?;
        parts.pop().ok_or(DataError::Empty { source_name })
    }

    /// [`split_fraction`](Self::split_fraction) for data sets that have the same texts with different labels: the same
    /// rows are held out of each.
    ///
    /// # Errors
    /// As [`split_fraction`](Self::split_fraction), and if the data sets differ in length.
    pub fn split_together(data: Vec<Self>, fraction: f64, seed: u64) -> Result<Vec<(Self, Self)>, DataError> {
        let count = data.first().map_or(0, Self::len);
        if let Some(other) = data.iter().find(|other| other.len() != count) {
            let message = format!("{} examples, where other labels of the same texts have {count}", other.len());
            return Err(DataError::Malformed { source_name: other.source().to_owned(), message });
        }
        let wanted = (count as f64 * fraction).round();
        let bad = || DataError::BadSplit { how: format!("the fraction {fraction}"), examples: count };
        if !(fraction > 0.0 && fraction < 1.0) || wanted < 1.0 || wanted >= count as f64 {
            return Err(bad());
        }
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        let labels: Vec<Vec<Vec<usize>>> = data.iter().map(Self::label_ids).collect();
        let groups = groups(&labels, &order);
        let mut held = vec![false; count];
        for (group, share) in groups.iter().zip(shares(&groups, fraction, wanted as usize)) {
            group.iter().take(share).for_each(|index| held[*index] = true);
        }
        labels.iter().for_each(|labels| take_back(labels, &order, &mut held));
        if !held.contains(&true) {
            return Err(bad());
        }
        Ok(data.into_iter().map(|data| data.split_by(|index| held[index])).collect())
    }

    /// Holds out every `n`-th example, starting with the first (`index % n == 0`): `(training, held out)`.
    ///
    /// # Errors
    /// If a part would be empty.
    pub fn split_every(self, n: usize) -> Result<(Self, Self), DataError> {
        if n < 2 || self.len() < 2 {
            return Err(DataError::BadSplit { how: format!("holding out every {n}th"), examples: self.len() });
        }
        Ok(self.split_by(|index| index % n == 0))
    }

    fn split_by(mut self, held_out: impl Fn(usize) -> bool) -> (Self, Self) {
        let mut parts = (Vec::new(), Vec::new());
        for (index, example) in std::mem::take(&mut self.examples).into_iter().enumerate() {
            if held_out(index) { parts.1.push(example) } else { parts.0.push(example) }
        }
        (Self { examples: parts.0, ..self.clone() }, Self { examples: parts.1, ..self })
    }

    /// The label numbers of each example; empty for numbers to be predicted.
    fn label_ids(&self) -> Vec<Vec<usize>> {
        let mut ids: HashMap<&str, usize> = HashMap::new();
        let mut id = |name| {
            let next = ids.len();
            *ids.entry(name).or_insert(next)
        };
        let labels = self.examples().iter().map(|example| match &example.label {
            Some(Label::Class(name)) => vec![id(name.as_str())],
            Some(Label::Classes(names)) => names.iter().map(|name| id(name)).collect(),
            Some(Label::Vector(flags)) => (0..flags.len()).filter(|id| flags[*id]).collect(),
            Some(Label::Tags(tags)) => types(tags).into_iter().map(&mut id).collect(),
            Some(Label::Number(_) | Label::Answers(_) | Label::Choice(_) | Label::Text(_)) | None => Vec::new(),
        });
        labels.collect()
    }
}

/// The rows of each class, in `order`; with several sets of labels, those of each combination of classes. If a row has
/// several labels, the rarest counts.
fn groups(labels: &[Vec<Vec<usize>>], order: &[usize]) -> Vec<Vec<usize>> {
    let rarest: Vec<Vec<Option<usize>>> = labels
        .iter()
        .map(|labels| {
            let mut counts: HashMap<usize, usize> = HashMap::new();
            labels.iter().flatten().for_each(|label| *counts.entry(*label).or_default() += 1);
            labels.iter().map(|row| row.iter().copied().min_by_key(|label| (counts[label], *label))).collect()
        })
        .collect();
    let mut numbers: HashMap<Vec<Option<usize>>, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &index in order {
        let next = groups.len();
        let number = *numbers.entry(rarest.iter().map(|labels| labels[index]).collect()).or_insert(next);
        if number == next {
            groups.push(Vec::new());
        }
        groups[number].push(index);
    }
    groups
}

/// The number of rows held out from each group: its share, rounded such that the sum is `wanted` if possible, but never
/// the whole group.
fn shares(groups: &[Vec<usize>], fraction: f64, wanted: usize) -> Vec<usize> {
    let quota = |group: &Vec<usize>| group.len() as f64 * fraction;
    // A single group is a split without classes: `wanted` rows are held out.
    let most = |group: &Vec<usize>| if groups.len() == 1 { wanted } else { group.len() - 1 };
    let mut shares: Vec<usize> = groups.iter().map(|group| (quota(group) as usize).min(most(group))).collect();
    // The rest is distributed to the groups that were rounded down most, repeatedly if necessary.
    let mut by_remainder: Vec<usize> = (0..groups.len()).collect();
    by_remainder.sort_by(|a, b| quota(&groups[*b]).fract().total_cmp(&quota(&groups[*a]).fract()));
    let mut missing = wanted.saturating_sub(shares.iter().sum());
    while missing > 0 {
        let before = missing;
        for &index in &by_remainder {
            if missing > 0 && shares[index] < most(&groups[index]) {
                shares[index] += 1;
                missing -= 1;
            }
        }
        if missing == before {
            break;
        }
    }
    shares
}

/// Returns held-out rows to the training part, so that it has every label.
fn take_back(labels: &[Vec<usize>], order: &[usize], held: &mut [bool]) {
    let classes = labels.iter().flatten().max().map_or(0, |last| last + 1);
    let mut seen = vec![false; classes];
    let rows = labels.iter().zip(&*held).filter(|(_, held)| !**held);
    rows.flat_map(|(row, _)| row).for_each(|label| seen[*label] = true);
    for &index in order {
        if held[index] && labels[index].iter().any(|label| !seen[*label]) {
            held[index] = false;
            labels[index].iter().for_each(|label| seen[*label] = true);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Example;

    fn classes(counts: &[(&'static str, usize)]) -> Dataset {
        let rows = counts.iter().flat_map(|(name, count)| (0..*count).map(move |row| (format!("{name} {row}"), *name)));
        Dataset::from_classes("d", rows)
    }

    fn counted(data: &Dataset) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for example in data.examples() {
            if let Some(Label::Class(name)) = &example.label {
                *counts.entry(name.clone()).or_default() += 1;
            }
        }
        counts
    }

    #[test]
    fn each_class_gives_its_share_and_none_is_held_out_whole() {
        for seed in 0..20 {
            let data = classes(&[("common", 180), ("rare", 18), ("two", 2), ("one", 1)]);
            let (train, held_out) = data.split_fraction(0.2, seed).unwrap();
            assert_eq!(held_out.len(), 40);
            let (train, held_out) = (counted(&train), counted(&held_out));
            assert_eq!((held_out["common"], held_out["rare"]), (36, 4), "{held_out:?}");
            assert_eq!((train["one"], train["two"]), (1, 2));
        }
        let (train, held_out) = classes(&[("a", 3), ("b", 3), ("c", 1)]).split_fraction(0.9, 1).unwrap();
        assert_eq!((counted(&train).into_values().collect::<Vec<_>>(), held_out.len()), (vec![1, 1, 1], 4));
        assert!(classes(&[("a", 1), ("b", 1)]).split_fraction(0.5, 1).is_err());
    }

    #[test]
    fn the_seed_decides_and_numbers_play_no_part() {
        let data = || classes(&[("a", 30), ("b", 70)]);
        assert_eq!(data().split_fraction(0.3, 5).unwrap(), data().split_fraction(0.3, 5).unwrap());
        assert_ne!(data().split_fraction(0.3, 5).unwrap(), data().split_fraction(0.3, 6).unwrap());
        let numbers = data().map_labels(|_| Some(Label::Number(0.5)));
        assert_eq!(numbers.split_fraction(0.9, 5).unwrap().1.len(), 90);
    }

    #[test]
    fn of_several_labels_each_is_seen_in_training() {
        let example = |index: usize| {
            let mut names = vec!["all".to_owned()];
            names.extend(index.is_multiple_of(2).then(|| "even".to_owned()));
            names.extend((index == 7).then(|| "seven".to_owned()));
            Example::new(format!("{index}"), index + 1).with_label(Label::Classes(names))
        };
        for seed in 0..20 {
            let data = Dataset::from_examples("d", (0..40).map(example).collect()).unwrap();
            let (train, held_out) = data.split_fraction(0.5, seed).unwrap();
            assert_eq!(train.label_names(), ["all", "even", "seven"], "{seed}");
            assert!((19..=20).contains(&held_out.len()), "{}", held_out.len());
        }
    }

    #[test]
    fn the_same_rows_are_held_out_whatever_the_labels_are() {
        let first = classes(&[("a", 30), ("b", 70)]);
        let mut row = 0;
        let second = first.clone().map_labels(|_| {
            row += 1;
            Some(Label::Class(if row % 3 == 0 { "x" } else { "y" }.to_owned()))
        });
        let parts = Dataset::split_together(vec![first, second], 0.25, 3).unwrap();
        let lines = |data: &Dataset| data.examples().iter().map(|example| example.line).collect::<Vec<_>>();
        assert_eq!(lines(&parts[0].1), lines(&parts[1].1));
        assert_eq!(parts[0].1.len(), 25);
        for (train, _) in &parts {
            assert_eq!(train.label_names().len(), 2);
        }
    }
}
