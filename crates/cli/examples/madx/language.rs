//! Training and evaluation of a language adapter by masked language modeling.

use std::error::Error;

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Tensor;
use burn_adapters_heads::Logits;
use burn_adapters_model::{AdapterBank, Forward, Setup};
use burn_adapters_train::{Observer, Row, StepRecord, TokenData, TrainingPlan};
use burn_adapters_transformers::AutoModel;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::common::progress::Progress;
use super::masking::{Masked, Masking};
use super::training::{BATCH_SIZE, LEARNING_RATE};

/// The seed of the masks in evaluation, which are the same for every setup.
const EVALUATION_SEED: u64 = 1;

/// The loss of masked tokens. Only their positions are computed by the head: the logits of all positions over the whole
/// vocabulary would be large.
fn loss(base: &AutoModel, bank: &AdapterBank, setup: &Setup, masked: &Masked) -> Result<Tensor<1>, Box<dyn Error>> {
    let output = base.forward_reading(&masked.batch, &bank.hooks(setup)?, bank.reads(setup))?;
    let wanted = &mut |_: &str, row: usize| masked.positions[row].clone();
    let states = bank.token_states(setup, &output, wanted)?;
    let states = states.into_iter().next().ok_or("the setup has no head")?;
    let head = bank.head(&states.head)?;
    let logits = Logits::new(head.at_output(states.states, setup.mode())?, states.lengths)?;
    Ok(head.loss(&logits, &masked.targets)?)
}

/// The options of training.
pub(crate) struct Options {
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
}

/// Trains the adapter and the head of a setup.
pub(crate) fn train(
    base: &AutoModel,
    mut bank: AdapterBank,
    setup: &Setup,
    data: &TokenData,
    masking: &Masking,
    options: Options,
    progress: &mut Progress,
) -> Result<AdapterBank, Box<dyn Error>> {
    let Options { epochs, seed } = options;
    let parameters = bank.train_only(setup)?;
    let setup = setup.clone().training();
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.0).init();
    let mut random = StdRng::seed_from_u64(seed);
    let steps_per_epoch = data.len().div_ceil(BATCH_SIZE);
    let steps = steps_per_epoch * epochs;
    Observer::started(
        progress,
        &TrainingPlan {
            epochs,
            examples: data.len(),
            evaluation_examples: 0,
            steps_per_epoch,
            steps,
            done_steps: 0,
            parameters,
        },
    );
    let mut step = 0;
    for epoch in 1..=epochs {
        let mut order: Vec<&Row> = data.rows().iter().collect();
        order.shuffle(&mut random);
        for rows in order.chunks(BATCH_SIZE) {
            step += 1;
            let Some(masked) = masking.hide(rows.iter().copied(), &mut random) else { continue };
            let learning_rate = LEARNING_RATE * (steps - step + 1) as f64 / steps as f64;
            let loss = loss(base, &bank, &setup, &masked)?;
            let value = f64::from(loss.clone().into_scalar::<f32>());
            if !value.is_finite() {
                return Err(format!("the loss became {value} in step {step}").into());
            }
            let gradients = GradientsParams::from_grads(loss.backward(), &bank);
            bank = optimizer.step(learning_rate, bank, gradients);
            progress.step(&StepRecord {
                step,
                epoch,
                loss: value,
                learning_rate,
                gradient_norm: 0.0,
                examples: rows.len(),
                tokens: masked.batch.tokens(),
                positions: masked.batch.len() * masked.batch.sequence(),
            });
        }
    }
    Ok(bank)
}

/// The mean loss of masked tokens of held-out rows.
pub(crate) fn evaluate(
    base: &AutoModel,
    bank: &AdapterBank,
    setup: &Setup,
    data: &TokenData,
    masking: &Masking,
) -> Result<f64, Box<dyn Error>> {
    let mut random = StdRng::seed_from_u64(EVALUATION_SEED);
    let (mut sum, mut count) = (0.0, 0);
    for rows in data.rows().chunks(2 * BATCH_SIZE) {
        let Some(masked) = masking.hide(rows.iter(), &mut random) else { continue };
        let tokens: usize = masked.positions.iter().map(Vec::len).sum();
        sum += f64::from(loss(base, bank, setup, &masked)?.into_scalar::<f32>()) * tokens as f64;
        count += tokens;
    }
    Ok(sum / count.max(1) as f64)
}
