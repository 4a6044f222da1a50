//! How a training begins and is saved: from the start or from a checkpoint, the same in all processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use burn_adapters_model::BaseModel;
use serde::{Deserialize, Serialize};

use super::Run;
use crate::adamw::Moments;
use crate::checkpoint::{self, Checkpoint, State, Values};
use crate::evaluate::to_vec;
use crate::processes::Topic;
use crate::shares::{floats, put};
use crate::{GroupError, TrainError, identity, parameters};

/// What the first process tells the others before the first step. The numbers of all tensors follow it.
#[derive(Debug, Serialize, Deserialize)]
struct Start {
    made_with: BTreeMap<String, String>,
    base_probe: f64,
    /// The progress, if training is resumed.
    state: Option<State>,
    /// Whether the parameters of the best epoch are those of an earlier one.
    has_best: bool,
}

impl<M: BaseModel + ?Sized> Run<'_, M> {
    /// Resumes from the newest checkpoint, if requested; then all processes begin as the first one.
    pub(super) fn begin(&mut self) -> Result<(), TrainError> {
        if self.checkpoints.is_some() || !self.group.is_alone() {
            self.base_probe = identity::base_probe(self.model, self.train)?;
        }
        let found = self.checkpoints.map(|folder| self.find(folder)).transpose()?.flatten();
        if let Some((path, state)) = found {
            let mut checkpoint = checkpoint::load(&path, state, &self.device)?;
            // In older versions the start could be the best epoch.
            checkpoint.state.history.best = checkpoint.state.history.best.filter(|best| best.epoch > 0);
            let mismatch = |mismatch: Box<_>| TrainError::BadCheckpoint {
                path: path.clone(),
                message: format!("its tensors do not fit the adapters and heads of the setup: {mismatch}"),
            };
            self.restore(checkpoint).map_err(mismatch)?;
            self.checkpoint = Some(path);
        }
        if self.group.is_alone() { Ok(()) } else { self.share_start() }
    }

    /// The checkpoint to resume from.
    fn find(&self, folder: &Path) -> Result<Option<(PathBuf, State)>, TrainError> {
        let newest = checkpoint::list(folder)?.pop().map(|(_, path)| path);
        if let (Some(_), false) = (&newest, self.config.resume) {
            return Err(TrainError::NotEmpty { path: folder.to_owned() });
        }
        self.state_to_resume(newest)
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), Box<burn_adapters_tensors::Mismatch>> {
        let Checkpoint { state, parameters, moments, best } = checkpoint;
        // The temperature of fusions is not a parameter: it depends on the step.
        let fresh = self.bank.clone();
        let at = |step, values| {
            let mut bank = fresh.clone();
            (0..step).for_each(|_| bank.cool_fusions(self.setup));
            parameters::write(bank, &self.scope, values)
        };
        self.bank = at(state.step, parameters)?;
        self.best = match (best, &state.history.best) {
            (Some(values), Some(best)) => Some(at(best.step, values)?),
            (_, None) => None,
            (None, Some(_)) => Some(self.bank.clone()),
        };
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
        let longer = |what: &str| what == "epochs" && self.extends(state);
        let (what, found, expected) = match difference(&state.made_with, &self.made_with, longer) {
            Some(difference) => difference,
            None if identity::same_base(state.base_probe, self.base_probe) => return Ok(()),
            None => ("the base model".to_owned(), shown_probe(state.base_probe), shown_probe(self.base_probe)),
        };
        Err(TrainError::OtherTraining { path: path.to_owned(), what, found, expected })
    }

    /// Whether this is a finished training with more epochs.
    fn extends(&self, state: &State) -> bool {
        let before: Option<usize> = state.made_with.get("epochs").and_then(|epochs| epochs.parse().ok());
        before.is_some_and(|before| {
            before < self.config.epochs && (state.epoch >= before || self.out_of_patience(&state.history))
        })
    }

    /// Lets all processes begin as the first one, from the same parameters; they must have the same model, data and options.
    fn share_start(&mut self) -> Result<(), TrainError> {
        let message = if self.group.is_first() { self.start()? } else { Vec::new() };
        let message = self.group.message_of_first(Topic::Start, message)?;
        if self.group.is_first() {
            return Ok(());
        }
        let rank = self.group.rank();
        let (start, values) = opened(&message).ok_or(GroupError::OutOfStep { rank: 0 })?;
        let differs = |(what, found, expected)| GroupError::Differs { rank, what, found, expected };
        if let Some(difference) = difference(&self.made_with, &start.made_with, |_| false) {
            return Err(differs(difference).into());
        }
        if !identity::same_base(self.base_probe, start.base_probe) {
            let shown = (shown_probe(self.base_probe), shown_probe(start.base_probe));
            return Err(differs(("the base model".to_owned(), shown.0, shown.1)).into());
        }
        let checkpoint = self.received(start, &values)?.ok_or(GroupError::OutOfStep { rank: 0 })?;
        self.restore(checkpoint).map_err(|_| GroupError::OutOfStep { rank: 0 })?;
        Ok(())
    }

    /// The message of the first process.
    fn start(&self) -> Result<Vec<u8>, TrainError> {
        let moments = &self.optimizer.moments;
        let state = State {
            history: self.history.clone(),
            optimizer_steps: moments.iter().map(|(path, moments)| (path.clone(), moments.steps)).collect(),
            ..State::new(self.epoch, self.step, self.made_with.clone(), self.base_probe)
        };
        let start = Start {
            made_with: self.made_with.clone(),
            base_probe: self.base_probe,
            state: Some(state).filter(|state| state.step > 0),
            has_best: self.best.is_some(),
        };
        let text = serde_json::to_vec(&start).unwrap_or_default();
        let mut message = (text.len() as u64).to_le_bytes().to_vec();
        message.extend(text);
        for bank in [Some(&self.bank), self.best.as_ref()].into_iter().flatten() {
            for (_, data) in parameters::read(bank, &self.scope)? {
                put(&mut message, &numbers(data)?);
            }
        }
        for Moments { first, second, .. } in moments.values() {
            put(&mut message, &to_vec(first.clone())?);
            put(&mut message, &to_vec(second.clone())?);
        }
        Ok(message)
    }

    /// What the first process has; `None` if the numbers are not those of this bank's parameters.
    fn received(&self, start: Start, mut values: &[f32]) -> Result<Option<Checkpoint>, TrainError> {
        let own = parameters::read(&self.bank, &self.scope)?;
        let mut take = |count: usize| {
            let (taken, rest) = values.split_at_checked(count)?;
            values = rest;
            Some(taken.to_vec())
        };
        let mut tensors = || -> Option<Values> {
            let tensor = |(path, data): (&String, &TensorData)| {
                Some((path.clone(), TensorData::new(take(data.num_elements())?, data.shape().clone())))
            };
            own.iter().map(tensor).collect()
        };
        let Some(parameters) = tensors() else { return Ok(None) };
        let best = if start.has_best { tensors() } else { None };
        let state = start.state.unwrap_or_else(|| State::new(0, 0, self.made_with.clone(), self.base_probe));
        let mut moments = BTreeMap::new();
        for (path, steps) in &state.optimizer_steps {
            let count = own.get(path).map_or(0, TensorData::num_elements);
            let mut moment = || Some(Tensor::from_data(TensorData::new(take(count)?, [count]), &self.device));
            let (Some(first), Some(second)) = (moment(), moment()) else { return Ok(None) };
            moments.insert(path.clone(), Moments { first, second, steps: *steps });
        }
        Ok(values.is_empty().then_some(Checkpoint { state, parameters, moments, best }))
    }

    /// Checks that all processes still have the same parameters.
    pub(super) fn check_parameters(&self) -> Result<(), TrainError> {
        if self.group.is_alone() {
            return Ok(());
        }
        let mut hash = identity::Fnv::new();
        for (_, data) in parameters::read(&self.bank, &self.scope)? {
            numbers(data)?.iter().for_each(|value| hash.add(value.to_bits().into()));
        }
        let own = format!("{:016x}", hash.value());
        let first = self.group.message_of_first(Topic::Parameters, own.clone().into_bytes())?;
        let first = String::from_utf8_lossy(&first).into_owned();
        if first == own {
            return Ok(());
        }
        let what = format!("the checksum of the parameters after epoch {}", self.epoch);
        Err(GroupError::Differs { rank: self.group.rank(), what, found: own, expected: first }.into())
    }

    /// Writes a checkpoint, in the first process.
    pub(super) fn save(&mut self) -> Result<Option<PathBuf>, TrainError> {
        let Some(folder) = self.checkpoints else { return Ok(None) };
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

/// The first difference between settings, with what was found and what was expected; `None` if there is none that counts.
fn difference(
    found: &BTreeMap<String, String>,
    expected: &BTreeMap<String, String>,
    may_differ: impl Fn(&str) -> bool,
) -> Option<(String, String, String)> {
    let value = |of: &BTreeMap<String, String>, what: &str| of.get(what).cloned().unwrap_or_else(|| "none".to_owned());
    let names = expected.keys().chain(found.keys().filter(|what| !expected.contains_key(*what)));
    let differs = |what: &&String| found.get(*what) != expected.get(*what) && !may_differ(what);
    names.into_iter().find(differs).map(|what| (what.clone(), value(found, what), value(expected, what)))
}

fn shown_probe(probe: f64) -> String {
    format!("one that gives {probe:.6} for the first text")
}

fn opened(message: &[u8]) -> Option<(Start, Vec<f32>)> {
    let (length, rest) = message.split_first_chunk()?;
    let (text, values) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((serde_json::from_slice(text).ok()?, floats(values)?))
}

fn numbers(data: TensorData) -> Result<Vec<f32>, TrainError> {
    let data = data.convert::<f32>();
    data.try_into_vec().map_err(|error| TrainError::Device(error.to_string()))
}
