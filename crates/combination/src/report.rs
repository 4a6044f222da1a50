//! What building an adapter did, as a value that prints as a table.

use std::fmt;

use burn_adapters_core::Site;

/// One place that an adapter acts at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportEntry {
    /// The site; none for what is shared by the whole model.
    pub site: Option<Site>,
    /// The method (`bottleneck`, `lora`, …).
    pub method: &'static str,
    /// The parameters there.
    pub parameters: usize,
}

/// What an adapter does to a model: every site that it touches, and every parameter that it adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddReport {
    /// The adapter's name.
    pub name: String,
    /// Every site touched, in order.
    pub entries: Vec<ReportEntry>,
    /// What of the configuration has no effect on this model.
    pub notes: Vec<String>,
    /// Parameters of the base model; 0 where the model did not say.
    pub base_parameters: usize,
}

impl AddReport {
    /// The adapter's parameters in all.
    pub fn parameters(&self) -> usize {
        self.entries.iter().map(|entry| entry.parameters).sum()
    }

    /// The parameters in percent of the base model's; none where the model did not say how many it has.
    pub fn percent(&self) -> Option<f64> {
        (self.base_parameters > 0).then(|| 100.0 * self.parameters() as f64 / self.base_parameters as f64)
    }
}

impl fmt::Display for AddReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<36} {:<14} {:>12}", "site", "method", "parameters")?;
        for entry in &self.entries {
            let site = entry.site.map_or_else(|| "(shared)".to_owned(), |site| site.to_string());
            writeln!(f, "{site:<36} {:<14} {:>12}", entry.method, entry.parameters)?;
        }
        write!(f, "{:<36} {:<14} {:>12}", "total", "", self.parameters())?;
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}
