//! The prediction heads of a setup.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_core::{Mode, Output, Reads};
use burn_adapters_heads::{HeadError, Logits, token_states};

use crate::{AdapterBank, BankError, BaseModel, Hooks, Setup};

/// For heads that need no model.
const NO_MODEL: Option<&dyn BaseModel> = None;

/// The logits of one head for some rows of the batch.
#[derive(Debug, Clone)]
pub struct HeadLogits {
    /// The head's name.
    pub head: String,
    /// The rows of the batch that it computed, in the order of its logits.
    pub rows: Vec<usize>,
    /// A vector for each row, or for each token of each row, as the head's task defines.
    pub logits: Logits,
}

impl AdapterBank {
    /// The positions that the heads of a setup read, so that a base model may leave the others uncomputed.
    pub fn reads(&self, setup: &Setup) -> Reads {
        let names: Vec<String> = match setup.heads() {
            None | Some(HeadSetup::Unnamed) => self.head_names().map(str::to_owned).collect(),
            Some(heads) => heads.names().into_iter().map(str::to_owned).collect(),
        };
        let heads = names.iter().filter_map(|name| self.head(name).ok());
        heads.fold(Reads::First, |reads, head| reads.and(head.reads()))
    }

    /// The logits of every head of a setup. A setup has one head for the whole batch, several heads on the same output, one
    /// head for each branch of a `Parallel`, heads for parts of the batch, or a head for each row (`Route`; rows without an
    /// adapter have none).
    ///
    /// The output has one entry per row; under `Parallel` it has the rows of all branches, `branches · batch`.
    ///
    /// Before the last layer of a language-model head, the states pass the inverse of the invertible adapter that acted on
    /// the embeddings of their row.
    ///
    /// # Errors
    /// If a head does not exist or is the model's own (see [`outputs`](Self::outputs)), the heads do not fit the batch, or a
    /// head reads a pooled output that the model lacks.
    pub fn logits(&self, setup: &Setup, output: &Output) -> Result<Vec<HeadLogits>, BankError> {
        let mode = setup.mode();
        let inverting = self.inverting(setup)?;
        let mut found = Vec::new();
        for part in self.parts(setup, output)? {
            let head = self.head_for(&part.head, mode)?;
            let failed = |source| BankError::Head { name: part.head.clone(), source };
            let logits = if head.config().head_type.is_language_model() {
                let (states, lengths) = self.states(NO_MODEL, setup, inverting.as_ref(), &part, output, None)?;
                Logits::new(head.at_output(states, mode).map_err(failed)?, lengths).map_err(failed)?
            } else {
                head.forward(&part.of(output), mode).map_err(failed)?
            };
            found.push(HeadLogits { head: part.head, rows: part.rows, logits });
        }
        Ok(found)
    }

    /// As [`logits`](Self::logits), but of a language-model head the states before its last layer, because the logits of a
    /// batch over a whole vocabulary may be too many at once: [`token_logits`](Self::token_logits) computes them.
    ///
    /// `wanted` is called with the head's name and a row of the batch, and returns the numbers of the tokens, in order, whose
    /// logits are needed; of all tokens if it is missing.
    ///
    /// # Errors
    /// As [`logits`](Self::logits), but heads that are the model's own are supported; if a row does not have a wanted token,
    /// or no token is wanted.
    pub fn outputs(
        &self,
        model: &(impl BaseModel + ?Sized),
        setup: &Setup,
        output: &Output,
        mut wanted: Option<Wanted<'_>>,
    ) -> Result<Vec<HeadOutput>, BankError> {
        let mode = setup.mode();
        let inverting = self.inverting(setup)?;
        let mut found = Vec::new();
        for part in self.parts(setup, output)? {
            let head = self.head_for(&part.head, mode)?;
            if !head.config().head_type.is_language_model() {
                let failed = |source| BankError::Head { name: part.head.clone(), source };
                let logits = head.forward(&part.of(output), mode).map_err(failed)?;
                found.push(HeadOutput::Logits(HeadLogits { head: part.head, rows: part.rows, logits }));
                continue;
            }
            let wanted = wanted
                .as_mut()
                .map(|wanted| part.rows.iter().map(|row| wanted(&part.head, *row)).collect::<Vec<Vec<usize>>>());
            let inverting = inverting.as_ref();
            let (states, lengths) = self.states(Some(model), setup, inverting, &part, output, wanted.as_deref())?;
            found.push(HeadOutput::States(TokenStates { head: part.head, rows: part.rows, states, lengths }));
        }
        Ok(found)
    }

