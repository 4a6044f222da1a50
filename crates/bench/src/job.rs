//! A measured job.

use std::time::Duration;

use crate::Failed;
use crate::data::Batch;

/// What is measured: prepared once, then run unit by unit.
pub(crate) trait Job {
    /// What the units go through in turn.
    fn batches(&self) -> &[Batch];

    /// Runs one unit, and gives how long what counts of it took. `index` chooses the batch.
    fn unit(&mut self, index: usize) -> Result<Duration, Failed>;
}
