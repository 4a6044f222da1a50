//! The source and the target.

use std::error::Error;
use std::path::PathBuf;

use burn_adapters_fetch::Kind;
use burn_adapters_transformers::Tokenizer;

use super::common::{OfKind, majority};

/// The kinds of sentences that stand for the source and the target language.
pub(crate) const KINDS: [Kind; 2] = [Kind::MovieReviews, Kind::Tweets];

/// The sentences of the source and the target.
pub(crate) struct Domains {
    pub(crate) all: [OfKind; 2],
}

impl Domains {
    /// Reads the file of each kind, the first `rows` sentences of it.
    pub(crate) fn read(
        files: &[PathBuf; 2],
        tokenizer: &Tokenizer,
        rows: Option<usize>,
    ) -> Result<Self, Box<dyn Error>> {
        let read = |index: usize| OfKind::read(KINDS[index], &files[index], tokenizer, rows);
        Ok(Self { all: [read(0)?, read(1)?] })
    }

    /// The accuracy of always predicting the label that is more frequent in the training sentences of the source.
    pub(crate) fn majority(&self) -> Vec<f64> {
        self.all.iter().map(|domain| majority(&self.all[0].train, &domain.held_out)).collect()
    }
}
