//! The report of building an adapter, which prints as a table.

use std::fmt;

use burn_adapters_core::Site;

/// One place at which an adapter acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportEntry {
    /// The site; `None` for parameters that the whole model shares.
    pub site: Option<Site>,
    /// Of shared parameters, which ones they are, if there are several: those of prefixes have the name of the attention.
    pub part: Option<&'static str>,
    /// The method (`bottleneck`, `lora`, …).
    pub method: &'static str,
    /// The number of parameters there.
    pub parameters: usize,
}

impl ReportEntry {
    /// The site for display; `(shared)` without one.
    pub fn place(&self) -> String {
        match (self.site, self.part) {
            (Some(site), _) => site.to_string(),
            (None, Some(part)) => format!("(shared, {part})"),
            (None, None) => "(shared)".to_owned(),
        }
    }
}

/// The effect of an adapter on a model: every site that it touches, and every parameter that it adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddReport {
    /// The adapter's name.
    pub name: String,
    /// All sites, in order.
    pub entries: Vec<ReportEntry>,
    /// Parts of the configuration that have no effect on this model.
    pub notes: Vec<String>,
    /// The number of parameters of the base model; 0 if the model does not report it.
    pub base_parameters: usize,
}

impl AddReport {
    /// The total number of the adapter's parameters.
    pub fn parameters(&self) -> usize {
        self.entries.iter().map(|entry| entry.parameters).sum()
    }

    /// The parameters in percent of the base model's; `None` if the model does not report how many it has.
    pub fn percent(&self) -> Option<f64> {
        (self.base_parameters > 0).then(|| 100.0 * self.parameters() as f64 / self.base_parameters as f64)
    }
}

impl fmt::Display for AddReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<36} {:<14} {:>12}", "site", "method", "parameters")?;
        for entry in &self.entries {
            writeln!(f, "{:<36} {:<14} {:>12}", entry.place(), entry.method, entry.parameters)?;
        }
        write!(f, "{:<36} {:<14} {:>12}", "total", "", self.parameters())?;
        for note in &self.notes {
            write!(f, "\nnote: {note}")?;
        }
        Ok(())
    }
}
