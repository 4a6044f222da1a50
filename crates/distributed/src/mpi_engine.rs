//! MPI.

use burn_adapters_train::{BoxError, Communicator};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives};

use crate::LaunchError;

/// The most bytes that travel at once between all processes and one: MPI counts in 32 bits.
const MOST_AT_ONCE: usize = 1 << 28;

/// All processes of an MPI job.
///
/// MPI ends all processes if one of them is lost. A process that panics ends them, too.
pub struct MpiCommunicator {
    world: SimpleCommunicator,
    /// Ends MPI when it is dropped, after all processes have come to that point.
    _universe: Universe,
}

impl MpiCommunicator {
    /// Initializes MPI. The communicator must be used in this thread.
    ///
    /// # Errors
    /// If MPI is initialized already.
    pub fn new() -> Result<Self, LaunchError> {
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).ok_or(LaunchError::InUse)?;
        Ok(Self { world: universe.world(), _universe: universe })
    }
}

impl Communicator for MpiCommunicator {
    fn rank(&self) -> usize {
        usize::try_from(self.world.rank()).unwrap_or_default()
    }

    fn size(&self) -> usize {
        usize::try_from(self.world.size()).unwrap_or(1)
    }

    fn all_to_all(&self, messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, BoxError> {
        let lengths: Vec<u64> = messages.iter().map(|message| message.len() as u64).collect();
        let mut expected = vec![0_u64; lengths.len()];
        self.world.all_to_all_into(&lengths[..], &mut expected[..]);

        let longest = lengths.iter().copied().max().unwrap_or(0);
        let mut longest_of_all = 0_u64;
        self.world.all_reduce_into(&longest, &mut longest_of_all, SystemOperation::max());
        let at_once = (MOST_AT_ONCE / messages.len().max(1)).max(1);
        let rounds = usize::try_from(longest_of_all)?.div_ceil(at_once);

        let mut received: Vec<Vec<u8>> = vec![Vec::new(); messages.len()];
        for round in 0..rounds {
            let part = |length: usize| (round * at_once).min(length)..((round + 1) * at_once).min(length);
            let outgoing: Vec<&[u8]> = messages.iter().map(|message| &message[part(message.len())]).collect();
            let counts = counts(outgoing.iter().map(|part| part.len()))?;
            let mut incoming = Vec::with_capacity(expected.len());
            for length in &expected {
                incoming.push(part(usize::try_from(*length)?).len());
            }
            let expected_counts = self::counts(incoming.iter().copied())?;
            let outgoing = outgoing.concat();
            let mut buffer = vec![0_u8; incoming.iter().sum()];
            let (starts, expected_starts) = (starts(&counts), self::starts(&expected_counts));
            let outgoing = Partition::new(&outgoing[..], &counts[..], &starts[..]);
            let mut into = PartitionMut::new(&mut buffer[..], &expected_counts[..], &expected_starts[..]);
            self.world.all_to_all_varcount_into(&outgoing, &mut into);
            let mut rest = &buffer[..];
            for (message, count) in received.iter_mut().zip(incoming) {
                let (part, after) = rest.split_at(count);
                message.extend(part);
                rest = after;
            }
        }
        Ok(received)
    }
}

impl Drop for MpiCommunicator {
    fn drop(&mut self) {
        // The end of MPI waits for all processes, which wait for this one.
        if std::thread::panicking() {
            self.world.abort(101);
        }
    }
}

fn counts(lengths: impl Iterator<Item = usize>) -> Result<Vec<i32>, BoxError> {
    lengths.map(|length| Ok(i32::try_from(length)?)).collect()
}

/// Where each part begins.
fn starts(counts: &[i32]) -> Vec<i32> {
    let begin = |sum: &mut i32, count: &i32| Some(std::mem::replace(sum, *sum + count));
    counts.iter().scan(0, begin).collect()
}
