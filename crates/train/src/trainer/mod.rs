//! The trainer.

mod resume;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_core::{Demand, Mode, TooLarge};
use burn_adapters_files::FolderClaim;
use burn_adapters_model::{AdapterBank, BankError, BaseModel, Setup};

use burn_adapters_tensors::trained_parameters;

use crate::adamw::AdamW;
use crate::batches::Order;
use crate::evaluate::{evaluate_in, labels_of, outputs, recorded};
use crate::heads::{self, heads_of};
use crate::history::rounded;
use crate::parameters::{self, Scope};
use crate::processes::Topic;
use crate::shares::{self, Counts, Layout, StepSum};
use crate::sums::{PairwiseSum, Partial};
use crate::{
    Best, EvaluationRecord, Gradients, History, Metric, Observer, ProcessGroup, StepRecord, Stopped, TokenData,
    TrainConfig, TrainError, TrainingPlan, batches, identity, train_task,
};

/// Trains the adapter and the head of one setup, or several of each. See the [crate] for an example.
///
/// With one head per branch of a `Parallel`, the loss is the sum of the heads' losses, as in the reference; the base
/// model runs once for all branches up to the first layer where one has an adapter. The branches share no parameters,
/// so each is trained as if it were alone (except for gradient clipping, which uses the global norm).
///
/// On one CPU backend, training is reproducible to the last bit: the same seed gives the same files. The order of the
/// texts and the dropout of each step depend on the seed and the step. For dropout, the backend's own generator is
/// seeded; there is one per process, so nothing else may draw from it during training.
#[derive(Debug, Clone, Default)]
pub struct Trainer {
    config: TrainConfig,
}

/// The result of training.
#[derive(Debug)]
pub struct Trained {
    /// The bank, with the parameters of the best epoch if there is a metric for it, otherwise those of the last step.
    pub bank: AdapterBank,
    /// The history.
    pub history: History,
    /// The reason why training ended.
    pub stopped: Stopped,
    /// The number of optimizer steps completed before training was resumed; all of them if it had finished.
    pub resumed_after: usize,
    /// The newest checkpoint of this training, if it writes checkpoints.
    pub checkpoint: Option<PathBuf>,
}

impl Trainer {
    /// A trainer with these options.
    pub fn new(config: TrainConfig) -> Self {
        Self { config }
    }

    /// The options.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Trains the adapters and the heads of `setup` (an inference setup): of the adapters only those of
    /// [`Setup::training_only`], or with [`Setup::train_fusions`] its fusions and heads. Everything else in the bank is
    /// frozen. The base model is never changed.
    ///
    /// All heads learn the labels of the data, except those that have their own ([`TokenData::with_head_labels`]).
    ///
    /// # Errors
    /// If an option is out of range, the bank lacks the adapter or head or is on a device without autodiff, the data
    /// has no labels or they do not fit the head, a checkpoint belongs to different training or cannot be read or
    /// written, the model fails, or the loss becomes NaN or infinite. The bank is then lost; clone it before (which is
    /// cheap) to keep it.
    pub fn train(
        &self,
        model: &(impl BaseModel + ?Sized),
        bank: AdapterBank,
        setup: &Setup,
        train: &TokenData,
        evaluation: Option<&TokenData>,
        observer: &mut dyn Observer,
    ) -> Result<Trained, TrainError> {
        self.train_in(&ProcessGroup::alone(), model, bank, setup, train, evaluation, observer)
    }

