//! Batches of sentences (by row number) or tokens.

use std::path::Path;

use burn_adapters_heads::Targets;
use burn_adapters_model::{Row, TokenBatch};
use burn_adapters_transformers::Tokenizer;

use crate::Failed;
use crate::protocol::BatchSpec;

/// The longest sentence in tokens.
const MAX_LENGTH: usize = 512;

/// Rows that are processed together, and their labels.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    pub(crate) labels: Targets,
}

impl Batch {
    pub(crate) fn tokens(&self) -> TokenBatch {
        TokenBatch::from_rows(&self.rows)
    }

    /// The number of tokens.
    pub(crate) fn count(&self) -> usize {
        self.rows.iter().map(|row| row.ids.len()).sum()
    }

    /// The number of tokens of each row.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        self.rows.iter().map(|row| row.ids.len()).collect()
    }

    /// A checksum that shows whether both sides have the same tokens.
    pub(crate) fn checksum(&self) -> u64 {
        let tokens = self.rows.iter().flat_map(|row| &row.ids);
        tokens.zip(1u64..).fold(0, |sum, (id, place)| (sum + u64::from(*id) * place) % (1 << 31))
    }

    /// Every `of`-th row, from `part` on.
    pub(crate) fn part(&self, part: usize, of: usize) -> Vec<Row> {
        self.rows.iter().skip(part).step_by(of).cloned().collect()
    }
}

/// The tokenized batches of a job.
pub(crate) fn batches(specs: &[BatchSpec], data: &Path, model: &Path) -> Result<Vec<Batch>, Failed> {
    if specs.is_empty() {
        return Err("a job needs a batch".into());
    }
    let sentences = if specs.iter().any(|spec| matches!(spec, BatchSpec::Rows(_))) {
        Some((sentences(data)?, Tokenizer::from_dir(model)?))
    } else {
        None
    };
    let batch = |spec: &BatchSpec| match (spec, &sentences) {
        (BatchSpec::Rows(rows), Some((sentences, tokenizer))) => {
            let chosen: Vec<&Sentence> = rows
                .iter()
                .map(|row| sentences.get(*row).ok_or_else(|| format!("the data has no row {row}").into()))
                .collect::<Result<_, Failed>>()?;
            let texts: Vec<&str> = chosen.iter().map(|sentence| sentence.text.as_str()).collect();
            let labels = chosen.iter().map(|sentence| usize::from(sentence.rating > 0.0)).collect();
            Ok(Batch { rows: tokenizer.encode(&texts, MAX_LENGTH)?.rows, labels: Targets::Classes(labels) })
        }
        (BatchSpec::Rows(_), None) => Err("the data was not read".into()),
        (BatchSpec::Tokens(rows), _) => Ok(Batch {
            rows: rows.iter().map(|ids| Row::new(ids.clone())).collect(),
            labels: Targets::Classes((0..rows.len()).map(|row| row % 2).collect()),
        }),
    };
    let batches = specs.iter().map(batch).collect::<Result<Vec<Batch>, Failed>>()?;
    match batches.iter().any(|batch| batch.rows.is_empty()) {
        true => Err("a batch has no rows".into()),
        false => Ok(batches),
    }
}

struct Sentence {
    rating: f64,
    text: String,
}

/// Lines of number, rating and text.
fn sentences(path: &Path) -> Result<Vec<Sentence>, Failed> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let line = |(number, line): (usize, &str)| {
        let mut columns = line.splitn(3, '\t').skip(1);
        let rating = columns.next().and_then(|rating| rating.trim().parse().ok());
        match (rating, columns.next()) {
            (Some(rating), Some(text)) => Ok(Sentence { rating, text: text.to_owned() }),
            _ => {
                let path = path.display();
                Err(format!("{path}, line {}: expected number, rating and text between tabs", number + 1).into())
            }
        }
    };
    text.lines().enumerate().map(line).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_taken_as_they_are() {
        let specs = [BatchSpec::Tokens(vec![vec![5, 6], vec![7]])];
        let batches = batches(&specs, Path::new("none"), Path::new("none")).unwrap();
        assert_eq!((batches[0].count(), batches[0].lengths()), (3, vec![2, 1]));
        assert_eq!(batches[0].checksum(), 5 + 2 * 6 + 3 * 7);
        assert_eq!(batches[0].labels, Targets::Classes(vec![0, 1]));
        assert_eq!(batches[0].part(1, 2), [Row::new(vec![7])]);
    }

    #[test]
    fn no_batch_or_an_empty_one_is_an_error() {
        assert!(batches(&[], Path::new("none"), Path::new("none")).is_err());
        assert!(batches(&[BatchSpec::Tokens(vec![])], Path::new("none"), Path::new("none")).is_err());
    }

    #[test]
    fn a_line_without_a_rating_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "1\t2.5\tFine.\n2\tFine.\n").unwrap();
        let error = sentences(file.path()).err().unwrap().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
