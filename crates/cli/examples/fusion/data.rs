//! The sentences of all kinds.

use std::error::Error;
use std::path::PathBuf;

use burn_adapters_fetch::Kind;
use burn_adapters_heads::Targets;
use burn_adapters_train::{Row, TokenData};
use burn_adapters_transformers::Tokenizer;

use super::common::{OfKind, classes, majority};

/// All sentences.
pub(crate) struct Sentences {
    pub(crate) kinds: Vec<OfKind>,
}

impl Sentences {
    /// Reads the file of each kind, the first `rows` sentences of it.
    pub(crate) fn read(
        files: &[PathBuf; 4],
        tokenizer: &Tokenizer,
        rows: Option<usize>,
    ) -> Result<Self, Box<dyn Error>> {
        let read = |(kind, path): (Kind, &PathBuf)| OfKind::read(kind, path, tokenizer, rows);
        Ok(Self { kinds: Kind::ALL.into_iter().zip(files).map(read).collect::<Result<_, _>>()? })
    }

    /// The training sentences of all kinds together.
    pub(crate) fn all(&self) -> Result<TokenData, Box<dyn Error>> {
        let rows: Vec<Row> = self.kinds.iter().flat_map(|kind| kind.train.rows()).cloned().collect();
        let labels = self.kinds.iter().flat_map(|kind| classes(&kind.train)).copied().collect();
        Ok(TokenData::new("all kinds", rows, Some(Targets::Classes(labels)))?)
    }

    /// The accuracy of always predicting the label that is more frequent in the training sentences of the kind.
    pub(crate) fn majority(&self) -> Vec<f64> {
        self.kinds.iter().map(|kind| majority(&kind.train, &kind.held_out)).collect()
    }
}
