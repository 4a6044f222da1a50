//! Beam search.

use crate::choose::{log_softmax, penalize};
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

/// The sequences of a row.
struct Search {
    beams: Vec<Beam>,
    /// The sequences that ended, with their final scores, the best first.
    ended: Vec<(f64, Generated)>,
    is_done: bool,
}

pub(crate) fn generate(
    mut decoder: Decoder<'_>,
    options: &GenerationOptions,
    count: usize,
    length_penalty: f64,
    on_token: &mut dyn FnMut(usize, u32) -> Flow,
) -> Result<Vec<Generated>, GenerateError> {
    let rows = decoder.rows.len();
    let final_score = |beam: &Beam| beam.score / (beam.ids.len().max(1) as f64).powf(length_penalty);
    let start = Beam { ids: Vec::new(), score: 0.0 };
    let new = |_| Search { beams: vec![start.clone()], ended: Vec::new(), is_done: false };
    let mut searches: Vec<Search> = (0..rows).map(new).collect();
    while searches.iter().any(|search| !search.is_done) {
        let logits = decoder.next()?;
        let (mut order, mut tokens) = (Vec::new(), Vec::new());
        let mut first = 0;
        for search in &mut searches {
            let held = search.beams.len();
            if search.is_done {
                // One of its sequences stays, because other rows continue.
                search.beams.truncate(1);
                order.push(first);
                tokens.push(None);
                first += held;
                continue;
            }
            let candidates = candidates(search, &logits[first..first + held], &decoder.rows[first..], options, count);
            let mut next = Vec::new();
            for (rank, (beam, token, score)) in candidates.into_iter().enumerate() {
                let ended = options.end_ids.contains(&token);
                let mut ids = search.beams[beam].ids.clone();
                ids.push(token);
                let continued = Beam { ids, score };
                let is_last = continued.ids.len() >= options.max_new_tokens;
                // One that ends counts only among the best, as if the search were not twice as wide.
                if ended && rank < count {
                    search
                        .ended
                        .push((final_score(&continued), Generated { ids: continued.ids, stopped: StopReason::End }));
                } else if !ended && next.len() < count {
                    let is_full = decoder.is_full(first + beam);
                    next.push((first + beam, token, continued, is_last, is_full));
                }
            }
            search.ended.sort_by(|left, right| right.0.total_cmp(&left.0));
            search.ended.truncate(count);
            let at_the_end = next.is_empty() || next.iter().any(|(_, _, _, is_last, is_full)| *is_last || *is_full);
            let best = next.iter().map(|(_, _, beam, ..)| final_score(beam)).fold(f64::NEG_INFINITY, f64::max);
            let cannot_improve =
                search.ended.len() >= count && search.ended.last().is_none_or(|(worst, _)| *worst >= best);
            if at_the_end || cannot_improve {
                if at_the_end {
                    for (_, _, beam, is_last, _) in &next {
                        let stopped = if *is_last { StopReason::MaxNewTokens } else { StopReason::MaxLength };
                        search.ended.push((final_score(beam), Generated { ids: beam.ids.clone(), stopped }));
                    }
                }
                search.ended.sort_by(|left, right| right.0.total_cmp(&left.0));
                search.is_done = true;
                search.beams.truncate(1);
                order.push(first);
                tokens.push(None);
            } else {
                order.extend(next.iter().map(|(from, ..)| *from));
                tokens.extend(next.iter().map(|(_, token, ..)| Some(*token)));
                search.beams = next.into_iter().map(|(_, _, beam, ..)| beam).collect();
            }
            first += held;
        }
        decoder.select(&order);
        decoder.push(&tokens);
    }
    let mut found = Vec::with_capacity(rows);
    for (row, search) in searches.into_iter().enumerate() {
        let best = search.ended.into_iter().next().map(|(_, generated)| generated);
        let generated = best.unwrap_or(Generated { ids: Vec::new(), stopped: StopReason::MaxLength });
        for token in &generated.ids {
            on_token(row, *token);
        }
        found.push(generated);
    }
    Ok(found)
}

/// The best continuations of a row's sequences: the sequence, the token, the score. Twice as many as are kept, since as many
/// may end.
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
    all.sort_by(|left, right| right.2.total_cmp(&left.2).then((left.0, left.1).cmp(&(right.0, right.1))));
    all.truncate(2 * count);
    all
}
