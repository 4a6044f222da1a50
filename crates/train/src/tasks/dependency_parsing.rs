//! Dependency parsing: for each word its head in the sentence, and its relation to it.
//!
//! The data is words with arcs, `HEAD:RELATION` each: the number of the head, counted from 1, or 0 for the root. In
//! CoNLL-U they are the columns HEAD and DEPREL; multiword tokens and empty nodes are skipped. Words that the tokenizer
//! drops, or that were cut off, are neither learned nor scored, and cannot be heads.

use std::collections::BTreeSet;
use std::ops::Range;

use burn_adapters_heads::{HeadConfig, Targets, Task, TreeTarget};
use burn_adapters_model::Piece;
use serde_json::{Value, json};

use super::tagging::Characters;
use super::{ConllLine, TextForm, TextPieces, TrainTask, greatest, json_number, softmax};
use crate::data::{Dataset, Example, Form, Problems, Wrong, class_name, collect, named};
use crate::metrics::ratio;
use crate::{DataError, DataProblem, Label, Metric, Prediction, Scores};

/// The head and the relation of each word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyParsing;

/// The fraction of words with the right head.
pub const UAS: Metric = Metric::new("uas", "UAS");
/// The fraction of words with the right head and the right relation to it.
pub const LAS: Metric = Metric::new("las", "LAS");

/// An arc: the number of the head, and the relation.
fn arc(text: &str) -> Option<(usize, &str)> {
    let (head, relation) = text.split_once(':')?;
    Some((head.trim().parse().ok()?, relation.trim())).filter(|(_, relation)| !relation.is_empty())
}

