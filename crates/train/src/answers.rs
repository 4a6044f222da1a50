//! The best answer over the windows of a context.

use std::ops::Range;

use burn_adapters_heads::AnswerRules;

/// A window: two logits for each token, and the bytes of the context that each token represents.
pub(crate) struct Window<'a> {
    pub(crate) logits: &'a [f32],
    /// `None` for special tokens and tokens of the question, which are never part of an answer.
    pub(crate) pieces: &'a [Option<Range<usize>>],
}

/// The best span of tokens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Best {
    /// Its window.
    pub(crate) window: usize,
    /// The bytes of the context; empty if there is no answer.
    pub(crate) bytes: Range<usize>,
    /// Its probability: a softmax over the sums of the two logits of all candidate spans of the window.
    pub(crate) probability: f32,
}

impl Window<'_> {
    fn start(&self, token: usize) -> f64 {
        self.logits.get(2 * token).copied().unwrap_or(f32::NEG_INFINITY).into()
    }

    fn end(&self, token: usize) -> f64 {
        self.logits.get(2 * token + 1).copied().unwrap_or(f32::NEG_INFINITY).into()
    }

    /// The logit of "no answer", whose span is the first token.
    fn none(&self) -> f64 {
        self.start(0) + self.end(0)
    }

    /// Every candidate span: its first and last token, and its logit.
    fn for_each(&self, rules: AnswerRules, mut each: impl FnMut(usize, usize, f64)) {
        let is_part = |token: usize| matches!(self.pieces.get(token), Some(Some(bytes)) if !bytes.is_empty());
        for first in (0..self.pieces.len()).filter(|token| is_part(*token)) {
            let start = self.start(first);
            let most = first.saturating_add(rules.max_tokens).min(self.pieces.len());
            (first..most).filter(|last| is_part(*last)).for_each(|last| each(first, last, start + self.end(last)));
        }
    }
}

/// The best span by the sum of its two logits. With [`AnswerRules::none`] there may be no answer: this is predicted if
/// its logit, the minimum over all windows, is greater than that of every span.
pub(crate) fn best(windows: &[Window<'_>], rules: AnswerRules) -> Best {
    let mut best: Option<(f64, usize, Range<usize>)> = None;
    for (index, window) in windows.iter().enumerate() {
        window.for_each(rules, |first, last, logit| {
            if best.as_ref().is_none_or(|(greatest, ..)| logit > *greatest)
                && let (Some(Some(begin)), Some(Some(end))) = (window.pieces.get(first), window.pieces.get(last))
            {
                best = Some((logit, index, begin.start..end.end.max(begin.start)));
            }
        });
    }
    let nones = windows.iter().map(Window::none).enumerate();
    let none = nones.min_by(|a, b| a.1.total_cmp(&b.1)).filter(|_| rules.none || best.is_none());
    let (logit, window, bytes) = match (best, none) {
        (Some(best), Some((_, none))) if best.0 >= none => best,
        (Some(best), None) => best,
        (_, Some((window, none))) => (none, window, 0..0),
        (None, None) => return Best { window: 0, bytes: 0..0, probability: 1.0 },
    };
    let mut sum = 0.0;
    if let Some(window) = windows.get(window) {
        window.for_each(rules, |_, _, other| sum += (other - logit).exp());
        sum += if none.is_some() { (window.none() - logit).exp() } else { 0.0 };
    }
    Best { window, bytes, probability: (1.0 / sum) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: [Option<Range<usize>>; 6] = [None, None, None, Some(0..2), Some(3..5), Some(6..9)];

    fn window<'a>(logits: &'a [f32], pieces: &'a [Option<Range<usize>>]) -> Window<'a> {
        Window { logits, pieces }
    }

    #[test]
    fn neither_special_tokens_nor_the_question_are_an_answer_and_none_ends_before_it_begins() {
        let logits = [9.0, 9.0, 8.0, 8.0, 7.0, 7.0, 0.0, 3.0, 2.0, 0.5, 1.0, 0.0];
        let rules = AnswerRules::default();
        let found = best(&[window(&logits, &PIECES)], rules);
        // The sums of (first, last): (3, 3) 3, (3, 4) 0.5, (3, 5) 0, (4, 4) 2.5, (4, 5) 2, (5, 5) 1.
        assert_eq!(found.bytes, 0..2);
        let sum: f64 = [3.0, 0.5, 0.0, 2.5, 2.0, 1.0].iter().map(|sum: &f64| sum.exp()).sum();
        assert!((f64::from(found.probability) - 3f64.exp() / sum).abs() < 1e-6);
        assert_eq!(best(&[window(&logits, &PIECES)], AnswerRules { none: true, ..rules }).bytes, 0..0);
    }

    #[test]
    fn answers_are_no_longer_than_allowed_and_the_best_window_wins() {
        let long = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 5.0];
        let short = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0, 0.0, 0.0];
        let windows = [window(&long, &PIECES), window(&short, &PIECES)];
        let rules = AnswerRules::default();
        let found = best(&windows, rules);
        assert_eq!((found.window, found.bytes), (0, 0..9));
        let found = best(&windows, AnswerRules { max_tokens: 2, ..rules });
        assert_eq!((found.window, found.bytes), (1, 3..5));
    }

    #[test]
    fn without_a_context_there_is_no_answer() {
        let found = best(&[window(&[1.0, 2.0], &[None])], AnswerRules::default());
        assert_eq!((found.bytes, found.probability), (0..0, 1.0));
        assert_eq!(best(&[], AnswerRules::default()).bytes, 0..0);
    }
}
