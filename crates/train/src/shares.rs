//! What each process computes of a step, and how the shares come together.

use std::collections::BTreeSet;
use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::evaluate::to_vec;
use crate::processes::Topic;
use crate::sums::{PairwiseSum, Partial};
use crate::{Gradients, GroupError, ProcessGroup, TrainError};

/// Divides batches so that a step of `accumulation` batches has a part for each process, where it has as many texts. Returns
/// the parts, and the range of parts of each step.
///
/// The parts of a step are the batches of a training with more accumulation and smaller batches.
pub(crate) fn parts(
    batches: Vec<Vec<usize>>,
    batch_size: usize,
    accumulation: usize,
    processes: usize,
) -> (Vec<Vec<usize>>, Vec<Range<usize>>) {
    let size = batch_size.div_ceil(processes.div_ceil(accumulation)).max(1);
    let (mut parts, mut steps) = (Vec::new(), Vec::new());
    for step in batches.chunks(accumulation) {
        let start = parts.len();
        parts.extend(step.iter().flat_map(|batch| batch.chunks(size)).map(<[usize]>::to_vec));
        steps.push(start..parts.len());
    }
    (parts, steps)
}

/// The parts of a step, of `count`, that a process computes.
pub(crate) fn share(count: usize, rank: usize, processes: usize) -> Range<usize> {
    count * rank / processes..count * (rank + 1) / processes
}

/// What a process knows of a step after its share, or of the whole step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The number of tokens, padding not counted.
    pub(crate) tokens: usize,
    /// The number of positions that were computed.
    pub(crate) positions: usize,
    /// Whether training should stop after this step.
    pub(crate) stop: bool,
}

/// The gradients and the loss of parts of a step.
pub(crate) type StepSum = (Gradients, f64);

/// The first part of a message: all but the gradients.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    /// The first part of each sum, its level, and the bits of its loss.
    sums: Vec<(usize, u32, u64)>,
    /// The numbers of the parameters that have no gradient in any of the sums.
    missing: BTreeSet<usize>,
    counts: Counts,
}

/// The trained parameters, in their order, with the number of their elements.
#[derive(Debug)]
pub(crate) struct Layout(Vec<(String, usize)>);

impl Layout {
    pub(crate) fn new(parameters: impl Iterator<Item = (String, usize)>) -> Self {
        Self(parameters.collect())
    }

    fn len(&self) -> usize {
        self.0.iter().map(|(_, elements)| elements).sum()
    }

    /// The numbers of all parameters.
    fn all(&self) -> BTreeSet<usize> {
        (0..self.0.len()).collect()
    }

    /// All gradients one after the other; zeros for those that are not there.
    fn flat(&self, mut gradients: Gradients, missing: &mut BTreeSet<usize>) -> Result<Vec<f32>, TrainError> {
        let mut values = Vec::with_capacity(self.len());
        for (index, (path, elements)) in self.0.iter().enumerate() {
            match gradients.tensors.remove(path) {
                Some(gradient) => {
                    missing.remove(&index);
                    values.extend(to_vec(gradient)?);
                }
                None => values.resize(values.len() + elements, 0.0),
            }
        }
        Ok(values)
    }

    fn gradients(&self, values: &[f32], missing: &BTreeSet<usize>, device: &Device) -> Gradients {
        let (mut gradients, mut start) = (Gradients::default(), 0);
        for (index, (path, elements)) in self.0.iter().enumerate() {
            if !missing.contains(&index) {
                let data = TensorData::new(values[start..start + elements].to_vec(), [*elements]);
                gradients.tensors.insert(path.clone(), Tensor::from_data(data, device));
            }
            start += elements;
        }
        gradients
    }

    /// The elements that one of the processes adds up.
    fn segment(&self, rank: usize, processes: usize) -> Range<usize> {
        share(self.len(), rank, processes)
    }
}

