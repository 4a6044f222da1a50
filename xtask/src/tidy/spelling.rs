//! American spelling, which Burn and this field have: a reader who looks for `optimizer` finds every one.

use super::Finding;
use super::sources::Source;

/// Stems whose verbs end in `-ize` here: `initialize`, `initializer`, `initialization`.
const STEMS: [&str; 41] = [
    "categor",
    "central",
    "character",
    "custom",
    "discret",
    "emphas",
    "equal",
    "factor",
    "final",
    "general",
    "initial",
    "internal",
    "item",
    "linear",
    "local",
    "material",
    "maxim",
    "memor",
    "minim",
    "normal",
    "optim",
    "organ",
    "orthogonal",
    "parallel",
    "parameter",
    "penal",
    "priorit",
    "quant",
    "random",
    "recogn",
    "regular",
    "serial",
    "special",
    "stabil",
    "standard",
    "summar",
    "symmetr",
    "synchron",
    "token",
    "util",
    "vector",
];

/// British spellings, and how they are written here. All are parts of words.
const WORDS: [(&str, &str); 30] = [
    ("acknowledgement", "acknowledgment"),
    ("analyse", "analyze"),
    ("artefact", "artifact"),
    ("behaviour", "behavior"),
    ("cancelled", "canceled"),
    ("cancelling", "canceling"),
    ("catalogue", "catalog"),
    ("centre", "center"),
    ("channelled", "channeled"),
    ("colour", "color"),
    ("defence", "defense"),
    ("favour", "favor"),
    ("fibre", "fiber"),
    ("flavour", "flavor"),
    ("fulfils", "fulfills"),
    ("grey", "gray"),
    ("honour", "honor"),
    ("judgement", "judgment"),
    ("labelled", "labeled"),
    ("labelling", "labeling"),
    ("learnt", "learned"),
    ("licence", "license"),
    ("modelled", "modeled"),
    ("modelling", "modeling"),
    ("neighbour", "neighbor"),
    ("offence", "offense"),
    ("signalled", "signaled"),
    ("spelt", "spelled"),
    ("travelled", "traveled"),
    ("whilst", "while"),
];

/// The file that has to hold what it looks for: this one.
const EXCEPT: &str = "xtask/src/tidy/spelling.rs";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if source.path.ends_with(EXCEPT) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for (found, meant) in misspelled(line) {
            let message = format!("`{found}` is written `{meant}`: American spelling, as in Burn");
            findings.push(Finding::new(&source.path, index + 1, message));
        }
    }
    findings
}

/// The British spellings in a line, and the American ones.
fn misspelled(line: &str) -> Vec<(String, String)> {
    let line = line.to_lowercase();
    let mut found: Vec<_> =
        WORDS.iter().filter(|(word, _)| line.contains(word)).map(|(a, b)| ((*a).into(), (*b).into())).collect();
    for stem in STEMS {
        // `optimistic` and `organism` are other words.
        for ending in ["ise", "isi", "isa"] {
            let british = format!("{stem}{ending}");
            if line.contains(&british) {
                found.push((british, format!("{stem}iz{}", &ending[2..])));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(line: &str) -> Option<String> {
        misspelled(line).into_iter().next().map(|(_, meant)| meant)
    }

    #[test]
    fn british_spellings_are_found_in_prose_and_in_names() {
        assert_eq!(first("/// The behaviour of a layer."), Some("behavior".into()));
        assert_eq!(first("let REGULARISATION = 1;"), Some("regulariza".into()));
        assert_eq!(first("Tokenising"), Some("tokenizi".into()));
        assert_eq!(first("optimiser"), Some("optimize".into()));
    }

    #[test]
    fn other_words_are_left_alone() {
        for line in ["an optimistic organism is parameterized", "otherwise precise", "the color of a neighbor", ""] {
            assert_eq!(first(line), None, "{line}");
        }
    }
}
