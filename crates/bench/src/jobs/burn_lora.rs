//! A training step of Burn's own LoRA (`apply_lora`) on the query and value weights, as a user of Burn writes it.

use std::time::{Duration, Instant};

use burn::grad_clipping::GradientClippingConfig;
use burn::module::{Lora, Module, ModuleVisitor, Param, ParamGroup};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};

use super::Prepared;
use super::parts::{LEARNING_RATE, MAX_NORM, check, logits, scalar};
use super::whole::{Whole, setup};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::protocol::Prepare;

/// The rank and the scaling of the identifier `lora`.
const RANK: usize = 8;
const ALPHA: f64 = 8.0;

struct BurnLora {
    whole: Whole,
    batches: Vec<Batch>,
    optimizer: ModuleOptimizer,
    steps: u64,
}

pub(super) fn prepare(prepare: &Prepare, device: &Device) -> Result<Prepared, Failed> {
    let (Whole { bert, bank }, batches) = Whole::load(prepare, device)?;
    let group = ParamGroup::from_regex(r"(query|value)\.weight$").map_err(|error| format!("{error:?}"))?;
    let bert = bert.apply_lora(Lora::new(RANK, ALPHA).set_param_group(group));
    let whole = Whole { bert, bank: bank.set_require_grad(true) };
    let (mut check, _) = check(&whole.bert, &whole.bank, &setup(), &batches[0])?;
    check.parameters = trained(&whole.bert);
    let optimizer = AdamWConfig::new()
        .with_weight_decay(0.0)
        .with_grad_clipping(Some(GradientClippingConfig::Norm(MAX_NORM as f32)))
        .init();
    Ok((Box::new(BurnLora { whole, batches, optimizer, steps: 0 }), check))
}

/// The numbers in parameters that are trained.
fn trained(module: &impl Module) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                self.0 += param.lazy_shape().num_elements();
            }
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}

impl Job for BurnLora {
    fn batches(&self) -> &[Batch] {
        &self.batches
    }

    fn unit(&mut self, index: usize) -> Result<Duration, Failed> {
        let batch = &self.batches[index % self.batches.len()];
        let setup = setup().training();
        let start = Instant::now();
        self.whole.bert.device().seed(self.steps);
        let logits = logits(&self.whole.bert, &self.whole.bank, &setup, &batch.tokens())?;
        let loss = self.whole.bank.head_of(&setup)?.loss(logits, &batch.labels)?;
        if !scalar(loss.clone())?.is_finite() {
            return Err("the loss is no number any more".into());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &self.whole);
        self.whole = self.optimizer.step(LEARNING_RATE, self.whole.clone(), gradients);
        self.whole.bert.device().sync()?;
        self.steps += 1;
        Ok(start.elapsed())
    }
}