    /// Trains in several processes: each calls this with the same arguments, and all end with the same bank. Each process has
    /// the whole base model and computes its share of every step, so that a step sees as many texts as with one process.
    ///
    /// A step's batches are divided among the processes, or if there are fewer of them than processes, the batches are divided,
    /// too. The result is that of one process to the last bit if the batches need not be divided. If they are, it is that of
    /// one process with smaller batches and more accumulation, where the order of the texts is the same; dropout draws other
    /// numbers otherwise.
    ///
    /// The first process alone reads and writes checkpoints. All take part in evaluation.
    ///
    /// # Errors
    /// As [`train`](Self::train); if processes differ in model, data or options, or another process failed. After an error the
    /// group must be dropped or [left](ProcessGroup::leave), so that the others end, too.
    #[allow(clippy::too_many_arguments)]
    pub fn train_in(
        &self,
        group: &ProcessGroup,
        model: &(impl BaseModel + ?Sized),
        mut bank: AdapterBank,
        setup: &Setup,
        train: &TokenData,
        evaluation: Option<&TokenData>,
        observer: &mut dyn Observer,
    ) -> Result<Trained, TrainError> {
        self.config.check()?;
        self.check(model, &bank, setup, train, evaluation)?;
        let heads = heads_of(&bank, setup)?;
        let class_weights = heads::weights(self.config.class_weights.as_ref(), &bank, &heads, train)?;
        bank.train_only(setup).map_err(|error| match error {
            BankError::NotAutodiff => TrainError::NotAutodiff,
            error => error.into(),
        })?;
        let scope = Scope::new(setup);
        let found = parameters::Found::of(&bank, &scope);
        let device = found.device.ok_or(TrainError::NothingToTrain)?;
        check_devices(&device, &model.device())?;
        check_memory(train, self.config.batch_size, bank.spec().hidden_size)?;
        if found.trained == 0 {
            return Err(TrainError::NothingToTrain);
        }

        // Anything that would make a checkpoint fail is detected before the first step.
        let checkpoints = self.config.checkpoints.as_deref().filter(|_| group.is_first());
        let _claim = checkpoints.map(FolderClaim::new).transpose()?;
        let batches_per_epoch = train.unit_count().div_ceil(self.config.batch_size);
        let steps_per_epoch = batches_per_epoch.div_ceil(self.config.accumulation);
        let steps = steps_per_epoch.checked_mul(self.config.epochs).ok_or_else(|| TrainError::BadConfig {
            option: "epochs",
            expected: "a number of epochs whose steps can be counted",
            found: self.config.epochs.to_string(),
        })?;
        let layout = trained_parameters(&bank, |_| true).into_iter();
        let mut run = Run {
            config: &self.config,
            group,
            checkpoints,
            layout: Layout::new(layout.map(|parameter| (parameter.path.clone(), parameter.elements()))),
            device: device.without_autodiff(),
            model,
            setup,
            train,
            evaluation,
            scope,
            class_weights,
            steps,
            made_with: identity::made_with(&self.config, &bank, setup, train, evaluation)?,
            base_probe: 0.0,
            bank,
            best: None,
            optimizer: AdamW::new(self.config.adamw),
            history: History::default(),
            gradients_seen: false,
            epoch: 0,
            step: 0,
            checkpoint: None,
        };
        run.begin()?;
        let resumed_after = run.step;
        observer.started(&TrainingPlan {
            epochs: self.config.epochs,
            examples: train.unit_count(),
            evaluation_examples: evaluation.map_or(0, TokenData::unit_count),
            steps_per_epoch,
            steps: run.steps,
            done_steps: run.step,
            parameters: found.trained,
        });
        for data in [Some(train), evaluation].into_iter().flatten() {
            for truncation in [data.truncation(), data.target_truncation()].into_iter().flatten() {
                observer.truncated(truncation);
            }
        }
        let stopped = run.epochs(observer)?;
        let Run { best, bank, history, checkpoint, .. } = run;
        Ok(Trained { bank: best.unwrap_or(bank), history, stopped, resumed_after, checkpoint })
    }

    fn check(
        &self,
        model: &(impl BaseModel + ?Sized),
        bank: &AdapterBank,
        setup: &Setup,
        train: &TokenData,
        evaluation: Option<&TokenData>,
    ) -> Result<(), TrainError> {
        if setup.mode() == Mode::Training {
            let (expected, found) =
                ("at inference: training is switched on by the trainer", "a setup in training".into());
            return Err(TrainError::BadConfig { option: "setup", expected, found });
        }
        let heads = heads_of(bank, setup)?;
        for data in [Some(train), evaluation].into_iter().flatten() {
            data.check_model(model)?;
            heads.iter().try_for_each(|head| labels_of(data, head).map(drop))?;
        }
        let Some(metric) = self.config.best else { return Ok(()) };
        if evaluation.is_none() {
            return Err(TrainError::NoEvaluationData { metric });
        }
        for head in &heads {
            let task = train_task(bank.head(head)?.config());
            if metric != Metric::LOSS && !task.metrics().contains(&metric) {
                let known = std::iter::once(&Metric::LOSS).chain(task.metrics()).map(|metric| metric.name()).collect();
                return Err(TrainError::NoSuchMetric { task: task.task().name(), metric, known });
            }
        }
        Ok(())
    }
}

fn check_devices(bank: &Device, model: &Device) -> Result<(), TrainError> {
    if !bank.is_autodiff() {
        return Err(TrainError::NotAutodiff);
    }
    if bank.clone().without_autodiff() != model.clone().without_autodiff() {
        let (bank, model) = (Box::new(bank.clone()), Box::new(model.clone()));
        return Err(TrainError::DeviceMismatch { model, bank });
    }
    Ok(())
}

