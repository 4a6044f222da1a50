//! What a bank holds, as a value that prints as a table.

use std::fmt;

/// One adapter in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRow {
    /// The adapter's name.
    pub name: String,
    /// Its configuration, as a string.
    pub config: String,
    /// Its parameters.
    pub parameters: usize,
    /// Whether an optimizer changes it.
    pub trained: bool,
}

/// What a bank holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The adapters, by name.
    pub adapters: Vec<SummaryRow>,
    /// Parameters of the base model.
    pub base_parameters: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |get: fn(&SummaryRow) -> &str, least: usize| {
            self.adapters.iter().map(|row| get(row).chars().count()).chain([least]).max().unwrap_or(least)
        };
        let (name, config) = (width(|row| &row.name, 10), width(|row| &row.config, 6));
        writeln!(f, "{:<name$}  {:<config$}  {:>12}  {:>8}  train", "adapter", "config", "parameters", "% base")?;
        for row in &self.adapters {
            let percent = 100.0 * row.parameters as f64 / self.base_parameters.max(1) as f64;
            let trained = if row.trained { "yes" } else { "no" };
            writeln!(
                f,
                "{:<name$}  {:<config$}  {:>12}  {percent:>8.3}  {trained}",
                row.name, row.config, row.parameters
            )?;
        }
        write!(f, "{:<name$}  {:<config$}  {:>12}  {:>8.3}  no", "base model", "", self.base_parameters, 100.0)
    }
}
