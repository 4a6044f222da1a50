//! The measured jobs.

mod adding;
mod burn_lora;
mod infer;
mod language;
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
        Kind::LmStep => language::prepare_step(prepare, device),
        Kind::LmPrompt => language::prepare_prompt(prepare, device),
        Kind::LmGenerate => language::prepare_generate(prepare, device),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::make;
    use crate::protocol::{MakeAdapter, MakeModel};

    const KINDS: [Kind; 11] = [
        Kind::Step,
        Kind::Full,
        Kind::BurnLora,
        Kind::BurnLoraHere,
        Kind::Infer,
        Kind::InferMerged,
        Kind::Routed,
        Kind::Separate,
        Kind::Add,
        Kind::AddAndUse,
        Kind::Switch,
    ];

    #[test]
    fn every_job_runs_on_a_tiny_model() {
        let dir = tempfile::tempdir().unwrap();
        let (model, adapter) = (dir.path().join("model"), dir.path().join("adapter"));
        let (hidden, intermediate, tokenizer) = (16, 32, dir.path().to_owned());
        let sizes =
            MakeModel { dir: model.clone(), tokenizer, vocabulary: 50, hidden, layers: 2, heads: 2, intermediate };
        make::model(&sizes).unwrap();
        let device = Device::default();
        let lora = MakeAdapter { dir: adapter.clone(), model: model.clone(), config: "lora".into(), noise: 0.02 };
        make::adapter(&lora, &device).unwrap();
        for kind in KINDS {
            let request = json!({
                "kind": kind, "model": model, "adapter": adapter, "config": "lora", "data": dir.path().join("none"),
                "batches": [{"tokens": [[3, 4, 5, 6], [7, 8, 9, 10]]}], "adapters": 2,
            });
            let (mut job, check) = prepare(&serde_json::from_value(request).unwrap(), &device).unwrap();
            assert!(check.logits.iter().flatten().all(|logit| logit.is_finite()), "{kind:?}");
            if matches!(kind, Kind::Step | Kind::Full) {
                assert!(check.gradient_norm.is_some_and(|norm| norm > 0.0), "{kind:?}");
            }
            job.unit(0).unwrap();
        }
    }
}
