//! Beam search.

use crate::choose::{keep_first, log_softmax, penalize};
use crate::decoder::Decoder;
use crate::rows::{Flow, Generated, StopReason};
use crate::{GenerateError, GenerationOptions};

/// A sequence that is being continued.
#[derive(Debug, Clone)]
struct Beam {
    ids: Vec<u32>,
    /// The sum of the log-probabilities of its tokens.
    score: f64,
}

/// A sequence with one more token.
struct Continued {
    /// The row of the decoder that it continues.
    from: usize,
    token: u32,
    beam: Beam,
}

/// The sequences of a row.
struct Search {
    beams: Vec<Beam>,
    /// The sequences that ended, with their final scores, the best first.
    ended: Vec<(f64, Generated)>,
    is_done: bool,
}

/// The width of a search, and how its sequences compare.
struct Width {
    count: usize,
    length_penalty: f64,
}

impl Width {
    fn final_score(&self, beam: &Beam) -> f64 {
        beam.score / (beam.ids.len().max(1) as f64).powf(self.length_penalty)
    }
}

impl Search {
    fn end(&mut self, score: f64, ids: Vec<u32>, stopped: StopReason) {
        self.ended.push((score, Generated { ids, stopped }));
        self.ended.sort_by(|left, right| right.0.total_cmp(&left.0));
    }

    /// Continues the sequences, of which `first` is the first row of the decoder. The search may be done with that.
    fn step(
        &mut self,
        decoder: &Decoder<'_>,
        first: usize,
        logits: &[Vec<f32>],
        options: &GenerationOptions,
        width: &Width,
    ) -> Vec<Continued> {
        let rows = &decoder.rows[first..first + self.beams.len()];
        let mut next = Vec::new();
        let candidates = candidates(self, logits, rows, options, width.count);
        for (rank, (index, token, score)) in candidates.into_iter().enumerate() {
            let mut ids = self.beams[index].ids.clone();
            ids.push(token);
            let beam = Beam { ids, score };
            let from = first + index;
            let stopped = match () {
                () if options.end_ids.contains(&token) => Some(StopReason::End),
                () if beam.ids.len() >= options.max_new_tokens => Some(StopReason::MaxNewTokens),
                () if decoder.is_full(from) => Some(StopReason::MaxLength),
                () => None,
            };
            match stopped {
                // One that ends counts only among the best, as if there were no more candidates than sequences.
                Some(stopped) if rank < width.count => self.end(width.final_score(&beam), beam.ids, stopped),
                None if next.len() < width.count => next.push(Continued { from, token, beam }),
                _ => {}
            }
        }
        self.ended.truncate(width.count);
        let best = next.iter().map(|next| width.final_score(&next.beam)).fold(f64::NEG_INFINITY, f64::max);
        let can_improve = self.ended.len() < width.count || self.ended.last().is_some_and(|(worst, _)| *worst < best);
        self.is_done = next.is_empty() || !can_improve;
        next
    }
}

pub(crate) fn generate(
    mut decoder: Decoder<'_>,
    options: &GenerationOptions,
    count: usize,
    length_penalty: f64,
    on_token: &mut dyn FnMut(usize, u32) -> Flow,
) -> Result<Vec<Generated>, GenerateError> {
    let width = Width { count, length_penalty };
    let start = Beam { ids: Vec::new(), score: 0.0 };
    let new = |_| Search { beams: vec![start.clone()], ended: Vec::new(), is_done: false };
    let mut searches: Vec<Search> = decoder.rows.iter().map(new).collect();
    // The number of rows of the decoder for each: adapters of single rows need the same for all.
    let mut held = vec![1; searches.len()];
    let is_sized = decoder.is_sized();
    let mut is_wide = false;
    while searches.iter().any(|search| !search.is_done) {
        let logits = decoder.next()?;
        let (mut order, mut tokens) = (Vec::new(), Vec::new());
        let mut first = 0;
        for (search, held) in searches.iter_mut().zip(&mut held) {
            let next = match search.is_done {
                true => Vec::new(),
                false => search.step(&decoder, first, &logits[first..first + search.beams.len()], options, &width),
            };
            let before = order.len();
            if search.is_done {
                // One of its sequences stays, because other rows continue.
                search.beams.truncate(1);
                order.push(first);
                tokens.push(None);
            } else {
                order.extend(next.iter().map(|next| next.from));
                tokens.extend(next.iter().map(|next| Some(next.token)));
                search.beams = next.into_iter().map(|next| next.beam).collect();
            }
            if is_sized {
                order.resize(before + count, first);
                tokens.resize(before + count, None);
            }
            first += *held;
            *held = order.len() - before;
        }
        if is_sized && !is_wide {
            decoder.repeat(count);
            is_wide = true;
        }
        decoder.select(&order);
        decoder.push(&tokens);
    }
    let best = |search: Search| search.ended.into_iter().next().map(|(_, generated)| generated);
    let none = || Generated { ids: Vec::new(), stopped: StopReason::MaxLength };
    let mut found: Vec<Generated> = searches.into_iter().map(|search| best(search).unwrap_or_else(none)).collect();
    for (row, generated) in found.iter_mut().enumerate() {
        let Some(last) = generated.ids.iter().position(|token| on_token(row, *token) == Flow::Stop) else { continue };
        let is_end = generated.stopped == StopReason::End && last + 1 == generated.ids.len();
        generated.ids.truncate(last + 1);
        generated.stopped = if is_end { StopReason::End } else { StopReason::Caller };
    }
    Ok(found)
}

/// The best continuations of a row's sequences: the sequence, the token, the score. There are enough to continue `count`
/// sequences even if each of the best ones could end in every way.
fn candidates(
    search: &Search,
    logits: &[Vec<f32>],
    rows: &[Vec<u32>],
    options: &GenerationOptions,
    count: usize,
) -> Vec<(usize, u32, f64)> {
    let mut all = Vec::new();
    for (index, (beam, logits)) in search.beams.iter().zip(logits).enumerate() {
        let mut scores: Vec<f32> = log_softmax(logits).into_iter().map(|score| score as f32).collect();
        penalize(&mut scores, &rows[index], options.repetition_penalty);
        match options.first_id.filter(|_| beam.ids.is_empty()) {
            Some(first) => all.push((index, first, beam.score)),
            None => {
                let scored = scores.iter().enumerate();
                all.extend(scored.map(|(token, score)| (index, token as u32, beam.score + f64::from(*score))));
            }
        }
    }
    let most = count.saturating_mul((1 + options.end_ids.len()).max(2));
    keep_first(&mut all, most, |left, right| {
        right.2.total_cmp(&left.2).then((left.0, left.1).cmp(&(right.0, right.1)))
    });
    all
}
