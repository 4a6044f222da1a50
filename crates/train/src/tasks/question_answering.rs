//! Question answering: the part of a context that answers a question.
//!
//! The question is the text and the context its pair. A context that is too long for a row is divided into windows, each a
//! row with the question. In a window without the whole answer, the target is the first token (`[CLS]`), as in Hugging
//! Face's scripts; so it is if the context does not answer the question (SQuAD 2).

use std::ops::Range;
use std::sync::Arc;

use burn_adapters_heads::{HeadConfig, Question, SpanTarget, Targets, Task};
use burn_adapters_model::Piece;
use serde_json::{Value, json};

use super::tagging::Characters;
use super::{TextForm, TextPieces, TrainTask, json_number, json_numbers};
use crate::answers::{Best, Window, best};
use crate::data::{Dataset, Example, Form, Problems, Wrong, answers_of_cell, answers_of_json, collect, settle_answers};
use crate::metrics::mean;
use crate::{Answer, DataError, DataProblem, Label, Metric, Prediction, Scores, TokenData, squad};

/// The part of a context that answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuestionAnswering;

/// The fraction of questions whose predicted answer equals a correct one, after SQuAD's normalization.
pub const EXACT_MATCH: Metric = Metric::new("exact_match", "exact match").mean_of_rows();
/// The mean over questions of the F1 between the words of the predicted and of a correct answer.
pub const F1: Metric = Metric::new("f1", "F1").mean_of_rows();

impl TrainTask for QuestionAnswering {
    fn task(&self) -> &'static dyn Task {
        &burn_adapters_heads::QuestionAnswering
    }

    fn columns(&self) -> [&'static str; 2] {
        ["question", "answers"]
    }

    fn pair_column(&self) -> Option<&'static str> {
        Some("context")
    }

    fn form(&self) -> TextForm {
        TextForm::Windows
    }

    fn read_cell(&self, cell: &str) -> Result<(Label, Form), DataProblem> {
        answers_of_cell(cell)
    }

    fn read_json(&self, value: &Value) -> Result<(Label, Form), DataProblem> {
        answers_of_json(value)
    }

    fn settle(&self, examples: &mut [Example], _forms: &[Form], problems: &mut Problems) -> Vec<String> {
        settle_answers(examples, problems);
        Vec::new()
    }

    fn takes(&self, label: &Label) -> bool {
        matches!(label, Label::Answers(_))
    }

    fn head(&self, _data: &Dataset, _names: &[String]) -> Result<HeadConfig, DataError> {
        Ok(HeadConfig::question_answering())
    }

    /// Without tokens it is known only that there are answers.
    fn targets(&self, data: &Dataset, head: &HeadConfig, _: &[Vec<Option<Piece>>]) -> Result<Targets, DataError> {
        Ok(Targets::Spans(answers(data, head)?.into_iter().map(|_| SpanTarget::default()).collect()))
    }

    fn row_targets(&self, data: &Dataset, head: &HeadConfig, tokens: &TokenData) -> Result<Targets, DataError> {
        let all = answers(data, head)?;
        let mut rules = tokens.limits().answers;
        rules.none |= all.iter().any(|answers| answers.is_empty());
        let mut targets = Vec::with_capacity(tokens.len());
        for ((example, answers), rows) in data.examples().iter().zip(all).zip(tokens.examples()) {
            let context = example.pair.as_deref().unwrap_or_default();
            let texts = answers.iter().map(|answer| answer.text.clone()).collect();
            let question = Arc::new(Question { context: context.to_owned(), answers: texts, rules });
            // As in Hugging Face's scripts the first of several answers is learned.
            let answer = answers.first().and_then(|answer| answer.bytes(context));
            let trimmed = |bytes: Range<usize>| Piece { start: bytes.start, end: bytes.end, word: 0 }.trimmed(context);
            let answer = answer.map(trimmed);
            for row in rows {
                let pieces = bytes(tokens.pieces(row), context);
                let span = answer.as_ref().and_then(|answer| tokens_of(answer, &pieces)).unwrap_or((0, 0));
                let question = Arc::clone(&question);
                targets.push(SpanTarget { start: Some(span.0), end: Some(span.1), pieces, question });
            }
        }
        Ok(Targets::Spans(targets))
    }

    fn metrics(&self) -> &'static [Metric] {
        &[F1, EXACT_MATCH]
    }

    fn score(&self, _head: &HeadConfig, logits: &[Vec<f32>], targets: &Targets) -> Scores {
        let Targets::Spans(rows) = targets else { return Scores::new(self, []) };
        let (mut exact, mut f1) = (Vec::new(), Vec::new());
        let rows: Vec<(&SpanTarget, &Vec<f32>)> = rows.iter().zip(logits).collect();
        for windows in rows.chunk_by(|a, b| Arc::ptr_eq(&a.0.question, &b.0.question)) {
            let Some((target, _)) = windows.first() else { continue };
            let windows: Vec<Window<'_>> =
                windows.iter().map(|(target, logits)| Window { logits, pieces: &target.pieces }).collect();
            let question = &target.question;
            let found = best(&windows, question.rules);
            let prediction = question.context.get(found.bytes).unwrap_or_default();
            let scores = squad::scores(prediction, &question.answers, question.rules.none);
            exact.push(scores.0);
            f1.push(scores.1);
        }
        Scores::new(self, [(F1, mean(&f1)), (EXACT_MATCH, mean(&exact))])
    }

    /// The logits alone: the answer is a part of the text, which [`json`](Self::json) and [`cells`](Self::cells) know.
    fn decode(&self, _head: &HeadConfig, logits: Vec<f32>) -> Prediction {
        Prediction { logits, probabilities: Vec::new(), labels: Vec::new() }
    }

    fn headers(&self) -> &'static [&'static str] {
        &["answer", "score", "context"]
    }

    fn cells(&self, _head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> [String; 2] {
        let (best, _) = found(prediction, text);
        let answer = text.text.get(best.bytes).unwrap_or_default();
        let answer = if answer.is_empty() { "(none)" } else { answer };
        [answer.to_owned(), format!("{:.4}", best.probability)]
    }

    /// The context with the answer in brackets.
    fn shown(&self, _head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> String {
        let Range { start, end } = found(prediction, text).0.bytes;
        match (text.text.get(..start), text.text.get(start..end), text.text.get(end..)) {
            (Some(before), Some(answer), Some(after)) if !answer.is_empty() => format!("{before}[{answer}]{after}"),
            _ => text.text.to_owned(),
        }
    }

    /// The answer with its position in characters of the context, its score, and the logits of every token of its
    /// window.
    fn json(&self, _head: &HeadConfig, prediction: &Prediction, text: &TextPieces<'_>) -> Vec<(&'static str, Value)> {
        let (best, tokens) = found(prediction, text);
        let mut characters = Characters::new(text.text);
        let logits = prediction.logits.get(2 * tokens.start..2 * tokens.end).unwrap_or_default();
        let every_second = |first: usize| logits.iter().skip(first).step_by(2).copied().collect::<Vec<f32>>();
        vec![
            ("answer", text.text.get(best.bytes.clone()).unwrap_or_default().into()),
            ("start", characters.at(best.bytes.start).into()),
            ("end", characters.at(best.bytes.end).into()),
            ("score", json_number(best.probability)),
            ("start_logits", json_numbers(&every_second(0))),
            ("end_logits", json_numbers(&every_second(1))),
        ]
    }

    fn json_label(&self, _head: &HeadConfig, _prediction: &Prediction) -> Value {
        json!(null)
    }
}

/// The answers of each example.
fn answers<'a>(data: &'a Dataset, head: &HeadConfig) -> Result<Vec<&'a [Answer]>, DataError> {
    collect(data, head, |_, label| match label {
        Label::Answers(_) => Ok(()),
        other => Err(Wrong::kind(other, Label::ANSWERS)),
    })?;
    let of = |example: &'a Example| match &example.label {
        Some(Label::Answers(answers)) => answers.as_slice(),
        _ => &[],
    };
    Ok(data.examples().iter().map(of).collect())
}

