//! Which adapter each text goes through, and which texts go through the model together.

use std::collections::BTreeSet;

use burn_adapters_model::Setup;
use burn_adapters_train::{Columns, DataError, Dataset, Example, Header, Label, Source, TokenData};

use super::answers::by_length;
use super::data::data_error;
use super::model::bank_error;
use super::setup::{Loaded, UNKNOWN_ADAPTER};
use crate::error::{CliError, CliResult};

/// The adapter of each text: that of its row, or none.
pub(super) type Routes = Vec<Option<String>>;

/// Reads texts with the column that names each one's adapter; the texts come back without labels.
pub(super) fn read(source: &Source, text_column: &str, route: &str, header: Header) -> CliResult<(Dataset, Routes)> {
    let columns = columns(text_column, route).with_header(header);
    let data = Dataset::from_source(source, &columns).map_err(|error| match &error {
        DataError::MissingColumn { .. } => {
            data_error(&error).with_help("--text-column and --route name the columns, or number them from 0")
        }
        _ => data_error(&error),
    })?;
    let routes = data.examples().iter().map(adapter_of).collect();
    let texts = data.examples().iter().map(|example| Example { label: None, ..example.clone() }).collect();
    Ok((Dataset::from_examples(data.source(), texts).map_err(|error| data_error(&error))?, routes))
}

/// The columns of texts and of their adapters.
pub(super) fn columns(text_column: &str, route: &str) -> Columns {
    Columns::new(text_column, route).with_optional_label()
}

/// The adapter that a row names.
pub(super) fn adapter_of(example: &Example) -> Option<String> {
    match &example.label {
        Some(Label::Class(name)) => Some(name.clone()).filter(|name| name != "none"),
        _ => None,
    }
}

impl Loaded {
    /// Checks that every adapter that a row names is loaded and has a head, and that rows name adapters if the setup
    /// has an open `Route`.
    pub(super) fn check_routes(&self, routed: Option<(&Dataset, &Routes)>) -> CliResult {
        let Some((data, routes)) = routed else {
            if self.is_open() {
                let error = CliError::mistake(format!("no row of {} names its adapter", self.shown()));
                return Err(error.with_help("--route COLUMN says which column of the input does"));
            }
            return Ok(());
        };
        if !self.is_open() {
            let error = CliError::mistake(format!(
                "--route names an adapter for each row, but {} has no `Route()` for it",
                self.shown()
            ));
            return Err(error.with_help(
                "without --setup each row goes through its own adapter only; `Stack(a, Route())` stacks that adapter \
                 on `a`",
            ));
        }
        let mut known = BTreeSet::new();
        for (example, name) in data.examples().iter().zip(routes) {
            let Some(name) = name.as_deref().filter(|name| !known.contains(name)) else { continue };
            if let Err(error) = self.bank.adapter(name) {
                let mut error = bank_error(&error);
                error.problems[0].message =
                    format!("{}, line {}: {}", data.source(), example.line, error.problems[0].message);
                return Err(error.with_help(UNKNOWN_ADAPTER));
            }
            if self.heads.is_none() {
                self.head(name)?;
            }
            known.insert(name);
        }
        Ok(())
    }

    /// Which texts go through the model together, each batch with its setup.
    pub(super) fn batches(
        &self,
        tokens: &TokenData,
        routes: Option<&Routes>,
        batch_size: usize,
    ) -> CliResult<Vec<(Setup, Vec<usize>)>> {
        let all: Vec<usize> = (0..tokens.len()).collect();
        // The windows of a context go through the adapter of their question.
        let routes =
            routes.map(|routes| all.iter().map(|row| routes[tokens.example_of(*row)].clone()).collect::<Routes>());
        if self.is_sized() {
            let setup = self.setup(routes.as_deref());
            let longest = tokens.rows().iter().map(|row| row.ids.len()).max().unwrap_or(0);
            self.check_batch(&setup, tokens.len(), longest)?;
            return Ok(vec![(setup, all)]);
        }
        let Some(routes) = routes else {
            let batches = by_length(tokens, all, batch_size)?;
            return Ok(batches.into_iter().map(|batch| (self.setup(None), batch)).collect());
        };
        // A row that no head is asked about need not go through the model.
        let asked = all.into_iter().filter(|index| self.heads.is_some() || routes[*index].is_some()).collect();
        let batches = by_length(tokens, asked, batch_size)?;
        let setup = |batch: &[usize]| {
            let rows: Vec<Option<String>> = batch.iter().map(|index| routes[*index].clone()).collect();
            self.setup(Some(&rows))
        };
        Ok(batches.into_iter().map(|batch| (setup(&batch), batch)).collect())
    }
}
