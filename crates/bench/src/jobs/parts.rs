//! Parts shared by several jobs.

use std::path::Path;

use burn::tensor::{Device, Gradients, Tensor};
use burn_adapters_checkpoint::{load_adapter, load_head};
use burn_adapters_core::Mode;
use burn_adapters_heads::Logits;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Reads, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, WeightFormat};

use crate::Failed;
use crate::data::{Batch, batches};
use crate::make::NAME;
use crate::protocol::{Check, Prepare};

/// As in the reference's loop, except that it is constant.
pub(super) const LEARNING_RATE: f64 = 1e-4;

/// The largest gradient norm of a step.
pub(super) const MAX_NORM: f64 = 1.0;

/// The base model and the batches of a job.
pub(super) struct Base {
    pub(super) model: AutoModel,
    pub(super) batches: Vec<Batch>,
}

impl Base {
    pub(super) fn load(prepare: &Prepare, device: &Device) -> Result<Self, Failed> {
        let format = match prepare {
            Prepare { stored: true, .. } => WeightFormat::AsStored,
            Prepare { bf16: true, .. } => WeightFormat::Bf16,
            _ => WeightFormat::F32,
        };
        let (model, _) = AutoModel::from_dir_as(&prepare.model, format, device)?;
        let model = if prepare.bf16_below > 0 { model.in_bf16_below(prepare.bf16_below)? } else { model };
        Ok(Self { model, batches: batches(&prepare.batches, &prepare.data, &prepare.model)? })
    }
}

/// The adapter's folder of a job.
pub(super) fn folder(prepare: &Prepare) -> Result<&Path, Failed> {
    prepare.adapter.as_deref().ok_or_else(|| "this job needs an adapter's folder".into())
}

/// A bank that has the adapter of a folder under each of these names, and its head.
pub(super) fn bank(model: &AutoModel, folder: &Path, names: &[String], device: &Device) -> Result<AdapterBank, Failed> {
    let mut bank = AdapterBank::new(model.spec(), device);
    for name in names {
        load_adapter(folder, &mut bank, Some(name))?;
    }
    load_head(folder, &mut bank, Some(NAME))?;
    Ok(bank)
}

/// The logits of a batch, from the only head of a setup.
pub(super) fn logits(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    batch: &TokenBatch,
) -> Result<Logits, Failed> {
    let hooks = bank.hooks(setup)?;
    let output = model.forward_reading(batch, &hooks, Reads::First)?;
    Ok(bank.head_of(setup)?.forward(&output, setup.mode())?)
}

/// The values that both sides must agree on, and the gradients for computing their norm.
pub(super) fn check(
    model: &(impl BaseModel + ?Sized),
    bank: &AdapterBank,
    setup: &Setup,
    batch: &Batch,
) -> Result<(Check, Gradients), Failed> {
    // At inference there are no gradients, neither of adapters nor of the head.
    let setup = &setup.clone().training().without_base_dropout();
    let output = model.forward_reading(&batch.tokens(), &bank.hooks(setup)?, Reads::First)?;
    let mut head = bank.head_of(setup)?.clone();
    head.dropout = 0.0;
    let logits = head.forward(&output, Mode::Training)?;
    let loss = head.loss(&logits, &batch.labels)?;
    let check = Check {
        tokens: batch.count(),
        checksum: batch.checksum(),
        logits: rows(logits)?,
        loss: Some(scalar(loss.clone())?),
        ..Check::default()
    };
    Ok((check, loss.backward()))
}

/// The logits of each row.
pub(super) fn rows(logits: Logits) -> Result<Vec<Vec<f32>>, Failed> {
    let values = values(logits.values().clone())?;
    Ok(logits.split(&values).into_iter().map(<[f32]>::to_vec).collect())
}

pub(super) fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, Failed> {
    Ok(tensor.try_into_data_as::<f32>()?.try_into_vec()?)
}

pub(super) fn scalar(tensor: Tensor<1>) -> Result<f64, Failed> {
    Ok(values(tensor)?.first().copied().unwrap_or(f32::NAN).into())
}
