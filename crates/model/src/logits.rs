//! The prediction heads of a setup.

use std::ops::Range;

use burn::tensor::{Int, Tensor, TensorData};
use burn_adapters_composition::{Composition, HeadSetup};

use crate::{AdapterBank, BankError, Setup};

/// What one head says of some rows of the batch.
#[derive(Debug, Clone)]
pub struct HeadLogits {
    /// The head's name.
    pub head: String,
    /// The rows of the batch that it was asked about, in the order of its logits.
    pub rows: Vec<usize>,
    /// `[rows, labels]`.
    pub logits: Tensor<2>,
}

impl AdapterBank {
    /// The logits of every head of a setup: of one head on the whole batch, of several, of one for each branch of a
    /// `Parallel`, of heads for parts of the batch, or of each row's own (`Route`; rows without an adapter have none).
    ///
    /// # Shapes
    /// - hidden: the model's output, `[batch, sequence, hidden]`; under `Parallel` `[branches · batch, …]`
    /// - pooled: `[batch, hidden]` likewise
    ///
    /// # Errors
    /// If a head does not exist, the heads do not fit the batch, or one reads a pooled output that is not there.
    pub fn logits(
        &self,
        setup: &Setup,
        hidden: Tensor<3>,
        pooled: Option<Tensor<2>>,
    ) -> Result<Vec<HeadLogits>, BankError> {
        let [batch, sequence, _] = hidden.dims();
        let misfit = |what, expected: String, found: usize| {
            Err(BankError::Misfit { at: "the heads".into(), what, expected, found: found.to_string() })
        };
        if batch == 0 || sequence == 0 {
            return misfit("hidden states", "at least one row and position".into(), 0);
        }
        if let Some([rows, _]) = pooled.as_ref().map(|pooled| pooled.dims()).filter(|[rows, _]| *rows != batch) {
            return misfit("pooled states with rows", batch.to_string(), rows);
        }
        let states = States { bank: self, setup, hidden, pooled };
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
    hidden: Tensor<3>,
    pooled: Option<Tensor<2>>,
}

impl States<'_> {
    fn part(&self, name: &str, taken: Range<usize>, rows: Range<usize>) -> Result<HeadLogits, BankError> {
        if taken == (0..self.hidden.dims()[0]) {
            return self.forward(name, rows.collect(), self.hidden.clone(), self.pooled.clone());
        }
        let hidden = self.hidden.clone().narrow(0, taken.start, taken.len());
        let pooled = self.pooled.clone().map(|pooled| pooled.narrow(0, taken.start, taken.len()));
        self.forward(name, rows.collect(), hidden, pooled)
    }

    fn rows(&self, name: &str, rows: Vec<usize>) -> Result<HeadLogits, BankError> {
        let data: Vec<i32> = rows.iter().map(|row| *row as i32).collect();
        let device = self.hidden.device().without_autodiff();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(data, [rows.len()]), &device);
        let hidden = self.hidden.clone().select(0, indices.clone());
        let pooled = self.pooled.clone().map(|pooled| pooled.select(0, indices));
        self.forward(name, rows, hidden, pooled)
    }

    fn forward(
        &self,
        name: &str,
        rows: Vec<usize>,
        hidden: Tensor<3>,
        pooled: Option<Tensor<2>>,
    ) -> Result<HeadLogits, BankError> {
        let head = self.bank.head_for(name, self.setup.mode())?;
        let failed = |source| BankError::Head { name: name.to_owned(), source };
        let logits = head.forward(hidden, pooled, self.setup.mode()).map_err(failed)?;
        Ok(HeadLogits { head: name.to_owned(), rows, logits })
    }
}
