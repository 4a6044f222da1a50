//! The predictions of a setup's heads for texts.

use burn_adapters_files::Listed;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, Setup};
use burn_adapters_train::{HeadValues, Prediction, TokenData, score_batch};

use super::model::{Model, bank_error, train_error};
use crate::error::{CliError, CliResult};

/// The prediction of one head for one text.
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) config: HeadConfig,
    pub(super) prediction: Prediction,
}

/// What one head computes for one row: its logits, or of a language model two numbers for each token that it predicts.
pub(super) struct RowValues {
    pub(super) head: String,
    pub(super) values: Vec<f32>,
}

/// The values for each row, in the order of the data: none where no head was requested, several where several were. The
/// batches say which rows go through the model together, and how; so many texts came before these. Reports after each batch
/// how many rows are done.
pub(super) fn values(
    model: &Model,
    bank: &AdapterBank,
    (tokens, before): (&TokenData, usize),
    batches: &[(Setup, Vec<usize>)],
    progress: &mut dyn FnMut(usize),
) -> CliResult<Vec<Vec<RowValues>>> {
    let mut found: Vec<Vec<RowValues>> = (0..tokens.len()).map(|_| Vec::new()).collect();
    let mut done = 0;
    for (setup, indices) in batches {
        let parts = score_batch(&model.base, bank, setup, tokens, indices).map_err(|error| train_error(&error))?;
        for HeadValues { head, rows, values } in parts {
            let numbers = rows.iter().map(|row| before + indices[*row]);
            check_finite(&head, numbers.zip(values.iter().map(Vec::as_slice)))?;
            for (row, values) in rows.into_iter().zip(values) {
                found[indices[row]].push(RowValues { head: head.clone(), values });
            }
        }
        done += indices.len();
        progress(done);
    }
    Ok(found)
}

/// The answers to each text. See [`values`].
pub(super) fn answers(
    model: &Model,
    bank: &AdapterBank,
    tokens: (&TokenData, usize),
    batches: &[(Setup, Vec<usize>)],
) -> CliResult<Vec<Vec<Answer>>> {
    let answer = |RowValues { head, values }: RowValues| {
        let config = bank.head(&head).map_err(|error| bank_error(&error))?.config().clone();
        let prediction = Prediction::new(&config, values).map_err(|error| train_error(&error))?;
        Ok(Answer { head, config, prediction })
    };
    let rows = values(model, bank, tokens, batches, &mut |_| {})?;
    rows.into_iter().map(|row| row.into_iter().map(answer).collect()).collect()
}

/// The answers to each example, whose rows are several windows: the logits of one head one after another.
pub(super) fn of_examples(tokens: &TokenData, answers: Vec<Vec<Answer>>) -> CliResult<Vec<Vec<Answer>>> {
    let mut answers = answers.into_iter();
    let joined = |rows: std::ops::Range<usize>| {
        let mut rows = answers.by_ref().take(rows.len());
        let mut joined = rows.next().unwrap_or_default();
        for row in rows {
            for (answer, next) in joined.iter_mut().zip(row) {
                answer.prediction.logits.extend(next.prediction.logits);
            }
        }
        for answer in joined.iter_mut().filter(|_| tokens.is_grouped()) {
            let logits = std::mem::take(&mut answer.prediction.logits);
            answer.prediction = Prediction::new(&answer.config, logits).map_err(|error| train_error(&error))?;
        }
        Ok(joined)
    };
    tokens.examples().map(joined).collect()
}

/// Refuses logits that are not finite: no label is printed for them.
fn check_finite<'a>(head: &str, logits: impl Iterator<Item = (usize, &'a [f32])>) -> CliResult {
    let bad = |logits: &[f32]| logits.iter().copied().find(|value| !value.is_finite());
    let mut found: Vec<(usize, f32)> = logits.filter_map(|(row, logits)| Some((row + 1, bad(logits)?))).collect();
    found.sort_by_key(|(row, _)| *row);
    let Some((_, value)) = found.first() else { return Ok(()) };
    let rows: Vec<usize> = found.iter().map(|(row, _)| *row).collect();
    let texts = if let [row] = rows[..] { format!("text {row}") } else { format!("the texts {}", Listed(&rows)) };
    Err(CliError::failure(format!("the head `{head}` gives logits that are not finite ({value}) for {texts}")).with_help(
        "every weight is finite, but the pass overflows: look for weights that are much too large in the adapter, in the \
         head and in the model",
    ))
}

/// Which of these texts go through the model together: those of similar length, the longest first, so that a lack of
/// memory shows at once.
pub(super) fn by_length(tokens: &TokenData, mut indices: Vec<usize>, batch_size: usize) -> CliResult<Vec<Vec<usize>>> {
    if batch_size == 0 {
        return Err(CliError::mistake("--batch-size must be at least 1, found 0"));
    }
    indices.sort_by_key(|index| std::cmp::Reverse(tokens.rows()[*index].ids.len()));
    Ok(indices.chunks(batch_size).map(<[usize]>::to_vec).collect())
}

/// A unique name: two branches may have the same head.
pub(super) fn distinct_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}:{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}
