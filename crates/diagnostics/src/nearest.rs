//! The known name closest to a misspelled one.

/// Longer names are not compared: they are not typos of a known name, and comparing costs time.
const LONGEST: usize = 64;

/// The candidate with the smallest edit distance to `name`, or `None` if none is close enough to be the intended one.
/// Case, `-`, `_` and spaces are ignored, and a prefix of at least three characters is enough.
///
/// ```
/// # use burn_adapters_diagnostics::nearest;
/// assert_eq!(nearest("temprature", ["key", "temperature"]), Some("temperature"));
/// assert_eq!(nearest("bananas", ["key", "temperature"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let name = fold(name);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let folded = fold(candidate);
            let distance = if name.len() >= 3 && folded.starts_with(&name) { 1 } else { distance(&name, &folded) };
            let allowed = (name.len().max(folded.len()) / 3).max(1);
            let alike = distance <= allowed && distance < folded.len();
            alike.then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Removes differences in case and separators.
fn fold(name: &str) -> Vec<char> {
    name.chars().map(|c| if c == '-' || c == ' ' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// The Levenshtein distance, where a swap of two neighbors counts as one.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_is_understood() {
        let known = ["reduction_factor", "residual_before_ln", "dropout", "r"];
        assert_eq!(nearest("reduction_facto", known), Some("reduction_factor"));
        assert_eq!(nearest("Reduction-Factor", known), Some("reduction_factor"));
        assert_eq!(nearest("dorpout", known), Some("dropout"));
        assert_eq!(nearest("reduction", known), Some("reduction_factor"));
    }

    #[test]
    fn what_is_like_nothing_gets_no_suggestion() {
        assert_eq!(nearest("bananas", ["dropout", "r", "alpha"]), None);
        assert_eq!(nearest("x", ["r"]), None);
        assert_eq!(nearest("", ["r"]), None);
        assert_eq!(nearest(&"r".repeat(60_000), ["r"]), None);
    }
}