/// Checks that the hidden states of a batch can fit into memory at all. A layer needs at least queries, keys, values
/// and a feed-forward block: eight times the hidden states. This is far less than a step needs, so that nothing that
/// fits is refused.
fn check_memory(train: &TokenData, batch_size: usize, hidden_size: usize) -> Result<(), TrainError> {
    let rows = batch_size.min(train.len());
    let longest = train.lengths().into_iter().max().unwrap_or(0);
    let mut demand = Demand::default();
    demand.add_times(&[rows, longest, hidden_size], 8);
    demand.check("").map_err(|TooLarge { needed, available, .. }| TrainError::BatchTooLarge {
        rows,
        longest,
        needed,
        available,
    })
}

/// Training in progress.
struct Run<'a, M: ?Sized> {
    config: &'a TrainConfig,
    group: &'a ProcessGroup,
    /// The folder of the checkpoints; the first process alone has it.
    checkpoints: Option<&'a Path>,
    layout: Layout,
    /// The device of the parameters, without autodiff.
    device: Device,
    model: &'a M,
    setup: &'a Setup,
    train: &'a TokenData,
    evaluation: Option<&'a TokenData>,
    scope: Scope,
    class_weights: heads::Weights,
    /// The total number of optimizer steps.
    steps: usize,
    made_with: BTreeMap<String, String>,
    base_probe: f64,
    bank: AdapterBank,
    /// The bank of the best epoch so far.
    best: Option<AdapterBank>,
    optimizer: AdamW,
    history: History,
    /// Whether the first backward pass has been checked.
    gradients_seen: bool,
    /// The number of completed epochs.
    epoch: usize,
    /// The number of completed optimizer steps.
    step: usize,
    /// The newest checkpoint.
    checkpoint: Option<PathBuf>,
}