    /// The logits of a language-model head, from [`TokenStates`] or a part of them: `[states, embedding]` to
    /// `[states, vocabulary]`.
    ///
    /// # Errors
    /// If there is no such head, the states have another width, or the head is the model's own and the model has none.
    pub fn token_logits(
        &self,
        model: &(impl BaseModel + ?Sized),
        head: &str,
        states: Tensor<2>,
        mode: Mode,
    ) -> Result<Tensor<2>, BankError> {
        let found = self.head_for(head, mode)?;
        let failed = |source| BankError::Head { name: head.to_owned(), source };
        if found.is_of_model() {
            return model.output_embeddings(states).ok_or_else(|| failed(HeadError::OfModel));
        }
        found.at_output(states, mode).map_err(failed)
    }

    /// The states of tokens before the last layer of a part's head.
    fn states<M: BaseModel + ?Sized>(
        &self,
        model: Option<&M>,
        setup: &Setup,
        inverting: Option<&Hooks<'_>>,
        part: &Part,
        output: &Output,
        wanted: Option<&[Vec<usize>]>,
    ) -> Result<(Tensor<2>, Vec<usize>), BankError> {
        let head = self.head_for(&part.head, setup.mode())?;
        let failed = |source| BankError::Head { name: part.head.clone(), source };
        let (states, lengths) = token_states(&part.of(output), wanted).map_err(failed)?;
        let states = match (head.is_of_model(), model) {
            (false, _) => head.before_output(states, setup.mode()).map_err(failed)?,
            (true, Some(model)) => model.output_states(states),
            (true, None) => return Err(failed(HeadError::OfModel)),
        };
        let [batch, _, _] = output.hidden.dims();
        let inverts = if head.is_of_model() { self.spec().output_layer.inverts } else { head.inverts() };
        let inverting = inverting.filter(|_| inverts);
        let states = match inverting {
            Some(hooks) => hooks.run(|hooks| hooks.before_output(states, &part.taken, &lengths, batch))?,
            None => states,
        };
        Ok((states, lengths))
    }

