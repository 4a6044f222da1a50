//! Comparing a merged model, read back from its files, with the model and its adapters.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use burn_adapters_composition::Composition;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Hooks, Setup, TokenBatch};
use burn_adapters_transformers::AutoModel;

use super::merge_into::Format;
use super::model::{bank_error, base_error};
use crate::error::{CliError, CliResult, chain};

/// The number of rows, and of tokens in each.
const ROWS: usize = 2;
const TOKENS: usize = 16;

/// By how much f32 results may differ, in parts of the largest: sums are in another order.
const ROUNDING: f32 = 1e-3;

/// The outputs of a model with its adapters for tokens that stand for any.
pub(super) struct Probe {
    rows: Vec<Vec<u32>>,
    expected: Vec<f32>,
    effect: f32,
}

/// The result of a comparison.
pub(super) struct Checked {
    /// The largest difference of an output.
    pub(super) difference: f32,
    /// By how much the adapters change the outputs, at most.
    pub(super) effect: f32,
}

impl Probe {
    pub(super) fn new<'a>(
        model: &AutoModel,
        bank: &AdapterBank,
        names: impl Iterator<Item = &'a str>,
    ) -> CliResult<Self> {
        let limits = model.limits();
        let length = TOKENS.min(limits.sequence.max(1));
        // Far apart, so that few tokens are rare or special ones.
        let token = |index: usize| (index * 7919 + 13) % limits.vocabulary.max(1);
        let row = |row: usize| (0..length).map(|at| token(row * length + at) as u32).collect();
        let rows: Vec<Vec<u32>> = (0..ROWS).map(row).collect();
        let adapters: Vec<Composition> = names.map(Composition::adapter).collect();
        let setup = match adapters.as_slice() {
            [one] => Setup::compose(one.clone()),
            _ => Setup::compose(Composition::Stack(adapters)),
        };
        let hooks = bank.hooks(&setup).map_err(|error| bank_error(&error))?;
        let expected = outputs(model, &hooks, &rows)?;
        let plain = outputs(model, &Hooks::none(), &rows)?;
        let effect = largest_difference(&expected, &plain);
        Ok(Self { rows, expected, effect })
    }

    /// Reads the merged model at a path and compares it.
    pub(super) fn check(&self, path: &Path, format: Format) -> CliResult<Checked> {
        let loaded = AutoModel::from_dir(path, &Device::default());
        let (model, _) = loaded.map_err(|error| CliError::failure(format!("reading it back: {}", chain(&error))))?;
        let difference = largest_difference(&outputs(&model, &Hooks::none(), &self.rows)?, &self.expected);
        let largest = self.expected.iter().fold(1.0_f32, |largest, value| largest.max(value.abs()));
        let effect = self.effect;
        // NaN is in no range.
        if (format == Format::F32 && difference <= ROUNDING * largest) || (format != Format::F32 && difference < effect)
        {
            return Ok(Checked { difference, effect });
        }
        let message = format!(
            "the merged model does not compute what the model does with its adapters: its outputs differ by up to {difference:.1e}, \
             and the adapters change them by up to {effect:.1e}; nothing was written"
        );
        Err(CliError::failure(message).with_help(match format {
            Format::F32 => "use the adapter beside the model",
            _ => "rounding hides the adapter: choose --format f32",
        }))
    }
}

/// The logits of a language model, or the hidden states.
fn outputs(model: &AutoModel, hooks: &Hooks<'_>, rows: &[Vec<u32>]) -> CliResult<Vec<f32>> {
    let batch = TokenBatch::new(rows.iter().map(Vec::as_slice));
    let output = model.forward(&batch, hooks).map_err(|error| base_error(&error))?;
    let hidden: Tensor<2> = output.hidden.flatten(0, 1);
    let values = model.token_logits(hidden.clone()).unwrap_or(hidden).into_data();
    values.convert::<f32>().try_into_vec().map_err(|error| CliError::failure(format!("reading the outputs: {error:?}")))
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return f32::NAN;
    }
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs());
    differences
        .fold(0.0, |largest, difference| if difference.is_nan() { f32::NAN } else { f32::max(largest, difference) })
}
