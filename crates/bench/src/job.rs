//! The interface of a measured job.

use std::time::Duration;

use crate::Failed;
use crate::data::Batch;

/// A measured job: prepared once, then run unit by unit.
pub(crate) trait Job {
    /// The batches that the units process in turn.
    fn batches(&self) -> &[Batch];

    /// Runs one unit, and returns the time of its measured part. `index` selects the batch.
    fn unit(&mut self, index: usize) -> Result<Duration, Failed>;
}
