//! Removes the spaces before punctuation and English contractions that word-splitting tokenizers add to decoded text,
//! if `clean_up_tokenization_spaces` of `tokenizer_config.json` is true.

/// The replacements, in the reference's order.
const REPLACEMENTS: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// The text without these spaces.
pub(super) fn clean(text: &str) -> String {
    REPLACEMENTS.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The end of the part of a text that is cleaned in the same way whatever follows.
///
/// Every replacement begins at a space. So the text is settled unless its end, from the last space on, begins one; then up
/// to the last space that cannot be in the middle of one.
pub(super) fn settled(text: &str) -> usize {
    let Some(last) = text.rfind(' ') else { return text.len() };
    let end = &text[last..];
    if !REPLACEMENTS.iter().any(|(from, _)| from.starts_with(end) && *from != end) {
        return text.len();
    }
    let mut spaces = text.match_indices(' ').map(|(index, _)| index);
    spaces.rfind(|index| !text[..*index].ends_with([' ', '\''])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_settled_is_cleaned_as_in_the_whole_text() {
        let parts = [" ", "'", "s", "n't", " '", "ve", " .", "x", " re", "' ", "m", ","];
        let mut state = 1u32;
        for _ in 0..2000 {
            let (mut whole, mut given, mut held) = (String::new(), String::new(), String::new());
            for _ in 0..8 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let part = parts[(state >> 16) as usize % parts.len()];
                whole.push_str(part);
                held.push_str(part);
                let rest = held.split_off(settled(&held));
                given.push_str(&clean(&std::mem::replace(&mut held, rest)));
            }
            given.push_str(&clean(&held));
            assert_eq!(given, clean(&whole), "{whole:?}");
        }
    }
}
