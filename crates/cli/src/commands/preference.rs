//! Preference optimization on the command line: its option, and the reference model.

use burn_adapters_train::{TextForm, TokenData};
use clap::Args;

use super::model::{Model, train_error};
use crate::error::{CliError, CliResult};
use crate::progress::{Style, Task, Unit};

/// How strongly the trained model is tied to the reference model by default.
const BETA: f64 = 0.1;

/// The option of preference optimization.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct PreferenceArguments {
    /// Preference optimization (--task dpo): how strongly the trained model is tied to the reference model, which is the model
    /// without adapters; above 0. The larger it is, the smaller the change of probabilities that a margin needs [default:
    /// 0.1].
    #[arg(long, value_name = "B")]
    beta: Option<f64>,
}

impl PreferenceArguments {
    /// β, where preferences are learned; an error if it is given for another task.
    pub(super) fn beta(self, form: TextForm) -> CliResult<Option<f64>> {
        let beta = self.beta.unwrap_or(BETA);
        match form {
            TextForm::Preferences if beta > 0.0 && beta.is_finite() => Ok(Some(beta)),
            TextForm::Preferences => {
                let error = CliError::mistake(format!("--beta must be a number above 0, found {beta}"));
                Err(error.with_help("with 0 no answer would be preferred; usual are 0.01 to 0.5"))
            }
            _ if self.beta.is_none() => Ok(None),
            _ => Err(CliError::mistake("--beta is for preference optimization")
                .with_help("--task dpo learns from preferred and rejected answers; otherwise leave out --beta")),
        }
    }
}

/// Compares pairs of answers with those of the model without adapters.
pub(super) fn with_reference(
    tokens: TokenData,
    model: &Model,
    beta: f64,
    batch_size: usize,
    style: Style,
) -> CliResult<TokenData> {
    let mut task = Task::new(style, "reference model", tokens.len() as u64, Unit::Count);
    let mut progress = |done: usize, _: usize| task.set(done as u64, "");
    let compared = tokens.with_reference(&model.base, beta, batch_size, &mut progress);
    task.finish();
    compared.map_err(|error| train_error(&error))
}
