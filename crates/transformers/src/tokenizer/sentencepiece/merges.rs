//! The merges of BPE, which a SentencePiece model does not hold: every way to put a piece together from two, the pieces
//! of the highest score first.

use std::collections::HashMap;

use super::proto::Piece;

/// The longest piece that is taken apart, in bytes; those of released models have at most 100 or so.
const LONGEST: usize = 512;

/// The merges, in the order of the reference's converter. `vocabulary` has the ids of the model's own
/// pieces, `pieces` are those that the class has.
pub(super) fn merges(vocabulary: &HashMap<&str, usize>, pieces: &[Piece]) -> Result<Vec<(String, String)>, String> {
    if let Some(long) = pieces.iter().find(|piece| piece.text.len() > LONGEST) {
        return Err(format!("it has a piece of {} bytes; pieces of at most {LONGEST} are read", long.text.len()));
    }
    // Of two equal pieces the first has the place, and the last the score.
    let mut places = HashMap::new();
    let mut unique: Vec<(&str, f32)> = Vec::new();
    for piece in pieces {
        let place = *places.entry(piece.text.as_str()).or_insert_with(|| {
            unique.push((&piece.text, 0.0));
            unique.len() - 1
        });
        unique[place].1 = piece.score;
    }
    let mut merges = Vec::new();
    for (piece, score) in unique {
        let ends = piece.char_indices().map(|(index, _)| index).skip(1);
        let splits = ends
            .map(|end| piece.split_at(end))
            .filter_map(|(left, right)| Some(((*vocabulary.get(left)?, *vocabulary.get(right)?), (left, right))));
        let mut splits: Vec<_> = splits.collect();
        splits.sort_by_key(|(ids, _)| *ids);
        merges.extend(
            splits
                .into_iter()
                .map(|(_, (left, right))| (score, left.chars().count(), right.chars().count(), left, right)),
        );
    }
    merges.sort_by(|one, other| other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)).then(other.2.cmp(&one.2)));
    Ok(merges.into_iter().map(|(.., left, right)| (left.to_owned(), right.to_owned())).collect())
}