    /// The hooks of a setup with an invertible adapter.
    fn inverting(&self, setup: &Setup) -> Result<Option<Hooks<'_>>, BankError> {
        let inverts = |name: &&str| self.adapter(name).is_ok_and(|adapter| adapter.invertible.is_some());
        setup.adapter_names().iter().any(inverts).then(|| self.hooks(setup)).transpose()
    }

    /// The heads of a setup, with the rows that each reads.
    fn parts(&self, setup: &Setup, output: &Output) -> Result<Vec<Part>, BankError> {
        let [batch, sequence, _] = output.hidden.dims();
        let misfit = |what, expected: String, found: usize| {
            Err(BankError::Misfit { at: "the heads".into(), what, expected, found: found.to_string() })
        };
        if batch == 0 || sequence == 0 {
            return misfit("hidden states", "at least one row and position".into(), 0);
        }
        if let Some([rows, _]) = output.pooled.as_ref().map(|pooled| pooled.dims()).filter(|[rows, _]| *rows != batch) {
            return misfit("pooled states with rows", batch.to_string(), rows);
        }
        if output.tokens.len() != batch {
            return misfit("the places of tokens with rows", batch.to_string(), output.tokens.len());
        }
        let part = |head: &str, taken: Range<usize>, rows: Range<usize>| Part {
            head: head.to_owned(),
            taken: taken.collect(),
            rows: rows.collect(),
        };
        match setup.heads() {
            None | Some(HeadSetup::Unnamed) => {
                let mut names = self.head_names();
                match (names.next(), names.next()) {
                    (Some(name), None) => Ok(vec![part(name, 0..batch, 0..batch)]),
                    _ => Err(BankError::WhichHead { known: self.head_names().map(str::to_owned).collect() }),
                }
            }
            Some(HeadSetup::One(name)) => Ok(vec![part(&name, 0..batch, 0..batch)]),
            Some(HeadSetup::Several(names)) => {
                let branches = setup.composition().map_or(1, Composition::parallel_channels);
                if branches > 1 && branches != names.len() {
                    return Err(BankError::HeadBranches { expected: branches, found: names.len() });
                }
                if branches > 1 && !batch.is_multiple_of(branches) {
                    return Err(BankError::Rows { block: "Parallel", expected: branches, found: batch });
                }
                if branches > 1 {
                    let size = batch / branches;
                    let branch =
                        |(index, name): (usize, &String)| part(name, index * size..(index + 1) * size, 0..size);
                    return Ok(names.iter().enumerate().map(branch).collect());
                }
                Ok(names.iter().map(|name| part(name, 0..batch, 0..batch)).collect())
            }
            Some(HeadSetup::BatchSplit { heads, batch_sizes }) => {
                let sum: usize = batch_sizes.iter().sum();
                if sum != batch {
                    return Err(BankError::HeadRows { expected: batch, found: sum });
                }
                let mut start = 0;
                let part = |(name, size): (&String, &usize)| {
                    let rows = start..start + size;
                    start = rows.end;
                    part(name, rows.clone(), rows)
                };
                Ok(heads.iter().zip(&batch_sizes).map(part).collect())
            }
            Some(HeadSetup::Route(route)) => {
                if route.rows().len() != batch {
                    return Err(BankError::HeadRows { expected: batch, found: route.rows().len() });
                }
                let groups = route.groups().into_iter().filter_map(|(name, rows)| Some((name?, rows)));
                Ok(groups.map(|(name, rows)| Part { head: name.to_owned(), taken: rows.clone(), rows }).collect())
            }
        }
    }
}

/// Which tokens of a row, by the head's name and the row's number in the batch.
pub type Wanted<'a> = &'a mut dyn FnMut(&str, usize) -> Vec<usize>;

/// What a head gives for a batch.
#[derive(Debug, Clone)]
pub enum HeadOutput {
    /// Its logits.
    Logits(HeadLogits),
    /// Of a language-model head, the states that its last layer reads.
    States(TokenStates),
}

/// The states of tokens that the last layer of a language-model head reads.
#[derive(Debug, Clone)]
pub struct TokenStates {
    /// The head's name.
    pub head: String,
    /// The rows of the batch, in the order of the states.
    pub rows: Vec<usize>,
    /// The states, row by row: `[Σ lengths, embedding]`.
    pub states: Tensor<2>,
    /// The number of states of each row.
    pub lengths: Vec<usize>,
}

/// A head, and the rows that it reads.
struct Part {
    head: String,
    /// The rows of the output.
    taken: Vec<usize>,
    /// The rows of the batch that these are.
    rows: Vec<usize>,
}

impl Part {
    /// Its part of an output.
    fn of(&self, output: &Output) -> Output {
        let [batch, _, _] = output.hidden.dims();
        if self.taken.len() == batch && self.taken.iter().enumerate().all(|(index, row)| index == *row) {
            return output.clone();
        }
        let tokens = self.taken.iter().map(|row| output.tokens[*row].clone()).collect();
        let first = self.taken.first().copied().unwrap_or(0);
        let (hidden, pooled) = if self.taken.iter().enumerate().all(|(index, row)| first + index == *row) {
            let count = self.taken.len();
            let pooled = output.pooled.clone().map(|pooled| pooled.narrow(0, first, count));
            (output.hidden.clone().narrow(0, first, count), pooled)
        } else {
            let data: Vec<i32> = self.taken.iter().map(|row| *row as i32).collect();
            let device = output.hidden.device().without_autodiff();
            let indices = Tensor::<1, Int>::from_data(TensorData::new(data, [self.taken.len()]), &device);
            let pooled = output.pooled.clone().map(|pooled| pooled.select(0, indices.clone()));
            (output.hidden.clone().select(0, indices), pooled)
        };
        Output { hidden, pooled, tokens, ..output.clone() }
    }
}
