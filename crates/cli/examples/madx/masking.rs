//! Masking of tokens as in BERT (Devlin et al., 2019).

use std::error::Error;

use burn_adapters_heads::Targets;
use burn_adapters_model::TokenBatch;
use burn_adapters_train::Row;
use burn_adapters_transformers::Tokenizer;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

/// The name of BERT's mask token.
const MASK: &str = "[MASK]";

/// Hides 15 % of a row's tokens, rounded up: four fifths of them become the mask token and a tenth a random token; a
/// tenth is left as it is.
pub(crate) struct Masking {
    mask: u32,
    /// The tokens around every text, which are never hidden.
    special: Vec<u32>,
    vocabulary: usize,
}

/// Some rows with hidden tokens.
pub(crate) struct Masked {
    pub(crate) batch: TokenBatch,
    /// For each row, the positions of the tokens that are predicted, in order.
    pub(crate) positions: Vec<Vec<usize>>,
    /// The tokens that were there.
    pub(crate) targets: Targets,
}

impl Masking {
    pub(crate) fn new(tokenizer: &Tokenizer, vocabulary: usize) -> Result<Self, Box<dyn Error>> {
        let ids = |text: &str| -> Result<Vec<u32>, Box<dyn Error>> {
            let encoded = tokenizer.encode(&[text], tokenizer.max_length())?;
            Ok(encoded.rows.into_iter().flat_map(|row| row.ids).collect())
        };
        let special = ids("")?;
        let inner: Vec<u32> = ids(MASK)?.into_iter().filter(|id| !special.contains(id)).collect();
        match inner.as_slice() {
            [mask] => Ok(Self { mask: *mask, special, vocabulary }),
            _ => Err(format!("expected a tokenizer with the token {MASK}: choose a BERT model with --model").into()),
        }
    }

    /// Hides tokens of some rows. Returns `None` if they have no token that may be hidden.
    pub(crate) fn hide<'a>(&self, rows: impl Iterator<Item = &'a Row>, random: &mut StdRng) -> Option<Masked> {
        let (mut hidden, mut positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let mut row = row.clone();
            let mut places: Vec<usize> =
                (0..row.ids.len()).filter(|at| !self.special.contains(&row.ids[*at])).collect();
            let count = (places.len() * 15).div_ceil(100);
            places.shuffle(random);
            places.truncate(count);
            places.sort_unstable();
            targets.push(places.iter().map(|at| Some(row.ids[*at] as usize)).collect());
            for at in &places {
                match random.random_range(0..10) {
                    0 => {}
                    1 => row.ids[*at] = random.random_range(0..self.vocabulary) as u32,
                    _ => row.ids[*at] = self.mask,
                }
            }
            hidden.push(row);
            positions.push(places);
        }
        let is_empty = positions.iter().all(Vec::is_empty);
        (!is_empty).then(|| Masked {
            batch: TokenBatch::from_rows(&hidden),
            positions,
            targets: Targets::Tokens(targets),
        })
    }
}
