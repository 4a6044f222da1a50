//! Tagging: a label per word (named entities, parts of speech).
//!
//! The data consists of words with tags. The first piece of a word gets its tag; the other pieces are neither learned
//! nor scored. Tags are IOB2 or IOBES (`B-PER`, `I-PER`, `O`); IOB1 is converted to IOB2. Labels without prefixes, and
//! without an `O` among them, are parts of speech or similar.

use std::collections::BTreeSet;

use burn_adapters_heads::{HeadConfig, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::{Value, json};

use super::{TextForm, TextPieces, TrainTask, greatest, json_number, json_numbers, softmax};
use crate::data::{Dataset, Example, Form, Problems, Wrong, check_length, class_name, collect, named};
use crate::spans::{Part, SpanScores, TagSet};
use crate::{DataError, DataProblem, Label, Metric, Prediction, Scores};

/// A label per word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tagging;

/// Precision of all entities together.
pub const MICRO_PRECISION: Metric = Metric::new("micro_precision", "precision");
/// Recall of all entities together.
pub const MICRO_RECALL: Metric = Metric::new("micro_recall", "recall");
/// The unweighted mean of the precision over all entity types.
pub const MACRO_PRECISION: Metric = Metric::new("macro_precision", "macro-precision");
/// The unweighted mean of the recall over all entity types.
pub const MACRO_RECALL: Metric = Metric::new("macro_recall", "macro-recall");
/// The mean of the precision over all entity types, weighted by their numbers of entities.
pub const WEIGHTED_PRECISION: Metric = Metric::new("weighted_precision", "weighted precision");
/// The mean of the recall over all entity types, weighted by their numbers of entities.
pub const WEIGHTED_RECALL: Metric = Metric::new("weighted_recall", "weighted recall");
/// The mean of the F1 over all entity types, weighted by their numbers of entities.
pub const WEIGHTED_F1: Metric = Metric::new("weighted_f1", "weighted F1");
/// The fraction of words with the correct label.
pub const TOKEN_ACCURACY: Metric = Metric::new("token_accuracy", "token accuracy");

impl TrainTask for Tagging {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::Tagging
    }

    fn columns(&self) -> [&'static str; 2] {
        ["tokens", "tags"]
    }

    fn form(&self) -> TextForm {
        TextForm::Words
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        let tags: Vec<String> = cell.split_whitespace().map(str::to_owned).collect();
        tags.iter().try_for_each(|tag| check_length(tag))?;
        Ok((Label::Tags(tags), Form::Names))
    }

    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        let Value::Array(values) = value else {
            let expected = "an array with a tag for each token";
            return Err(DataProblem::WrongType { what: "label", found: named(value), expected });
        };
        Ok((Label::Tags(values.iter().map(class_name).collect::<Result<_, _>>()?), Form::Names))
    }

    fn settle(&self, examples: &mut [Example], _forms: &[Form], problems: &mut Problems) -> Vec<String> {
        for example in examples.iter() {
            if let Some(Label::Tags(tags)) = &example.label
                && tags.len() != example.words.len()
            {
                let (tokens, tags) = (example.words.len(), tags.len());
                problems.push(example.line, DataProblem::TagCount { tokens, tags });
            }
        }
        let in_chunks = all_tags(examples).any(|(_, tag)| Part::of(tag).is_some());
        if !in_chunks {
            return Vec::new();
        }
        let strange = |(_, tag): &(usize, &str)| Part::of(tag).is_none();
        for (line, tag) in all_tags(examples).filter(strange) {
            problems.push_with(line, || DataProblem::NotATag { tag: tag.to_owned() });
        }
        repair(examples).into_iter().collect()
    }

    fn takes(&self, label: &Label) -> bool {
        matches!(label, Label::Tags(_))
    }

    fn head(&self, data: &Dataset, names: &[String]) -> Result<HeadConfig, DataError> {
        match names {
            [] => {
                let message = "no word has a tag".to_owned();
                Err(DataError::Malformed { source_name: data.source().to_owned(), message })
            }
            [one] => Err(DataError::OneClass { source_name: data.source().to_owned(), label: one.clone() }),
            names => Ok(HeadConfig::tagging(names.len()).with_labels(names)),
        }
    }

    fn targets(&self, data: &Dataset, head: &HeadConfig, pieces: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        let tags = collect(data, head, |known, label| match label {
            Label::Tags(tags) => tags.iter().map(|tag| known.index(tag)).collect::<Result<Vec<usize>, Wrong>>(),
            other => Err(Wrong::kind(other, Label::TAGS)),
        })?;
        if pieces.is_empty() {
            return Ok(Targets::Tokens(tags.into_iter().map(|tags| tags.into_iter().map(Some).collect()).collect()));
        }
        let rows = tags.iter().zip(data.examples()).zip(pieces).map(|((tags, example), pieces)| {
            let mut row = vec![None; pieces.len()];
            for (token, tag) in first_pieces(example, pieces).into_iter().zip(tags) {
                token.into_iter().for_each(|token: usize| row[token] = Some(*tag));
            }
            row
        });
        Ok(Targets::Tokens(rows.collect()))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            Metric::MICRO_F1,
            MICRO_PRECISION,
            MICRO_RECALL,
            Metric::MACRO_F1,
            MACRO_PRECISION,
            MACRO_RECALL,
            WEIGHTED_F1,
            WEIGHTED_PRECISION,
            WEIGHTED_RECALL,
            TOKEN_ACCURACY,
        ]
    }

    fn title(&self, metric: Metric) -> &'static str {
        if metric == Metric::MICRO_F1 { "F1" } else { metric.title() }
    }

    fn is_shown(&self, metric: Metric) -> bool {
        ![MACRO_PRECISION, MACRO_RECALL, WEIGHTED_PRECISION, WEIGHTED_RECALL].contains(&metric)
    }

    fn score(&self, head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Tokens(rows) = targets else { return Scores::new(self, []) };
        let mut pairs: Vec<(Vec<usize>, Vec<usize>)> = Vec::with_capacity(rows.len());
        for (row, logits) in rows.iter().zip(logits) {
            let found = logits.chunks(head.num_labels.max(1)).map(greatest);
            pairs.push(row.iter().zip(found).filter_map(|(truth, found)| Some(((*truth)?, found))).unzip());
        }
        let pairs = pairs.iter().map(|(truth, found)| (truth.as_slice(), found.as_slice()));
        let SpanScores { classes, micro, macro_mean, weighted, accuracy } =
            SpanScores::new(&TagSet::new(&head.labels()), pairs);
        let metrics = [
            (MICRO_PRECISION, micro[0]),
            (MICRO_RECALL, micro[1]),
            (Metric::MICRO_F1, micro[2]),
            (MACRO_PRECISION, macro_mean[0]),
            (MACRO_RECALL, macro_mean[1]),
            (Metric::MACRO_F1, macro_mean[2]),
            (WEIGHTED_PRECISION, weighted[0]),
            (WEIGHTED_RECALL, weighted[1]),
            (WEIGHTED_F1, weighted[2]),
            (TOKEN_ACCURACY, accuracy),
        ];
        Scores { classes, ..Scores::new(self, metrics) }
    }

    /// A label for each token, including special tokens.
    fn decode(&self, head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        let tokens = logits.chunks(head.num_labels.max(1));
        let labels = tokens.clone().map(greatest).collect();
        let probabilities = tokens.flat_map(softmax).collect();
        Prediction { logits, probabilities, labels }
    }

    fn cells(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> [String; 2] {
        let entities = entities(head, prediction, text);
        let joined = |of: &dyn Fn(&Entity) -> String| entities.iter().map(of).collect::<Vec<_>>().join(", ");
        let labels = joined(&|entity| entity.label.clone());
        [if labels.is_empty() { "(none)".into() } else { labels }, joined(&|entity| format!("{:.4}", entity.score))]
    }

    /// The text with its entities in brackets: `[Ada Lovelace PER] lived in [London LOC].`
    fn shown(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> String {
        let mut marked = String::new();
        let mut end = 0;
        for entity in entities(head, prediction, text) {
            let inner = &text.text[entity.bytes.clone()];
            marked += &format!("{}[{inner} {}]", &text.text[end..entity.bytes.start], entity.label);
            end = entity.bytes.end;
        }
        marked + &text.text[end..]
    }

    fn json(&self, head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> Vec<(&'static str, Value)> {
        let mut characters = Characters::new(text.text);
        let width = head.num_labels.max(1);
        let mut tokens = Vec::new();
        for (index, piece) in text.pieces.iter().enumerate() {
            let (Some(piece), Some(label)) = (piece, prediction.labels.get(index)) else { continue };
            let bytes = piece.trimmed(text.text);
            tokens.push(json!({
                "token": &text.text[bytes.clone()],
                "start": characters.at(bytes.start),
                "end": characters.at(bytes.end),
                "label": head.label_of(*label),
                "logits": json_numbers(prediction.logits.get(index * width..(index + 1) * width).unwrap_or_default()),
            }));
        }
        let mut characters = Characters::new(text.text);
        let entity = |entity: Entity| {
            json!({
                "text": &text.text[entity.bytes.clone()],
                "label": entity.label,
                "start": characters.at(entity.bytes.start),
                "end": characters.at(entity.bytes.end),
                "score": json_number(entity.score),
            })
        };
        let entities: Value = entities(head, prediction, text).into_iter().map(entity).collect();
        vec![("tokens", tokens.into()), ("entities", entities)]
    }

    fn json_label(&self, head: &HeadConfig, prediction: &Prediction) -> Value {
        prediction.labels.iter().map(|label| Value::from(head.label_of(*label))).collect()
    }
}

/// The tags of all examples, with the line on which each example begins.
fn all_tags(examples: &[Example]) -> impl Iterator<Item = (usize, &str)> {
    examples.iter().flat_map(|example| {
        let tags = if let Some(Label::Tags(tags)) = &example.label { tags.as_slice() } else { &[] };
        tags.iter().map(|tag| (example.line, tag.as_str()))
    })
}

/// Converts IOB1 to IOB2, and reports malformed sequences.
///
/// In IOB1 an entity begins with `I-`, and with `B-` only directly after another one of its type. So tags are IOB1 if
/// an entity begins with `I-`, and every `B-` follows an entity of its type.
fn repair(examples: &mut [Example]) -> Option<String> {
    let (mut begun_inside, mut plain_begins, mut first_line) = (0, 0, 0);
    for example in examples.iter() {
        let Some(Label::Tags(tags)) = &example.label else { continue };
        let mut before = (Part::Outside, "");
        for tag in tags {
            let now = Part::of(tag).unwrap_or((Part::Outside, ""));
            let goes_on = before.0 != Part::Outside && before.1 == now.1;
            match now.0 {
                Part::Inside if !goes_on || matches!(before.0, Part::End | Part::Single) => {
                    first_line = if begun_inside == 0 { example.line } else { first_line };
                    begun_inside += 1;
                }
                Part::Begin if !goes_on => plain_begins += 1,
                Part::End | Part::Single => plain_begins += 1,
                _ => {}
            }
            before = now;
        }
    }
    if begun_inside == 0 {
        return None;
    }
    if plain_begins > 0 {
        return Some(format!(
            "{begun_inside} entities begin with `I-` (the first on line {first_line}): each is taken for the beginning of \
             one, as seqeval does"
        ));
    }
    for example in examples.iter_mut() {
        let Some(Label::Tags(tags)) = &mut example.label else { continue };
        let mut before: Option<String> = None;
        for tag in tags {
            let kind = tag.split_once('-').map(|(_, kind)| kind.to_owned());
            if tag.starts_with('I') && before != kind {
                tag.replace_range(..1, "B");
            }
            before = kind;
        }
    }
    Some("the tags are IOB1 (`B-` only after an entity of the same type), and are read as IOB2".to_owned())
}

/// The token that is the first piece of each word; `None` for words that were truncated, or that the tokenizer drops.
pub(crate) fn first_pieces(example: &Example, pieces: &[Option<Piece>]) -> Vec<Option<usize>> {
    let mut tokens = pieces.iter().enumerate().filter_map(|(token, piece)| {
        let bytes = piece.as_ref()?.trimmed(&example.text);
        (!bytes.is_empty()).then_some((token, bytes.start))
    });
    let mut next = tokens.next();
    let mut first = Vec::with_capacity(example.words.len());
    for word in &example.words {
        while next.is_some_and(|(_, start)| start < word.start) {
            next = tokens.next();
        }
        first.push(next.filter(|(_, start)| *start < word.end).map(|(token, _)| token));
    }
    first
}

/// A sequence of words that is one entity.
struct Entity {
    bytes: std::ops::Range<usize>,
    label: String,
    /// The mean probability of the labels of its words.
    score: f32,
}

/// The entities of a text, from the labels of the first pieces of its words.
fn entities(head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> Vec<Entity> {
    let width = head.num_labels.max(1);
    // The first token of each word, and the end of the word.
    let mut words: Vec<(usize, u32, std::ops::Range<usize>)> = Vec::new();
    for (token, piece) in text.pieces.iter().enumerate() {
        let Some(piece) = piece else { continue };
        let bytes = piece.trimmed(text.text);
        match words.last_mut() {
            _ if bytes.is_empty() => {}
            Some((_, word, range)) if *word == piece.word => range.end = bytes.end,
            _ => words.push((token, piece.word, bytes)),
        }
    }
    let label = |token: usize| prediction.labels.get(token).copied().unwrap_or(usize::MAX);
    let probability = |token: usize| prediction.probabilities.get(token * width + label(token)).copied().unwrap_or(0.0);
    let labels: Vec<usize> = words.iter().map(|(token, ..)| label(*token)).collect();
    let tags = TagSet::new(&head.labels());
    let entity = |span: crate::spans::Span| {
        let words = &words[span.start..span.end];
        let sum: f32 = words.iter().map(|(token, ..)| probability(*token)).sum();
        let (start, end) = (words.first()?.2.start, words.last()?.2.end);
        let label = tags.type_of(span).to_owned();
        Some(Entity { bytes: start..end, label, score: sum / words.len() as f32 })
    };
    tags.spans(&labels).into_iter().filter_map(entity).collect()
}

/// Counts characters (Unicode scalar values) up to increasing byte positions of a text.
pub(super) struct Characters<'a> {
    text: &'a str,
    byte: usize,
    count: usize,
}

impl<'a> Characters<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, byte: 0, count: 0 }
    }

    pub(super) fn at(&mut self, byte: usize) -> usize {
        if byte < self.byte {
            (self.byte, self.count) = (0, 0);
        }
        self.count += self.text.get(self.byte..byte).map_or(0, |text| text.chars().count());
        self.byte = byte;
        self.count
    }
}

/// The entity types in an example, for stratified splits.
pub(crate) fn types(tags: &[String]) -> BTreeSet<&str> {
    let kind = |tag: &'_ String| -> Option<(usize, usize)> {
        match Part::of(tag) {
            Some((Part::Outside, _)) => None,
            Some((_, kind)) => Some((tag.len() - kind.len(), tag.len())),
            None => Some((0, tag.len())),
        }
    };
    tags.iter().filter_map(|tag| kind(tag).map(|(start, end)| &tag[start..end])).collect()
}
