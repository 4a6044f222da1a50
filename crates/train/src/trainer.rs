//! The trainer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_core::{Demand, Mode, TooLarge};
use burn_adapters_files::FolderClaim;
use burn_adapters_model::{AdapterBank, BankError, BaseModel, Setup};

use crate::adamw::AdamW;
use crate::batches::Order;
use crate::checkpoint::{self, Checkpoint, State};
use crate::evaluate::{evaluate_heads, labels_of, outputs, recorded};
use crate::heads::{self, heads_of};
use crate::history::rounded;
use crate::parameters::{self, Scope};
use crate::{
    Best, EvaluationRecord, Gradients, History, Metric, Observer, StepRecord, Stopped, TokenData, TrainConfig,
    TrainError, TrainingPlan, batches, identity, train_task,
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
        let _claim = self.config.checkpoints.as_ref().map(FolderClaim::new).transpose()?;
        let batches_per_epoch = train.unit_count().div_ceil(self.config.batch_size);
        let steps_per_epoch = batches_per_epoch.div_ceil(self.config.accumulation);
        let steps = steps_per_epoch.checked_mul(self.config.epochs).ok_or_else(|| TrainError::BadConfig {
            option: "epochs",
            expected: "a number of epochs whose steps can be counted",
            found: self.config.epochs.to_string(),
        })?;
        let mut run = Run {
            config: &self.config,
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
        run.resume(&device)?;
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
    /// Resumes from the newest checkpoint, if requested.
    fn resume(&mut self, device: &Device) -> Result<(), TrainError> {
        let Some(folder) = &self.config.checkpoints else { return Ok(()) };
        self.base_probe = identity::base_probe(self.model, self.train)?;
        let newest = checkpoint::list(folder)?.pop().map(|(_, path)| path);
        if let (Some(_), false) = (&newest, self.config.resume) {
            return Err(TrainError::NotEmpty { path: folder.clone() });
        }
        let Some((path, state)) = self.state_to_resume(newest)? else { return Ok(()) };
        let plain = device.clone().without_autodiff();
        let Checkpoint { mut state, parameters, moments, best } = checkpoint::load(&path, state, &plain)?;
        // In older versions the start could be the best epoch.
        state.history.best = state.history.best.filter(|best| best.epoch > 0);
        let bad = |mismatch| TrainError::BadCheckpoint {
            path: path.clone(),
            message: format!("its tensors do not fit the adapters and heads of the setup: {mismatch}"),
        };
        // The temperature of fusions is not a parameter: it depends on the step.
        let fresh = self.bank.clone();
        let at = |step, values| {
            let mut bank = fresh.clone();
            (0..step).for_each(|_| bank.cool_fusions(self.setup));
            parameters::write(bank, &self.scope, values).map_err(bad)
        };
        self.bank = at(state.step, parameters)?;
        self.best = match (best, &state.history.best) {
            (Some(values), Some(best)) => Some(at(best.step, values)?),
            (_, None) => None,
            (None, Some(_)) => Some(self.bank.clone()),
        };
        self.checkpoint = Some(path.clone());
        self.optimizer.moments = moments;
        (self.epoch, self.step, self.history) = (state.epoch, state.step, state.history);
        Ok(())
    }

    /// The newest checkpoint, or that of the finished training if the newest belongs to other training: then it was
    /// left behind when the training had finished.
    fn state_to_resume(&self, newest: Option<PathBuf>) -> Result<Option<(PathBuf, State)>, TrainError> {
        let read = |path: PathBuf| {
            let state = checkpoint::read_state(&path)?;
            self.compare(&path, &state)?;
            Ok((path, state))
        };
        let finished = self.config.finished.clone().filter(|path| self.config.resume && path.exists());
        match (newest.map(read), finished) {
            (Some(Err(error)), Some(finished)) => read(finished).map_err(|_| error).map(Some),
            (Some(newest), _) => newest.map(Some),
            (None, finished) => finished.map(read).transpose(),
        }
    }

    fn compare(&self, path: &Path, state: &State) -> Result<(), TrainError> {
        let other = |what: &str, found: String, expected: String| {
            Err(TrainError::OtherTraining { path: path.to_owned(), what: what.to_owned(), found, expected })
        };
        let none = || "none".to_owned();
        for (what, expected) in &self.made_with {
            let found = state.made_with.get(what).cloned().unwrap_or_else(none);
            if found != *expected && !(what == "epochs" && self.extends(state)) {
                return other(what, found, expected.clone());
            }
        }
        if let Some((what, found)) = state.made_with.iter().find(|(what, _)| !self.made_with.contains_key(*what)) {
            return other(what, found.clone(), none());
        }
        if !identity::same_base(state.base_probe, self.base_probe) {
            let shown = |probe: f64| format!("one that gives {probe:.6} for the first text");
            return other("the base model", shown(state.base_probe), shown(self.base_probe));
        }
        Ok(())
    }

    /// Whether this is a finished training with more epochs.
    fn extends(&self, state: &State) -> bool {
        let before: Option<usize> = state.made_with.get("epochs").and_then(|epochs| epochs.parse().ok());
        before.is_some_and(|before| {
            before < self.config.epochs && (state.epoch >= before || self.out_of_patience(&state.history))
        })
    }

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
            if observer.should_stop() {
                return Ok(Stopped::Interrupted);
            }
            observer.epoch_started(self.epoch + 1);
            if !self.one_epoch(observer)? {
                return Ok(Stopped::Interrupted);
            }
            self.epoch += 1;
            self.evaluate(observer)?;
            if let Some(path) = self.save()? {
                observer.checkpoint(&path);
            }
        }
    }

    /// Runs one epoch; returns false if the observer ended it early.
    fn one_epoch(&mut self, observer: &mut dyn Observer) -> Result<bool, TrainError> {
        let TrainConfig { batch_size, seed, accumulation, .. } = *self.config;
        let order = Order::of(self.config);
        let data = self.train.of_epoch(seed, self.epoch);
        let batches = data.batches(|lengths| batches::epoch(lengths, batch_size, order, seed, self.epoch));
        let groups = batches.chunks(accumulation);
        let last = groups.len() - 1;
        for (index, group) in groups.enumerate() {
            let record = self.one_step(&data, group, observer)?;
            observer.step(&record);
            self.history.steps.push(record);
            if index < last && observer.should_stop() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn one_step(
        &mut self,
        data: &TokenData,
        group: &[Vec<usize>],
        observer: &mut dyn Observer,
    ) -> Result<StepRecord, TrainError> {
        let mut setup = self.setup.clone().training();
        if !self.config.base_dropout {
            setup = setup.without_base_dropout();
        }
        let config = self.config;
        let warmup = config.warmup.steps(self.steps);
        let learning_rate = config.learning_rate * config.schedule.factor(self.step, warmup, self.steps);
        let examples: usize = group.iter().map(Vec::len).sum();
        let (mut loss, mut tokens, mut positions) = (0.0, 0, 0);
        let mut gradients = Gradients::default();
        let seed = batches::mix(config.seed, self.step as u64);
        for (index, indices) in group.iter().enumerate() {
            self.model.device().seed(batches::mix(seed, index as u64));
            let (outputs, pass) = match config.checkpoint_layers {
                true => recorded(self.model, &self.bank, &setup, data, indices, batches::mix(seed, index as u64))
                    .map(|(outputs, pass)| (outputs, Some(pass)))?,
                false => (outputs(self.model, &self.bank, &setup, data, indices)?, None),
            };
            let weights = &self.class_weights;
            let mut part = heads::loss(self.model, &self.bank, outputs, data, indices, group, weights)?;
            if let Some(regularization) = self.bank.regularization_loss(&setup).filter(|_| index == 0) {
                part.add(regularization);
            }
            let (value, found) = part.backward(self.model, &self.bank, pass)?;
            loss += value;
            self.check_finite("loss", loss)?;
            gradients.accumulate(found);
            let lengths = indices.iter().map(|index| data.rows()[*index].ids.len());
            tokens += lengths.clone().sum::<usize>();
            positions += indices.len() * lengths.max().unwrap_or(0);
            observer.batch(index + 1, group.len());
        }
        if !self.gradients_seen {
            self.check_gradients(&gradients, observer)?;
        }
        let gradient_norm = gradients.norm();
        self.check_finite("norm of the gradients", gradient_norm)?;
        if let Some(max_norm) = config.max_gradient_norm {
            gradients.clip(gradient_norm, max_norm);
        }
        self.bank = self.optimizer.step(learning_rate, self.bank.clone(), gradients);
        self.bank.cool_fusions(&setup);
        self.step += 1;
        Ok(StepRecord {
            step: self.step,
            epoch: self.epoch + 1,
            loss: rounded(loss),
            learning_rate: rounded(learning_rate),
            gradient_norm: rounded(gradient_norm),
            examples,
            tokens,
            positions,
        })
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
        let evaluations = evaluate_heads(self.model, &self.bank, self.setup, data, batch_size, &mut progress)?;
        let record = EvaluationRecord::new(self.step, self.epoch, &evaluations);
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

    fn save(&mut self) -> Result<Option<PathBuf>, TrainError> {
        let Some(folder) = &self.config.checkpoints else { return Ok(None) };
        let is_best = self.history.best.is_some_and(|best| best.step == self.step);
        let best = self.best.as_ref().filter(|_| !is_best);
        let state = State {
            history: self.history.clone(),
            ..State::new(self.epoch, self.step, self.made_with.clone(), self.base_probe)
        };
        let path = checkpoint::save(
            folder,
            Checkpoint {
                state,
                parameters: parameters::read(&self.bank, &self.scope)?,
                moments: self.optimizer.moments.clone(),
                best: best.map(|best| parameters::read(best, &self.scope)).transpose()?,
            },
        )?;
        if let Some(keep) = self.config.keep_checkpoints {
            checkpoint::prune(folder, keep)?;
        }
        self.checkpoint = Some(path.clone());
        Ok(Some(path))
    }
}
