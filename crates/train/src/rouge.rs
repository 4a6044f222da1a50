//! ROUGE (Lin, 2004): how much of a reference text a generated one has, as the Python package `rouge_score` computes it
//! without stemming.

use std::collections::HashMap;

/// The F1 between the words of two texts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rouge {
    /// Of single words.
    pub rouge_1: f64,
    /// Of pairs of neighboring words.
    pub rouge_2: f64,
    /// Of the longest common subsequence.
    pub rouge_l: f64,
}

impl Rouge {
    /// Compares a generated text with a reference. Words consist of the letters `a` to `z`, regardless of case, and of
    /// digits; everything else separates them.
    ///
    /// ```
    /// use burn_adapters_train::Rouge;
    ///
    /// let scores = Rouge::of("The cat sat.", "The cat sat down");
    /// assert!((scores.rouge_1 - 6.0 / 7.0).abs() < 1e-12);
    /// ```
    pub fn of(generated: &str, reference: &str) -> Self {
        let (generated, reference) = (words(generated), words(reference));
        let common = common_subsequence(&generated, &reference);
        Self {
            rouge_1: of_pieces(&generated, &reference, 1),
            rouge_2: of_pieces(&generated, &reference, 2),
            rouge_l: f1(common, generated.len(), reference.len()),
        }
    }

    /// The mean of several texts; 0 for none.
    pub fn mean(all: &[Self]) -> Self {
        let mean = |value: fn(&Self) -> f64| all.iter().map(value).sum::<f64>() / all.len().max(1) as f64;
        Self { rouge_1: mean(|one| one.rouge_1), rouge_2: mean(|one| one.rouge_2), rouge_l: mean(|one| one.rouge_l) }
    }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The F1 between the runs of `n` words.
fn of_pieces(generated: &[String], reference: &[String], n: usize) -> f64 {
    f1(common_runs(generated, reference, n), generated.windows(n).len(), reference.windows(n).len())
}

/// The number of runs of `n` words that two texts have in common. A run that comes several times counts as often as both
/// texts have it.
pub(crate) fn common_runs(generated: &[String], reference: &[String], n: usize) -> usize {
    let mut left: HashMap<&[String], usize> = HashMap::new();
    reference.windows(n).for_each(|run| *left.entry(run).or_default() += 1);
    let common = generated.windows(n).filter(|run| match left.get_mut(run) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    });
    common.count()
}

/// The length of the longest common subsequence.
fn common_subsequence(one: &[String], other: &[String]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for word in one {
        let mut diagonal = 0;
        for (column, candidate) in other.iter().enumerate() {
            let above = row[column + 1];
            row[column + 1] = if word == candidate { diagonal + 1 } else { above.max(row[column]) };
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn f1(common: usize, generated: usize, reference: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / generated as f64, common as f64 / reference as f64);
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn scores_are_those_of_rouge_score() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../tests/goldens/texts.json")).unwrap();
        assert!(cases.len() > 10);
        for case in &cases {
            let text = |key: &str| case[key].as_str().unwrap();
            let found = Rouge::of(text("generated"), text("reference"));
            for (key, found) in [("rouge1", found.rouge_1), ("rouge2", found.rouge_2), ("rougeL", found.rouge_l)] {
                let expected = case[key].as_f64().unwrap();
                assert!((found - expected).abs() < 1e-9, "{case}: {key} is {found}");
            }
        }
    }
}
