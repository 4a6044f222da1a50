//! SQuAD's exact match and F1, computed as in its official script.
//!
//! Both compare normalized texts: in lower case, without ASCII punctuation, without the articles a, an and the, and with
//! single spaces. The exact match is whether they are equal; the F1 is that of their words as multisets. With several
//! correct answers, the best score counts. (Rajpurkar et al., 2016,
//! [arXiv:1606.05250](https://arxiv.org/abs/1606.05250); with unanswerable questions 2018,
//! [arXiv:1806.03822](https://arxiv.org/abs/1806.03822).)

use std::collections::HashMap;

/// The exact match and the F1 of a prediction. If a question has no correct answers, its answer is the empty text.
///
/// `none` is whether questions may be unanswerable. If so, then, as in SQuAD 2, correct answers that normalization
/// leaves empty are dropped, and two empty texts are equal; otherwise, as in SQuAD 1.1, empty texts share no word.
pub(crate) fn scores(prediction: &str, answers: &[String], none: bool) -> (f64, f64) {
    let prediction = normalized(prediction);
    let mut right: Vec<String> = answers.iter().map(|answer| normalized(answer)).collect();
    if none {
        right.retain(|answer| !answer.is_empty());
    }
    if right.is_empty() {
        right.push(String::new());
    }
    let exact = if right.contains(&prediction) { 1.0 } else { 0.0 };
    let f1 = right.iter().map(|answer| f1(&prediction, answer, none)).fold(0.0, f64::max);
    (exact, f1)
}

fn f1(prediction: &str, answer: &str, none: bool) -> f64 {
    let (predicted, right) = (prediction.split(' '), answer.split(' '));
    let words = |text: &str| if text.is_empty() { 0 } else { text.split(' ').count() };
    let (predicted_count, right_count) = (words(prediction), words(answer));
    if predicted_count == 0 || right_count == 0 {
        return if none && predicted_count == right_count { 1.0 } else { 0.0 };
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    right.for_each(|word| *left.entry(word).or_default() += 1);
    let shares = |word: &&str| match left.get_mut(*word) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    let same = predicted.filter(shares).count();
    if same == 0 {
        return 0.0;
    }
    let precision = same as f64 / predicted_count as f64;
    let recall = same as f64 / right_count as f64;
    2.0 * precision * recall / (precision + recall)
}

/// The normalized text.
fn normalized(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|character| !character.is_ascii_punctuation()).collect();
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut without_articles = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|character| is_word(character) != is_word(first)).unwrap_or(rest.len());
        let (run, next) = rest.split_at(end);
        without_articles += if matches!(run, "a" | "an" | "the") { " " } else { run };
        rest = next;
    }
    // Python's white space: also the separators of files, groups, records and units.
    let is_space = |character: char| character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}');
    let words = without_articles.split(is_space).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prediction: &str, answers: &[&str], none: bool) -> (f64, f64) {
        scores(prediction, &answers.iter().map(|answer| (*answer).to_owned()).collect::<Vec<_>>(), none)
    }

    #[test]
    fn texts_are_normalized_as_squad_does() {
        for (text, expected) in [
            ("The  Cat's\tpajamas!", "cats pajamas"),
            ("a-an-the", "aanthe"),
            ("An apple, a day", "apple day"),
            ("theatre", "theatre"),
            ("the–cat", "–cat"),
            ("A", ""),
            ("U.S.A.", "usa"),
            ("ÉCOLE\u{1f}the x", "école x"),
            ("$5_000", "5000"),
        ] {
            assert_eq!(normalized(text), expected, "{text}");
        }
    }

    /// By the published definition, worked out by hand.
    #[test]
    fn exact_match_and_f1_are_those_of_the_definition() {
        for (prediction, answers, none, exact, f1) in [
            ("Denver Broncos", &["Denver Broncos", "The Denver Broncos"][..], false, 1.0, 1.0),
            ("the denver broncos!", &["Denver Broncos"], false, 1.0, 1.0),
            // 2 of 3 words, 2 of 2: 2 * (2/3) / (2/3 + 1) = 0.8.
            ("Denver Broncos team", &["Denver Broncos"], false, 0.0, 0.8),
            // The best of 1/1 and 1/3, and of 1/1 and 1/2: 2/3.
            ("Broncos", &["the mighty Denver Broncos", "Denver Broncos"], false, 0.0, 2.0 / 3.0),
            // Words count as often as they occur: 2 of 3 and 2 of 2.
            ("go go go", &["go go"], false, 0.0, 0.8),
            ("Carolina", &["Denver"], false, 0.0, 0.0),
            ("", &["Denver"], true, 0.0, 0.0),
            ("", &[], true, 1.0, 1.0),
            ("Denver", &[], true, 0.0, 0.0),
            // Nothing is left of either.
            ("a", &["the"], false, 1.0, 0.0),
            ("a", &["the"], true, 1.0, 1.0),
            ("", &["the", "Denver"], true, 0.0, 0.0),
        ] {
            let found = of(prediction, answers, none);
            assert!((found.0 - exact).abs() < 1e-12 && (found.1 - f1).abs() < 1e-12, "{prediction}: {found:?}");
        }
    }
}