impl TrainTask for DependencyParsing {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::DependencyParsing
    }

    fn columns(&self) -> [&'static str; 2] {
        ["tokens", "arcs"]
    }

    fn form(&self) -> TextForm {
        TextForm::Words
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        Ok((Label::Tags(cell.split_whitespace().map(str::to_owned).collect()), Form::Names))
    }

    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        let expected = "an array with an arc such as \"2:nsubj\" for each token";
        let wrong = |found| DataProblem::WrongType { what: "label", found, expected };
        let Value::Array(values) = value else { return Err(wrong(named(value))) };
        let one = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([head, relation]) => Ok(format!("{}:{}", class_name(head)?, class_name(relation)?)),
            Some(_) => Err(wrong("an array".into())),
            None => class_name(value),
        };
        Ok((Label::Tags(values.iter().map(one).collect::<Result<_, _>>()?), Form::Names))
    }

    fn conll_line<'l>(&self, cells: &[&'l str]) -> ConllLine<'l> {
        // Other files have their columns named.
        if cells.len() != 10 {
            return ConllLine::Usual;
        }
        if cells[0].contains(['-', '.']) {
            return ConllLine::Skipped;
        }
        ConllLine::Word { word: cells[1], label: format!("{}:{}", cells[6], cells[7]) }
    }

    fn settle(&self, examples: &mut [Example], _forms: &[Form], problems: &mut Problems) -> Vec<String> {
        for example in examples.iter() {
            let Some(Label::Tags(arcs)) = &example.label else { continue };
            let words = example.words.len();
            if arcs.len() != words {
                problems.push(example.line, DataProblem::TagCount { tokens: words, tags: arcs.len() });
            }
            let bad = |text: &&String| arc(text).is_none_or(|(head, _)| head > words);
            if let Some(text) = arcs.iter().find(bad) {
                let (found, expected) = (text.clone(), "HEAD:RELATION, where HEAD is 0 or the number of a word");
                problems.push(example.line, DataProblem::WrongType { what: "arc", found, expected });
            }
        }
        Vec::new()
    }

    /// Arcs are read as tags, so this task must be named.
    fn takes(&self, label: &Label) -> bool {
        matches!(label, Label::Tags(_))
    }

    fn head(&self, data: &Dataset, _names: &[String]) -> Result<HeadConfig, DataError> {
        let mut relations = BTreeSet::new();
        for example in data.examples() {
            let Some(Label::Tags(arcs)) = &example.label else { continue };
            relations.extend(arcs.iter().filter_map(|text| Some(arc(text)?.1)));
        }
        if relations.is_empty() {
            let message = "no word has an arc".to_owned();
            return Err(DataError::Malformed { source_name: data.source().to_owned(), message });
        }
        Ok(HeadConfig::dependency_parsing(relations.len()).with_labels(relations))
    }

    fn targets(&self, data: &Dataset, head: &HeadConfig, pieces: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        let arcs = collect(data, head, |known, label| match label {
            Label::Tags(arcs) => {
                let one = |text: &String| match arc(text) {
                    Some((head, relation)) => Ok((head, known.index(relation)?)),
                    None => Err(Wrong::kind(label, "arcs")),
                };
                arcs.iter().map(one).collect::<Result<Vec<(usize, usize)>, Wrong>>()
            }
            other => Err(Wrong::kind(other, Label::TAGS)),
        })?;
        let rows = arcs.iter().zip(data.examples()).enumerate().map(|(row, (arcs, example))| {
            let tokens = match pieces.get(row) {
                Some(pieces) => word_tokens(&example.text, &example.words, pieces),
                None => (0..arcs.len()).map(|word| Some(word..word + 1)).collect(),
            };
            tree(arcs, &tokens)
        });
        Ok(Targets::Trees(rows.collect()))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[LAS, UAS]
    }

    fn score(&self, head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Trees(rows) = targets else { return Scores::new(self, []) };
        let (mut all, mut attached, mut labeled) = (0, 0, 0);
        for (tree, logits) in rows.iter().zip(logits) {
            let found = parse(head, logits, &tree.words);
            for (word, head, relation) in tree.learned() {
                let right = found[word].head == head;
                all += 1;
                attached += usize::from(right);
                labeled += usize::from(right && found[word].relation == relation);
            }
        }
        Scores::new(self, [(LAS, ratio(labeled, all)), (UAS, ratio(attached, all))])
    }

    /// The logits of all pairs of tokens. The words are known with the text.
    fn decode(&self, _head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        Prediction { logits, probabilities: Vec::new(), labels: Vec::new() }
    }

    fn headers(&self) -> &'static [&'static str] {
        &["relations", "probability", "text"]
    }

    /// `The →2 det, film →0 root`, and the mean probability of the heads.
    fn cells(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> [String; 2] {
        let words = words(text);
        let found = parse(head, &prediction.logits, &words.iter().map(|word| word.tokens.clone()).collect::<Vec<_>>());
        let shown = words.iter().zip(&found).map(|(word, arc)| {
            format!("{} →{} {}", &text.text[word.bytes.clone()], arc.head, head.label_of(arc.relation))
        });
        let mean = found.iter().map(|arc| arc.probability).sum::<f32>() / found.len().max(1) as f32;
        [shown.collect::<Vec<_>>().join(", "), format!("{mean:.4}")]
    }

    /// Words with their positions in characters, their heads (from 1; 0 for the root) and their relations.
    fn json(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> Vec<(&'static str, Value)> {
        let words = words(text);
        let found = parse(head, &prediction.logits, &words.iter().map(|word| word.tokens.clone()).collect::<Vec<_>>());
        let mut characters = Characters::new(text.text);
        let word = |(word, arc): (&Word, &Arc)| {
            json!({
                "word": &text.text[word.bytes.clone()],
                "start": characters.at(word.bytes.start),
                "end": characters.at(word.bytes.end),
                "head": arc.head,
                "relation": head.label_of(arc.relation),
                "score": json_number(arc.probability),
            })
        };
        vec![("words", words.iter().zip(&found).map(word).collect())]
    }

    fn json_label(&self, _head: &HeadConfig, _prediction: &Prediction) -> Value {
        Value::Null
    }
}

/// The tokens of each word; `None` for words without any.
fn word_tokens(text: &str, words: &[Range<usize>], pieces: &[Option<Piece>]) -> Vec<Option<Range<usize>>> {
    let pieces = pieces.iter().enumerate().filter_map(|(token, piece)| Some((token, piece.as_ref()?.trimmed(text))));
    let pieces: Vec<(usize, Range<usize>)> = pieces.filter(|(_, bytes)| !bytes.is_empty()).collect();
    let of_word = |word: &Range<usize>| {
        let mut inside = pieces.iter().filter(|(_, bytes)| bytes.start < word.end && bytes.end > word.start);
        let first = inside.next()?.0;
        Some(first..inside.next_back().map_or(first, |(last, _)| *last) + 1)
    };
    words.iter().map(of_word).collect()
}

/// The tree of the words that have tokens. Arcs to others are not learned.
fn tree(arcs: &[(usize, usize)], tokens: &[Option<Range<usize>>]) -> TreeTarget {
    let mut number = 0;
    let numbers: Vec<Option<usize>> = tokens
        .iter()
        .map(|tokens| {
            number += usize::from(tokens.is_some());
            tokens.is_some().then_some(number)
        })
        .collect();
    let mut tree = TreeTarget::default();
    for ((head, relation), tokens) in arcs.iter().zip(tokens) {
        let Some(tokens) = tokens else { continue };
        tree.words.push(tokens.clone());
        tree.heads.push(if *head == 0 { Some(0) } else { numbers.get(head - 1).copied().flatten() });
        tree.relations.push(Some(*relation));
    }
    tree
}

/// The predicted arc of a word.
struct Arc {
    head: usize,
    relation: usize,
    /// The probability of the head among all words and the root.
    probability: f32,
}

/// The most probable head of each word, and the best relation to it, from the logits of all pairs of tokens.
fn parse(head: &HeadConfig, logits: &[f32], words: &[Range<usize>]) -> Vec<Arc> {
    let width = head.outputs();
    let tokens = (logits.len() / width).isqrt();
    // The mean over the tokens of both words.
    let mean = |of: &Range<usize>, to: &Range<usize>, channel: usize| {
        let pairs = of.clone().flat_map(|one| to.clone().map(move |other| (one * tokens + other) * width + channel));
        let values = pairs.map(|at| logits.get(at).copied().unwrap_or(f32::NEG_INFINITY));
        values.sum::<f32>() / (of.len() * to.len()) as f32
    };
    let candidates: Vec<Range<usize>> = std::iter::once(0..1).chain(words.iter().cloned()).collect();
    let arc = |word: &Range<usize>| {
        let probabilities = softmax(&candidates.iter().map(|to| mean(word, to, 0)).collect::<Vec<_>>());
        let head = greatest(&probabilities);
        let relations: Vec<f32> = (1..width).map(|channel| mean(word, &candidates[head], channel)).collect();
        Arc { head, relation: greatest(&relations), probability: probabilities[head] }
    };
    words.iter().map(arc).collect()
}

/// A word of a text without given words.
struct Word {
    bytes: Range<usize>,
    tokens: Range<usize>,
}

/// The words of a text, by the tokenizer's own division.
fn words(text: &TextPieces<'_>) -> Vec<Word> {
    let mut words: Vec<(u32, Word)> = Vec::new();
    for (token, piece) in text.pieces.iter().enumerate() {
        let Some(piece) = piece else { continue };
        let bytes = piece.trimmed(text.text);
        if bytes.is_empty() {
            continue;
        }
        match words.last_mut() {
            Some((number, word)) if *number == piece.word => {
                word.bytes.end = bytes.end;
                word.tokens.end = token + 1;
            }
            _ => words.push((piece.word, Word { bytes, tokens: token..token + 1 })),
        }
    }
    words.into_iter().map(|(_, word)| word).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn arcs_to_words_without_tokens_are_not_learned() {
        let tokens = [Some(1..2), None, Some(2..4)];
        let tree = tree(&[(3, 0), (0, 1), (2, 2)], &tokens);
        assert_eq!((tree.words.len(), &tree.heads[..]), (2, &[Some(2), None][..]));
        assert_eq!(tree.learned().collect::<Vec<_>>(), [(0, 2, 0)]);
    }

    #[test]
    fn scores_count_heads_and_relations_of_words_of_several_tokens() {
        let head = HeadConfig::dependency_parsing(2);
        // Four tokens: the root, a word of two tokens, a word of one.
        let mut logits = vec![0.0; 4 * 4 * 3];
        let mut set = |of: usize, to: usize, channel: usize, value: f32| logits[(of * 4 + to) * 3 + channel] = value;
        // The first word depends on the second, by one token alone; the second on the root.
        set(1, 3, 0, 5.0);
        set(2, 3, 2, 1.0);
        set(3, 0, 0, 2.0);
        set(3, 0, 1, 1.0);
        let words = vec![1..3, 3..4];
        let right = |relation| TreeTarget {
            words: words.clone(),
            heads: vec![Some(2), Some(0)],
            relations: vec![Some(relation), Some(0)],
        };
        let score = |tree| DependencyParsing.score(&head, &[logits.clone()], &Targets::Trees(vec![tree]));
        assert_eq!(score(right(1)).metric(LAS), Some(1.0));
        assert_eq!((score(right(0)).metric(LAS), score(right(0)).metric(UAS)), (Some(0.5), Some(1.0)));
    }
}
