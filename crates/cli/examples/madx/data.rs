//! The model's folder and the sentences.

use std::error::Error;
use std::path::{Path, PathBuf};

use burn_adapters_fetch::{Cache, Kind};
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_train::tasks::Regression;
use burn_adapters_train::{Columns, Dataset, Format, Header, Label, TokenData};
use burn_adapters_transformers::Tokenizer;

use super::progress::Progress;

/// The source and the target.
const KINDS: [Kind; 2] = [Kind::MovieReviews, Kind::Tweets];

/// The labels, in the order of the head's logits.
const LABELS: [&str; 2] = ["negative", "positive"];

/// The maximum length in tokens; the sentences are far shorter.
const MAX_LENGTH: usize = 128;

/// The head of the task.
pub(crate) fn task_head() -> HeadConfig {
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
pub(crate) fn files(given: Option<&Path>, progress: &mut Progress) -> Result<[PathBuf; 2], Box<dyn Error>> {
    match given {
        Some(folder) => Ok(KINDS.map(|kind| folder.join(kind.file_name()))),
        None => Ok(burn_adapters_fetch::sentences(&Cache::from_env()?, KINDS, progress)?),
    }
}

/// A kind of sentences, which stands for a language.
pub(crate) struct Domain {
    pub(crate) kind: Kind,
    pub(crate) train: TokenData,
    /// Every tenth sentence.
    pub(crate) held_out: TokenData,
}

impl Domain {
    /// The name of its language adapter.
    pub(crate) fn name(&self) -> &'static str {
        self.kind.id()
    }
}

/// The source and the target.
pub(crate) struct Domains {
    pub(crate) all: [Domain; 2],
}

impl Domains {
    /// Reads the file of each kind, the first `rows` sentences of it.
    pub(crate) fn read(
        files: &[PathBuf; 2],
        tokenizer: &Tokenizer,
        rows: Option<usize>,
    ) -> Result<Self, Box<dyn Error>> {
        let length = tokenizer.max_length().min(MAX_LENGTH);
        let read = |kind: Kind, path: &Path| -> Result<Domain, Box<dyn Error>> {
            let columns = Columns::new(2, 1).with_task(&Regression).with_header(Header::No).with_format(Format::Tsv);
            let data = Dataset::read(path, &columns)?.map_labels(|label| match label {
                Label::Number(rating) => Some(Label::Class(LABELS[usize::from(rating > 0.0)].to_owned())),
                other => Some(other),
            });
            let examples = data.examples().iter().take(rows.unwrap_or(usize::MAX)).cloned().collect();
            let (train, held_out) = Dataset::from_examples(kind.name(), examples)?.split_every(10)?;
            let tokens = |data: &Dataset| TokenData::tokenize(data, &task_head(), tokenizer, length);
            Ok(Domain { kind, train: tokens(&train)?, held_out: tokens(&held_out)? })
        };
        let [source, target] = files;
        let all = [read(KINDS[0], source)?, read(KINDS[1], target)?];
        Ok(Self { all })
    }

    /// The accuracy of always predicting the label that is more frequent in the training sentences of the source.
    pub(crate) fn majority(&self) -> Vec<f64> {
        let source = classes(&self.all[0].train);
        let label = usize::from(source.iter().sum::<usize>() * 2 > source.len());
        let part = |domain: &Domain| {
            let held_out = classes(&domain.held_out);
            let right = held_out.iter().filter(|other| **other == label).count();
            right as f64 / held_out.len().max(1) as f64
        };
        self.all.iter().map(part).collect()
    }
}

fn classes(data: &TokenData) -> &[usize] {
    match data.labels() {
        Some(Targets::Classes(classes)) => classes,
        _ => &[],
    }
}
