//! Masking of tokens as in BERT (Devlin et al., 2019).

use std::error::Error;

use burn_adapters_heads::Targets;
use burn_adapters_model::TokenBatch;
use burn_adapters_train::Row;
use burn_adapters_transformers::Tokenizer;

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
    pub(crate) fn hide<'a>(&self, rows: impl Iterator<Item = &'a Row>, random: &mut Random) -> Option<Masked> {
        let (mut hidden, mut positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            let mut row = row.clone();
            let mut places: Vec<usize> =
                (0..row.ids.len()).filter(|at| !self.special.contains(&row.ids[*at])).collect();
            let count = (places.len() * 15).div_ceil(100);
            random.shuffle(&mut places);
            places.truncate(count);
            places.sort_unstable();
            targets.push(places.iter().map(|at| Some(row.ids[*at] as usize)).collect());
            for at in &places {
                match random.below(10) {
                    0 => {}
                    1 => row.ids[*at] = random.below(self.vocabulary) as u32,
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

/// A generator of random numbers (SplitMix64): the same numbers for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % (end.max(1) as u64)) as usize
    }

    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for end in (1..values.len()).rev() {
            values.swap(end, self.below(end + 1));
        }
    }
}
