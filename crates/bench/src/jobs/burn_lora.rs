//! A training step of Burn's own LoRA (`apply_lora`) on the query and value weights, as a user of Burn would write it:
//! on a model of Burn's own modules, or on ours.

use std::time::{Duration, Instant};

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Lora, Module, ParamGroup};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::Device;
use burn_adapters_model::{AdapterBank, BaseModel};
use burn_adapters_tensors::{Parameter, trained_parameters};
use burn_adapters_transformers::AutoModel;

use super::Prepared;
use super::parts::{LEARNING_RATE, MAX_NORM, check, logits, scalar};
use super::plain::Plain;
use super::whole::{Whole, setup};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::protocol::Prepare;

/// The rank and the scaling of the identifier `lora`.
const RANK: usize = 8;
const ALPHA: f64 = 8.0;

/// The model with the LoRA.
// A box is not a Burn module.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
enum Model {
    Ours(AutoModel),
    Plain(Plain),
}

impl Model {
    fn base(&self) -> &dyn BaseModel {
        match self {
            Self::Ours(model) => model,
            Self::Plain(plain) => plain,
        }
    }
}

/// The model and the bank that holds its head.
#[derive(Module, Debug)]
struct Trained {
    model: Model,
    bank: AdapterBank,
}

struct BurnLora {
    trained: Trained,
    batches: Vec<Batch>,
    optimizer: ModuleOptimizer,
    steps: u64,
}

pub(super) fn prepare(prepare: &Prepare, device: &Device, ours: bool) -> Result<Prepared, Failed> {
    let (Whole { model: ours_loaded, bank }, batches) = Whole::load(prepare, device)?;
    let group = ParamGroup::from_regex(r"(query|value)\.weight$").map_err(|error| format!("{error:?}"))?;
    let lora = Lora::new(RANK, ALPHA).set_param_group(group);
    let model = if ours {
        Model::Ours(ours_loaded)
    } else {
        Model::Plain(Plain::load(&prepare.model, &device.clone().autodiff())?)
    };
    let trained = Trained { model: model.apply_lora(lora), bank: bank.set_require_grad(true) };
    let quiet = match trained.model.clone() {
        Model::Plain(plain) => Model::Plain(plain.without_dropout()),
        ours => ours,
    };
    let (mut check, _) = check(quiet.base(), &trained.bank, &setup(), &batches[0])?;
    check.parameters = numbers(&trained.model);
    let optimizer = AdamWConfig::new()
        .with_weight_decay(0.0)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(MAX_NORM as f32)))
        .init();
    Ok((Box::new(BurnLora { trained, batches, optimizer, steps: 0 }), check))
}

/// The number of trained elements.
fn numbers(module: &impl Module) -> usize {
    trained_parameters(module, |_| true).iter().map(Parameter::elements).sum()
}

impl Job for BurnLora {
    fn batches(&self) -> &[Batch] {
        &self.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.batches[index % self.batches.len()];
        let setup = setup().training();
        let start = Instant::now();
        let device = self.trained.model.base().device();
        device.seed(self.steps);
        let logits = logits(self.trained.model.base(), &self.trained.bank, &setup, &batch.tokens())?;
        let loss = self.trained.bank.head_of(&setup)?.loss(&logits, &batch.labels)?;
        if !scalar(loss.clone())?.is_finite() {
            return Err("the loss became NaN or infinite".into());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &self.trained);
        self.trained = self.optimizer.step(LEARNING_RATE, self.trained.clone(), gradients);
        device.sync()?;
        self.steps += 1;
        Ok(start.elapsed())
    }
}
