//! BLEU (Papineni et al., 2002) of generated texts, as `sacrebleu` computes it by default: words by the rules of the WMT
//! campaigns (`13a`), runs of up to four words, exponential smoothing, from 0 to 100.

use crate::rouge::common_runs;

/// The longest run of words that is compared.
const MAX_ORDER: usize = 4;

/// The BLEU of generated texts with a reference each; 0 for none.
///
/// ```
/// use burn_adapters_train::bleu;
///
/// let score = bleu([("The cat sat on the mat.", "The cat sat on the mat.")]);
/// assert!((score - 100.0).abs() < 1e-9);
/// ```
pub fn bleu<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> f64 {
    let (mut right, mut all) = ([0_usize; MAX_ORDER], [0_usize; MAX_ORDER]);
    let (mut generated_length, mut reference_length) = (0, 0);
    for (generated, reference) in texts {
        let (generated, reference) = (words(generated), words(reference));
        generated_length += generated.len();
        reference_length += reference.len();
        for order in 1..=MAX_ORDER {
            all[order - 1] += generated.windows(order).len();
            right[order - 1] += common_runs(&generated, &reference, order);
        }
    }
    if right == [0; MAX_ORDER] || all.contains(&0) {
        return 0.0;
    }
    // An order without a common run counts as a half of one, the next such order as a quarter, and so on.
    let mut smoothing = 1.0;
    let logarithms = right.iter().zip(&all).map(|(right, all)| {
        let right = if *right == 0 {
            smoothing /= 2.0;
            smoothing
        } else {
            *right as f64
        };
        (right / *all as f64).ln()
    });
    let mean = logarithms.sum::<f64>() / MAX_ORDER as f64;
    let brevity =
        if generated_length < reference_length { 1.0 - reference_length as f64 / generated_length as f64 } else { 0.0 };
    100.0 * (mean + brevity).exp()
}

/// The words and punctuation marks of a text.
fn words(text: &str) -> Vec<String> {
    let text = text.trim_end().replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    let text = if text.contains('&') {
        text.replace("&quot;", "\"").replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    } else {
        text
    };
    let apart = |c: char| matches!(c, '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/');
    let mut spaced = vec![' '];
    for c in text.chars().chain([' ']) {
        if apart(c) { spaced.extend([' ', c, ' ']) } else { spaced.push(c) }
    }
    let is_mark = |c: char| matches!(c, '.' | ',');
    // Periods and commas stand apart unless they are between digits.
    let spaced =
        split_pairs(&spaced, |one, two| !one.is_ascii_digit() && is_mark(two), |one, two| vec![one, ' ', two, ' ']);
    let spaced =
        split_pairs(&spaced, |one, two| is_mark(one) && !two.is_ascii_digit(), |one, two| vec![' ', one, ' ', two]);
    // So does a hyphen after a digit.
    let spaced =
        split_pairs(&spaced, |one, two| one.is_ascii_digit() && two == '-', |one, two| vec![one, ' ', two, ' ']);
    spaced.into_iter().collect::<String>().split_whitespace().map(str::to_owned).collect()
}

/// Replaces pairs of characters, from left to right, each character at most once.
fn split_pairs(
    text: &[char],
    test: impl Fn(char, char) -> bool,
    replace: impl Fn(char, char) -> Vec<char>,
) -> Vec<char> {
    let mut result = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match text.get(at + 1) {
            Some(next) if test(text[at], *next) => {
                result.extend(replace(text[at], *next));
                at += 2;
            }
            _ => {
                result.push(text[at]);
                at += 1;
            }
        }
    }
    result
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn scores_are_those_of_sacrebleu() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../tests/goldens/texts.json")).unwrap();
        let text = |case: &Value, key: &str| case[key].as_str().unwrap().to_owned();
        let pairs: Vec<[String; 2]> =
            cases.iter().map(|case| [text(case, "generated"), text(case, "reference")]).collect();
        for (index, case) in cases.iter().enumerate() {
            // The text alone, and all texts up to it.
            for (key, pairs) in [("bleu", &pairs[index..=index]), ("corpus_bleu", &pairs[..=index])] {
                let found = bleu(pairs.iter().map(|[generated, reference]| (generated.as_str(), reference.as_str())));
                let expected = case[key].as_f64().unwrap();
                assert!((found - expected).abs() < 1e-6, "{case}: {key} is {found}");
            }
        }
        assert_eq!(bleu([]), 0.0);
    }
}
