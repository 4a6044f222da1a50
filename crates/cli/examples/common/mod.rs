//! What the examples share: the model, rated sentences of several kinds, progress, and how a program ends.

pub(crate) mod progress;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn_adapters_fetch::{Cache, Kind};
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_train::tasks::Regression;
use burn_adapters_train::{Columns, Dataset, Format, Header, Label, TokenData};
use burn_adapters_transformers::Tokenizer;

use self::progress::Progress;

/// The labels, in the order of the heads' logits.
const LABELS: [&str; 2] = ["negative", "positive"];

/// The maximum length in tokens; the sentences are far shorter.
pub(crate) const MAX_LENGTH: usize = 128;

/// A head for the labels.
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
pub(crate) fn files<const N: usize>(
    kinds: [Kind; N],
    given: Option<&Path>,
    progress: &mut Progress,
) -> Result<[PathBuf; N], Box<dyn Error>> {
    match given {
        Some(folder) => Ok(kinds.map(|kind| folder.join(kind.file_name()))),
        None => Ok(burn_adapters_fetch::sentences(&Cache::from_env()?, kinds, progress)?),
    }
}

/// The sentences of one kind, as tokens.
pub(crate) struct OfKind {
    pub(crate) kind: Kind,
    pub(crate) train: TokenData,
    /// Every tenth sentence.
    pub(crate) held_out: TokenData,
    /// The sentences of both without their labels.
    pub(crate) plain: [Dataset; 2],
}

impl OfKind {
    /// Reads the first `rows` sentences of a file.
    pub(crate) fn read(
        kind: Kind,
        path: &Path,
        tokenizer: &Tokenizer,
        rows: Option<usize>,
    ) -> Result<Self, Box<dyn Error>> {
        let columns = Columns::new(2, 1).with_task(&Regression).with_header(Header::No).with_format(Format::Tsv);
        let data = Dataset::read(path, &columns)?.map_labels(|label| match label {
            Label::Number(rating) => Some(Label::Class(LABELS[usize::from(rating > 0.0)].to_owned())),
            other => Some(other),
        });
        let examples = data.examples().iter().take(rows.unwrap_or(usize::MAX)).cloned().collect();
        let (train, held_out) = Dataset::from_examples(kind.name(), examples)?.split_every(10)?;
        let length = tokenizer.max_length().min(MAX_LENGTH);
        let tokens = |data: &Dataset| TokenData::tokenize(data, &head(), tokenizer, length);
        let unlabeled = |data: &Dataset| data.clone().map_labels(|_| None);
        let (train_tokens, held_out_tokens) = (tokens(&train)?, tokens(&held_out)?);
        let plain = [unlabeled(&train), unlabeled(&held_out)];
        Ok(Self { kind, train: train_tokens, held_out: held_out_tokens, plain })
    }
}

/// The classes of sentences.
pub(crate) fn classes(data: &TokenData) -> &[usize] {
    match data.labels() {
        Some(Targets::Classes(classes)) => classes,
        _ => &[],
    }
}

/// The accuracy on some sentences of always predicting the label that is more frequent in others.
pub(crate) fn majority(seen: &TokenData, scored: &TokenData) -> f64 {
    let seen = classes(seen);
    let label = usize::from(seen.iter().sum::<usize>() * 2 > seen.len());
    let scored = classes(scored);
    let right = scored.iter().filter(|other| **other == label).count();
    right as f64 / scored.len().max(1) as f64
}

/// The exit code of a program.
pub(crate) fn exit_code(result: Result<(), Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
