//! Reports of adding and saving an adapter.

use std::fmt;
use std::path::PathBuf;

/// The parameters that an adapter was added to; prints as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddReport {
    /// The adapter's name.
    pub name: String,
    /// Every adapted matrix, in the module's order.
    pub adapted: Vec<AdaptedParameter>,
    /// Parameters that matched, but cannot be adapted.
    pub skipped: Vec<Skipped>,
    /// The number of frozen elements that the adapter needs besides its parameters (VeRA's random matrices).
    pub frozen: usize,
}

/// A matrix with an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptedParameter {
    /// The path of the weight.
    pub path: String,
    /// `[d_input, d_output]`.
    pub shape: [usize; 2],
    /// `lora`, `dora`, `vera`, `dvora` or `ia3`.
    pub method: &'static str,
    /// The number of trained parameters.
    pub parameters: usize,
    /// The path of the bias that is scaled with the weight, by DoRA and (IA)³.
    pub bias: Option<String>,
}

/// A parameter that matched but was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The path of the parameter.
    pub path: String,
    /// The reason.
    pub reason: SkipReason,
}

/// The reason why a parameter cannot be adapted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// It is not a matrix.
    Rank {
        /// Its shape.
        shape: Vec<usize>,
    },
    /// It is the table of an embedding: the whole adapted table would be built for every lookup of a few rows.
    Embedding,
}

/// The result of saving an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSaveReport {
    /// The file.
    pub file: PathBuf,
    /// The number of its tensors.
    pub tensors: usize,
    /// The number of their elements together.
    pub parameters: usize,
    /// Its size in bytes.
    pub bytes: u64,
}

impl AddReport {
    /// The number of trained parameters.
    pub fn parameters(&self) -> usize {
        self.adapted.iter().map(|adapted| adapted.parameters).sum()
    }
}

impl fmt::Display for AddReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} parameters at {} matrices", self.name, self.parameters(), self.adapted.len())?;
        for AdaptedParameter { path, shape: [d_input, d_output], method, parameters, bias } in &self.adapted {
            write!(f, "  {path} [{d_input}, {d_output}]: {method}, {parameters} parameters")?;
            match bias {
                Some(bias) => writeln!(f, ", scales {bias} too")?,
                None => writeln!(f)?,
            }
        }
        for skipped in &self.skipped {
            writeln!(f, "  skipped: {skipped}")?;
        }
        if self.frozen > 0 {
            writeln!(f, "  shared and frozen: {} elements", self.frozen)?;
        }
        Ok(())
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            SkipReason::Rank { shape } => write!(f, "`{}`, which is not a matrix but of shape {shape:?}", self.path),
            SkipReason::Embedding => write!(f, "`{}`, which is the table of an embedding", self.path),
        }
    }
}