/// The bytes of the context that each token represents, without surrounding white space.
fn bytes(pieces: &[Option<Piece>], context: &str) -> Vec<Option<Range<usize>>> {
    pieces.iter().map(|piece| piece.as_ref().map(|piece| piece.trimmed(context))).collect()
}

/// The first and last token of an answer; `None` if the window does not contain all of it.
fn tokens_of(answer: &Range<usize>, pieces: &[Option<Range<usize>>]) -> Option<(usize, usize)> {
    let parts = || pieces.iter().enumerate().filter_map(|(token, bytes)| Some((token, bytes.as_ref()?)));
    let parts = || parts().filter(|(_, bytes)| !bytes.is_empty());
    let (begin, end) = (parts().next()?.1.start, parts().next_back()?.1.end);
    let (first, _) = parts().find(|(_, bytes)| bytes.end > answer.start)?;
    let (last, _) = parts().rfind(|(_, bytes)| bytes.start < answer.end)?;
    (begin <= answer.start && answer.end <= end && first <= last).then_some((first, last))
}

/// The best answer, and the tokens of its window among all of the prediction.
fn found(prediction: &Prediction, text: &TextPieces<'_>) -> (Best, Range<usize>) {
    let pieces = bytes(text.pieces, text.text);
    let whole = [pieces.len()];
    let lengths = if text.rows.is_empty() { &whole[..] } else { text.rows };
    let mut end = 0;
    let tokens = lengths.iter().map(|length| {
        end += length;
        end - length..end
    });
    let tokens: Vec<Range<usize>> = tokens.collect();
    let window = |tokens: &Range<usize>| Window {
        logits: prediction.logits.get(2 * tokens.start..2 * tokens.end).unwrap_or_default(),
        pieces: pieces.get(tokens.clone()).unwrap_or_default(),
    };
    let best = best(&tokens.iter().map(window).collect::<Vec<_>>(), text.rules);
    let tokens = tokens.get(best.window).cloned().unwrap_or_default();
    (best, tokens)
}
