//! The contents of a bank, as a value that prints as a table.

use std::fmt;

/// One adapter in a [`Summary`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryRow {
    /// The adapter's name.
    pub name: String,
    /// Its configuration, as a string.
    pub config: String,
    /// The number of its parameters.
    pub parameters: usize,
    /// Whether an optimizer would change it.
    pub trained: bool,
}

/// A summary of a bank's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The adapters, by name.
    pub adapters: Vec<SummaryRow>,
    /// The number of parameters of the base model; 0 if unknown.
    pub base_parameters: usize,
}

impl Summary {
    /// An adapter's parameters as a percentage of the base model's; `None` if those are unknown.
    pub fn percent(&self, row: &SummaryRow) -> Option<f64> {
        (self.base_parameters > 0).then(|| 100.0 * row.parameters as f64 / self.base_parameters as f64)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |get: fn(&SummaryRow) -> &str, least: usize| {
            self.adapters.iter().map(|row| get(row).chars().count()).chain([least]).max().unwrap_or(least)
        };
        let (name, config) = (width(|row| &row.name, 10), width(|row| &row.config, 6));
        writeln!(f, "{:<name$}  {:<config$}  {:>12}  {:>8}  train", "adapter", "config", "parameters", "% base")?;
        for row in &self.adapters {
            let percent = self.percent(row).map_or_else(|| "-".to_owned(), |percent| format!("{percent:.3}"));
            let trained = if row.trained { "yes" } else { "no" };
            writeln!(
                f,
                "{:<name$}  {:<config$}  {:>12}  {percent:>8}  {trained}",
                row.name, row.config, row.parameters
            )?;
        }
        let (parameters, percent) = match self.base_parameters {
            0 => ("unknown".to_owned(), "-"),
            parameters => (parameters.to_string(), "100.000"),
        };
        write!(f, "{:<name$}  {:<config$}  {parameters:>12}  {percent:>8}  no", "base model", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(base_parameters: usize) -> Summary {
        let row = SummaryRow { name: "a".into(), config: "lora".into(), parameters: 25, trained: true };
        Summary { adapters: vec![row], base_parameters }
    }

    #[test]
    fn a_base_of_unknown_size_gives_no_percentage() {
        let text = summary(0).to_string();
        assert!(text.contains("unknown") && !text.contains("2500") && !text.contains("100.000"), "{text}");
        let text = summary(1000).to_string();
        assert!(text.contains("2.500") && text.contains("100.000") && text.contains("1000"), "{text}");
        let columns = |text: &str| text.lines().map(|line| line.chars().count()).collect::<Vec<_>>();
        assert_eq!(columns(&summary(0).to_string())[1..], columns(&text)[1..]);
    }
}