/// Adds up the shares of all processes. Each process adds a segment of the gradients, in the order of the parts, and sends it to
/// all; so all have the same bits, and as much travels as in a ring.
pub(crate) fn add_up(
    group: &ProcessGroup,
    layout: &Layout,
    sum: PairwiseSum<StepSum>,
    counts: Counts,
    device: &Device,
) -> Result<(StepSum, Counts), TrainError> {
    if group.is_alone() {
        return Ok((sum.total().unwrap_or_default(), counts));
    }
    let (mut sums, mut flat, mut missing) = (Vec::new(), Vec::new(), layout.all());
    for Partial { start, level, value: (gradients, loss) } in sum.partials() {
        sums.push((start, level, loss.to_bits()));
        flat.push(layout.flat(gradients, &mut missing)?);
    }
    let header = serde_json::to_vec(&Header { sums, missing, counts }).unwrap_or_default();
    let to = |rank| {
        let segment = layout.segment(rank, group.size());
        let mut message = (header.len() as u64).to_le_bytes().to_vec();
        message.extend(&header);
        flat.iter().for_each(|values| put(&mut message, &values[segment.clone()]));
        message
    };
    let received = group.exchange(Topic::Gradients, (0..group.size()).map(to).collect())?;

    let own = layout.segment(group.rank(), group.size()).len();
    let (mut segment, mut losses) = (PairwiseSum::new(), PairwiseSum::new());
    let (mut missing, mut all) = (layout.all(), Counts::default());
    for (rank, message) in received.iter().enumerate() {
        let (header, values) = opened(message, own).ok_or(GroupError::OutOfStep { rank })?;
        for (index, (start, level, loss)) in header.sums.into_iter().enumerate() {
            let value = values[index * own..(index + 1) * own].to_vec();
            segment.push(Partial { start, level, value });
            losses.push(Partial { start, level, value: f64::from_bits(loss) });
        }
        missing.retain(|parameter| header.missing.contains(parameter));
        all.tokens += header.counts.tokens;
        all.positions += header.counts.positions;
        all.stop |= header.counts.stop;
    }
    let mut message = Vec::new();
    put(&mut message, &segment.total().unwrap_or_default());
    let mut values = Vec::with_capacity(layout.len());
    for (rank, message) in group.all_gather(Topic::Sums, message)?.iter().enumerate() {
        values.extend(
            floats(message)
                .filter(|segment| segment.len() == layout.segment(rank, group.size()).len())
                .ok_or(GroupError::OutOfStep { rank })?,
        );
    }
    Ok(((layout.gradients(&values, &missing, device), losses.total().unwrap_or_default()), all))
}

/// The header of a message, and its values: a segment of `own` elements for each sum.
fn opened(message: &[u8], own: usize) -> Option<(Header, Vec<f32>)> {
    let (length, rest) = message.split_first_chunk()?;
    let (header, values) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: Header = serde_json::from_slice(header).ok()?;
    let values = floats(values)?;
    (values.len() == header.sums.len() * own).then_some((header, values))
}

/// Appends numbers to a message.
pub(crate) fn put(message: &mut Vec<u8>, values: &[f32]) {
    message.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// The numbers of a message.
pub(crate) fn floats(message: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = message.as_chunks();
    rest.is_empty().then(|| values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_step_are_those_of_smaller_batches() {
        let batches = |rows: usize, size| (0..rows).collect::<Vec<_>>().chunks(size).map(<[usize]>::to_vec).collect();
        let (divided, steps) = parts(batches(20, 8), 8, 1, 4);
        let (smaller, same) = parts(batches(20, 2), 2, 4, 1);
        assert_eq!((&divided, &steps), (&smaller, &same));
        assert_eq!(steps, [0..4, 4..8, 8..10]);
        // With as many batches as processes, none is divided.
        let (whole, steps) = parts(batches(20, 8), 8, 4, 4);
        assert_eq!((whole, steps.len(), &steps[0]), (batches(20, 8), 1, &(0..3)));
        // Not more parts than texts.
        assert_eq!(parts(batches(3, 2), 2, 1, 5), (batches(3, 1), vec![0..2, 2..3]));
    }

    #[test]
    fn every_part_is_in_one_share() {
        for (count, processes) in [(4, 4), (3, 4), (7, 2), (1, 3), (0, 2)] {
            let all: Vec<usize> = (0..processes).flat_map(|rank| share(count, rank, processes)).collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
