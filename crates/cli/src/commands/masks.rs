//! The most probable tokens behind the masks of texts.

use burn_adapters_train::{Dataset, HeadValues, TokenData, run_batch};
use serde::Serialize;

use super::model::{Model, train_error};
use super::routes::Routes;
use super::setup::Loaded;
use crate::error::{CliError, CliResult, chain};
use crate::output::{self, Align, Table};

/// How predictions are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) json: bool,
    /// The number of tokens for each mask.
    pub(super) top: usize,
}

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    adapter: Option<Option<&'a str>>,
    masks: Vec<Mask>,
}

/// A mask, with the most probable tokens.
#[derive(Serialize)]
struct Mask {
    position: usize,
    top: Vec<Candidate>,
}

/// A token for a mask.
#[derive(Serialize)]
struct Candidate {
    token: String,
    logit: f32,
    probability: f32,
}

/// Prints the most probable tokens for the masks of some texts.
pub(super) fn print(
    model: &Model,
    loaded: &Loaded,
    data: &Dataset,
    tokens: &TokenData,
    routes: Option<&Routes>,
    batch_size: usize,
    shown: Shown,
) -> CliResult {
    check(model, data, tokens)?;
    let mut masks: Vec<Vec<Mask>> = (0..tokens.len()).map(|_| Vec::new()).collect();
    for (setup, rows) in loaded.batches(tokens, routes, batch_size)? {
        for part in run_batch(&model.base, &loaded.bank, &setup, tokens, &rows).map_err(|error| train_error(&error))? {
            let part = HeadValues::of(part).map_err(|error| train_error(&error))?;
            for (row, logits) in part.rows.iter().zip(&part.values) {
                let row = rows[*row];
                let positions = tokens.wanted(row).unwrap_or_default();
                let width = logits.len() / positions.len().max(1);
                let found = positions.iter().zip(logits.chunks(width.max(1)));
                masks[row] = found.map(|(at, logits)| mask(model, *at, logits, shown.top)).collect::<CliResult<_>>()?;
            }
        }
    }
    let adapter = |row: usize| routes.map(|routes| routes[row].as_deref());
    if shown.json {
        for (row, (example, masks)) in data.examples().iter().zip(masks).enumerate() {
            output::json_line(&Line { text: &example.text, adapter: adapter(row), masks })?;
        }
        return Ok(());
    }
    let mut table = Table::new(&[
        ("position", Align::Right),
        ("token", Align::Left),
        ("probability", Align::Right),
        ("text", Align::Left),
    ]);
    for (example, masks) in data.examples().iter().zip(masks) {
        for Mask { position, top } in masks {
            for Candidate { token, probability, .. } in top {
                table.row(vec![position.to_string(), token, format!("{probability:.4}"), example.text.clone()]);
            }
        }
    }
    output::line(table.take())
}

/// Refuses texts without a mask.
fn check(model: &Model, data: &Dataset, tokens: &TokenData) -> CliResult {
    let without = (0..tokens.len()).find(|row| tokens.wanted(*row).is_none_or(<[usize]>::is_empty));
    let Some(example) = without.and_then(|row| data.examples().get(row)) else { return Ok(()) };
    let id = model.tokenizer.special_ids().mask.unwrap_or_default();
    let mask = model.tokenizer.decode(&[id], false).map_err(|error| CliError::failure(chain(&error)))?;
    let message =
        format!("{}, line {}: the text has no mask, so there is nothing to predict", data.source(), example.line);
    Err(CliError::mistake(message).with_help(format!("{} stands for the tokens to predict", mask.trim())))
}

/// The most probable tokens, of equally probable ones those with smaller numbers first.
fn mask(model: &Model, position: usize, logits: &[f32], top: usize) -> CliResult<Mask> {
    if let Some(value) = logits.iter().find(|value| !value.is_finite()) {
        return Err(CliError::failure(format!("the logits of the mask at {position} are not finite ({value})")));
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
    let candidate = |id: usize| {
        let token = model.tokenizer.decode(&[id as u32], false).map_err(|error| CliError::failure(chain(&error)))?;
        let probability = (f64::from(logits[id] - max).exp() / sum) as f32;
        Ok(Candidate { token: token.trim().to_owned(), logit: logits[id], probability })
    };
    let top = order.into_iter().take(top).map(candidate).collect::<CliResult<_>>()?;
    Ok(Mask { position, top })
}
