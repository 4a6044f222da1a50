//! The model's folder and the rated sentences.

use std::error::Error;
use std::path::{Path, PathBuf};

use burn_adapters_fetch::{Cache, Kind};
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_train::tasks::Regression;
use burn_adapters_train::{Columns, Dataset, Format, Header, Label, Row, TokenData};
use burn_adapters_transformers::Tokenizer;

use super::progress::Progress;

/// The labels, in the order of the heads' logits.
pub(crate) const LABELS: [&str; 2] = ["negative", "positive"];

/// The maximum length in tokens; the sentences are far shorter.
const MAX_LENGTH: usize = 128;

/// The head of each setup.
pub(crate) fn head() -> HeadConfig {
    HeadConfig::classification(LABELS.len()).with_labels(LABELS)
}

/// The model's folder: the user's, or a fetched one.
pub(crate) fn model(given: Option<&Path>, progress: &mut Progress) -> Result<PathBuf, Box<dyn Error>> {
    match given {
        Some(folder) => Ok(folder.to_owned()),
        None => Ok(burn_adapters_fetch::model(&Cache::from_env()?, progress)?),
    }
}

/// The file of each kind, in a folder of the user or fetched.
pub(crate) fn files(given: Option<&Path>, progress: &mut Progress) -> Result<[PathBuf; 4], Box<dyn Error>> {
    match given {
        Some(folder) => Ok(Kind::ALL.map(|kind| folder.join(kind.file_name()))),
        None => Ok(burn_adapters_fetch::sentences(&Cache::from_env()?, Kind::ALL, progress)?),
    }
}

/// The sentences of one kind, as tokens.
pub(crate) struct OfKind {
    pub(crate) kind: Kind,
    pub(crate) train: TokenData,
    /// Every tenth sentence.
    pub(crate) held_out: TokenData,
}

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
        let read = |(kind, path): (Kind, &PathBuf)| -> Result<OfKind, Box<dyn Error>> {
            let columns = Columns::new(2, 1).with_task(&Regression).with_header(Header::No).with_format(Format::Tsv);
            let data = Dataset::read(path, &columns)?.map_labels(|label| match label {
                Label::Number(rating) => Some(Label::Class(LABELS[usize::from(rating > 0.0)].to_owned())),
                other => Some(other),
            });
            let examples = data.examples().iter().take(rows.unwrap_or(usize::MAX)).cloned().collect();
            let (train, held_out) = Dataset::from_examples(kind.name(), examples)?.split_every(10)?;
            let length = tokenizer.max_length().min(MAX_LENGTH);
            let tokens = |data: &Dataset| TokenData::tokenize(data, &head(), tokenizer, length);
            Ok(OfKind { kind, train: tokens(&train)?, held_out: tokens(&held_out)? })
        };
        let kinds = Kind::ALL.into_iter().zip(files).map(read).collect::<Result<_, _>>()?;
        Ok(Self { kinds })
    }

    /// The training sentences of all kinds together.
    pub(crate) fn all(&self) -> Result<TokenData, Box<dyn Error>> {
        let rows: Vec<Row> = self.kinds.iter().flat_map(|kind| kind.train.rows()).cloned().collect();
        let labels = self.kinds.iter().flat_map(|kind| classes(&kind.train)).copied().collect();
        Ok(TokenData::new("all kinds", rows, Some(Targets::Classes(labels)))?)
    }

    /// The accuracy of always predicting the label that is more frequent in the training sentences of the kind.
    pub(crate) fn majority(&self) -> Vec<f64> {
        let part = |kind: &OfKind| {
            let train = classes(&kind.train);
            let positive = train.iter().sum::<usize>() * 2 > train.len();
            let held_out = classes(&kind.held_out);
            let right = held_out.iter().filter(|label| **label == usize::from(positive)).count();
            right as f64 / held_out.len().max(1) as f64
        };
        self.kinds.iter().map(part).collect()
    }
}

fn classes(data: &TokenData) -> &[usize] {
    match data.labels() {
        Some(Targets::Classes(classes)) => classes,
        _ => &[],
    }
}
