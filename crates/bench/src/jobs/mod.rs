//! The measured jobs.

mod adding;
mod burn_lora;
mod infer;
mod parts;
mod plain;
mod routed;
mod step;
mod whole;

use burn::tensor::Device;

use crate::Failed;
use crate::job::Job;
use crate::protocol::{Check, Kind, Prepare};

type Prepared = (Box<dyn Job>, Check);

/// Loads the data of a job, and computes the values that the two sides must agree on.
pub(crate) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    match prepare.kind {
        Kind::Step => step::prepare(prepare, device),
        Kind::Full => whole::prepare(prepare, device),
        Kind::BurnLora => burn_lora::prepare(prepare, device, false),
        Kind::BurnLoraHere => burn_lora::prepare(prepare, device, true),
        Kind::Infer => infer::prepare(prepare, device),
        Kind::InferMerged => infer::prepare_merged(prepare, device),
        Kind::Routed | Kind::Separate => routed::prepare(prepare, device),
        Kind::Add | Kind::AddAndUse | Kind::Switch => adding::prepare(prepare, device),
    }
}