impl<M: BaseModel + ?Sized> Run<'_, M> {
    fn epochs(&mut self, observer: &mut dyn Observer) -> Result<Stopped, TrainError> {
        if self.step == 0 && self.config.evaluate_at_start {
            self.evaluate(observer)?;
        }
        loop {
            if self.epoch >= self.config.epochs {
                return Ok(Stopped::Finished);
            }
            if self.out_of_patience(&self.history) {
                return Ok(Stopped::Early);
            }
            if self.group.any(Topic::Stop, observer.should_stop())? {
                return Ok(Stopped::Interrupted);
            }
            observer.epoch_started(self.epoch + 1);
            if !self.one_epoch(observer)? {
                return Ok(Stopped::Interrupted);
            }
            self.epoch += 1;
            self.check_parameters()?;
            self.evaluate(observer)?;
            if let Some(path) = self.save()? {
                observer.checkpoint(&path);
            }
        }
    }

    /// Runs one epoch; returns false if the observer of a process ended it early.
    fn one_epoch(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let TrainConfig { batch_size, seed, accumulation, .. } = *self.config;
        let order = Order::of(self.config);
        let data = self.train.of_epoch(seed, self.epoch);
        let mut steps = Vec::new();
        let parts = data.batches(|lengths| {
            let batches = batches::epoch(lengths, batch_size, order, seed, self.epoch);
            let parts;
            (parts, steps) = shares::parts(batches, batch_size, accumulation, self.group.size());
            parts
        });
        let last = steps.len() - 1;
        for (index, step) in steps.into_iter().enumerate() {
            let (record, mut stop) = self.one_step(&data, &parts[step], observer)?;
            observer.step(&record);
            self.history.steps.push(record);
            if self.group.is_alone() && index < last {
                stop = observer.should_stop();
            }
            if index < last && stop {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs one step; returns whether training should stop after it.
    fn one_step(
        &mut self,
        data: &TokenData,
        parts: &[Vec<usize>],
        observer: &mut dyn Observer,
    ) -> Result<(StepRecord, bool), TrainError> {
        let mut setup = self.setup.clone().training();
        if !self.config.base_dropout {
            setup = setup.without_base_dropout();
        }
        let config = self.config;
        let warmup = config.warmup.steps(self.steps);
        let learning_rate = config.learning_rate * config.schedule.factor(self.step, warmup, self.steps);
        let (sum, mut counts) = self.own_share(&setup, data, parts, observer)?;
        // One process asks after the step.
        counts.stop = !self.group.is_alone() && observer.should_stop();
        let ((mut gradients, loss), counts) = shares::add_up(self.group, &self.layout, sum, counts, &self.device)?;
        self.check_finite("loss", loss)?;
        if !self.gradients_seen {
            self.check_gradients(&gradients, observer)?;
        }
        // Machines may round a norm differently.
        let gradient_norm = self.group.number_of_first(Topic::Norm, gradients.norm())?;
        self.check_finite("norm of the gradients", gradient_norm)?;
        if let Some(max_norm) = config.max_gradient_norm {
            gradients.clip(gradient_norm, max_norm);
        }
        self.bank = self.optimizer.step(learning_rate, self.bank.clone(), gradients);
        self.bank.cool_fusions(&setup);
        self.step += 1;
        let record = StepRecord {
            step: self.step,
            epoch: self.epoch + 1,
            loss: rounded(loss),
            learning_rate: rounded(learning_rate),
            gradient_norm: rounded(gradient_norm),
            examples: parts.iter().map(Vec::len).sum(),
            tokens: counts.tokens,
            positions: counts.positions,
        };
        Ok((record, counts.stop))
    }

    /// The gradients and the loss of the parts of a step that this process computes.
    fn own_share(
        &self,
        setup: &Setup,
        data: &TokenData,
        parts: &[Vec<usize>],
        observer: &mut dyn Observer,
    ) -> Result<(PairwiseSum<StepSum>, Counts), TrainError> {
        let (mut sum, mut counts) = (PairwiseSum::new(), Counts::default());
        let seed = batches::mix(self.config.seed, self.step as u64);
        let own = shares::share(parts.len(), self.group.rank(), self.group.size());
        for (done, part) in own.clone().enumerate() {
            let (indices, seed) = (&parts[part], batches::mix(seed, part as u64));
            self.model.device().seed(seed);
            let (outputs, pass) = match self.config.checkpoint_layers {
                true => recorded(self.model, &self.bank, setup, data, indices, seed)
                    .map(|(outputs, pass)| (outputs, Some(pass)))?,
                false => (outputs(self.model, &self.bank, setup, data, indices)?, None),
            };
            let weights = &self.class_weights;
            let mut loss = heads::loss(self.model, &self.bank, outputs, data, indices, parts, weights)?;
            if let Some(regularization) = self.bank.regularization_loss(setup).filter(|_| part == 0) {
                loss.add(regularization);
            }
            let (value, gradients) = loss.backward(self.model, &self.bank, pass)?;
            if self.group.is_alone() {
                self.check_finite("loss", value)?;
            }
            sum.push(Partial::one(part, (gradients, value)));
            let lengths = indices.iter().map(|index| data.rows()[*index].ids.len());
            counts.tokens += lengths.clone().sum::<usize>();
            counts.positions += indices.len() * lengths.max().unwrap_or(0);
            observer.batch(done + 1, own.len());
        }
        Ok((sum, counts))
    }

    /// After the first backward pass: checks that the parameters to train have a gradient. A gradient of 0 may be
    /// correct (a LoRA's `A` while its `B` is 0), and is not an error.
    fn check_gradients(&mut self, gradients: &Gradients, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.gradients_seen = true;
        let trained = parameters::trained_beside_heads(&self.bank, &self.scope);
        let count = trained.len();
        let without: Vec<String> = trained.into_iter().filter(|path| !gradients.contains(path)).collect();
        match without.len() {
            0 => {}
            missing if missing == count => return Err(TrainError::NoGradient { tensors: without }),
            _ => observer.without_gradient(&without),
        }
        Ok(())
    }

    fn check_finite(&self, what: &'static str, value: f64) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let (step, epoch, learning_rate) = (self.step + 1, self.epoch + 1, self.config.learning_rate);
        Err(TrainError::Diverged { what, value, step, epoch, learning_rate })
    }

    /// Evaluates, and keeps the parameters if they are the best so far. Those of the start do not compete, and of
    /// equally good ones the latest are kept: untrained parameters must not pass for trained ones.
    fn evaluate(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let Some(data) = self.evaluation else { return Ok(()) };
        let batch_size = self.config.evaluation_batch_size;
        let mut progress = |done, total| observer.evaluating(done, total);
        let evaluations = evaluate_in(self.group, self.model, &self.bank, self.setup, data, batch_size, &mut progress)?;
        let record = EvaluationRecord::new(self.step, self.epoch, &evaluations);
        // All processes decide by the same numbers.
        let record = self.group.value_of_first(Topic::Record, record)?;
        observer.evaluated(&record, &evaluations);
        if let Some(metric) = self.config.best.filter(|_| self.epoch > 0) {
            let value = record.metric(metric).unwrap_or(f64::NAN);
            if self.history.best.is_none_or(|best| !metric.is_better(best.value, value)) && value.is_finite() {
                self.history.best = Some(Best { epoch: self.epoch, step: self.step, metric, value });
                self.best = Some(self.bank.clone());
            }
        }
        self.history.evaluations.push(record);
        Ok(())
    }

    fn out_of_patience(&self, history: &History) -> bool {
        let (Some(patience), Some(metric)) = (self.config.patience, self.config.best) else { return false };
        history.evaluations_without_gain(metric) >= patience
    }
}
