//! The prediction heads of a setup.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_composition::{Composition, HeadSetup};
use burn_adapters_core::{Output, Reads};
use burn_adapters_heads::Logits;

use crate::{AdapterBank, BankError, Setup};

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
    /// # Errors
    /// If a head does not exist, the heads do not fit the batch, or a head reads a pooled output that the model lacks.
    pub fn logits(&self, setup: &Setup, output: &Output) -> Result<Vec<HeadLogits>, BankError> {
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
        let states = States { bank: self, setup, output };
        match setup.heads() {
            None | Some(HeadSetup::Unnamed) => {
                let mut names = self.head_names();
                match (names.next(), names.next()) {
                    (Some(name), None) => Ok(vec![states.part(name, 0..batch, 0..batch)?]),
                    _ => Err(BankError::WhichHead { known: self.head_names().map(str::to_owned).collect() }),
                }
            }
            Some(HeadSetup::One(name)) => Ok(vec![states.part(&name, 0..batch, 0..batch)?]),
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
                        |(index, name): (usize, &String)| states.part(name, index * size..(index + 1) * size, 0..size);
                    return names.iter().enumerate().map(branch).collect();
                }
                names.iter().map(|name| states.part(name, 0..batch, 0..batch)).collect()
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
                    states.part(name, rows.clone(), rows)
                };
                heads.iter().zip(&batch_sizes).map(part).collect()
            }
            Some(HeadSetup::Route(route)) => {
                if route.rows().len() != batch {
                    return Err(BankError::HeadRows { expected: batch, found: route.rows().len() });
                }
                let groups = route.groups();
                let named = groups.into_iter().filter_map(|(name, rows)| Some((name?, rows)));
                named.map(|(name, rows)| states.rows(name, rows)).collect()
            }
        }
    }
}

struct States<'a> {
    bank: &'a AdapterBank,
    setup: &'a Setup,
    output: &'a Output,
}

impl States<'_> {
    fn part(&self, name: &str, taken: Range<usize>, rows: Range<usize>) -> Result<HeadLogits, BankError> {
        if taken == (0..self.output.hidden.dims()[0]) {
            return self.forward(name, rows.collect(), self.output);
        }
        let hidden = self.output.hidden.clone().narrow(0, taken.start, taken.len());
        let pooled = self.output.pooled.clone().map(|pooled| pooled.narrow(0, taken.start, taken.len()));
        let tokens = self.output.tokens[taken].to_vec();
        self.forward(name, rows.collect(), &Output { hidden, pooled, tokens, ..self.output.clone() })
    }

    fn rows(&self, name: &str, rows: Vec<usize>) -> Result<HeadLogits, BankError> {
        let data: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let device = self.output.hidden.device().without_autodiff();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(data, [rows.len()]), &device);
        let hidden = self.output.hidden.clone().select(0, indices.clone());
        let pooled = self.output.pooled.clone().map(|pooled| pooled.select(0, indices));
        let tokens = rows.iter().map(|row| self.output.tokens[*row].clone()).collect();
        self.forward(name, rows, &Output { hidden, pooled, tokens, ..self.output.clone() })
    }

    fn forward(&self, name: &str, rows: Vec<usize>, output: &Output) -> Result<HeadLogits, BankError> {
        let head = self.bank.head_for(name, self.setup.mode())?;
        let failed = |source| BankError::Head { name: name.to_owned(), source };
        let logits = head.forward(output, self.setup.mode()).map_err(failed)?;
        Ok(HeadLogits { head: name.to_owned(), rows, logits })
    }
}
