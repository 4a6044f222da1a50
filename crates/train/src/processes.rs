//! Several processes that train together.
//!
//! Each process has the whole frozen model and computes its share of the texts of a step; only gradients of adapters and heads
//! travel. All processes take the same steps with the same numbers, so that each holds the trained adapter at the end.

use std::cell::Cell;
use std::fmt;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::BoxError;

/// Exchanges messages between processes: MPI, for example.
///
/// Everything that training needs is built from one collective operation, so that the order of sums is never that of an
/// engine: all processes get the same bits.
pub trait Communicator {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// Sends a message to each process, in the order of their ranks (also to this one), and returns one from each. All
    /// processes call this equally often.
    ///
    /// # Errors
    /// If messages cannot be exchanged; training then ends.
    fn all_to_all(&self, messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, BoxError>;
}

/// One process.
struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_to_all(&self, messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, BoxError> {
        Ok(messages)
    }
}

/// The processes of a training ([`Trainer::train_in`](crate::Trainer::train_in)).
///
/// If something fails in one process, all of them end with an error: a process that drops its group, or leaves it with an
/// error, tells the others at their next exchange.
///
/// ```
/// use burn_adapters_train::ProcessGroup;
///
/// let group = ProcessGroup::alone();
/// assert_eq!((group.rank(), group.size(), group.is_first()), (0, 1, true));
/// group.leave(Ok(()))?;
/// # Ok::<(), burn_adapters_train::GroupError>(())
/// ```
pub struct ProcessGroup {
    communicator: Box<dyn Communicator>,
    /// Whether nothing more can be exchanged.
    closed: Cell<bool>,
    traffic: Cell<Traffic>,
}

/// What a process has exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traffic {
    /// The number of exchanges.
    pub exchanges: u64,
    /// The bytes that were sent to other processes.
    pub sent_bytes: u64,
    /// The seconds that the exchanges took, waiting for other processes included.
    pub seconds: f64,
}

/// Training in several processes that cannot go on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GroupError {
    /// Another process failed.
    #[error("process {rank} failed: {message}")]
    Failed {
        /// The other process.
        rank: usize,
        /// Its error.
        message: String,
    },
    /// Messages cannot be exchanged.
    #[error("process {rank} cannot exchange messages with the others: {source}")]
    Exchange {
        /// This process.
        rank: usize,
        /// The engine's error.
        source: BoxError,
    },
    /// A message that does not belong to what this process does.
    #[error(
        "process {rank} is not where the others are in the training: all processes must run the same program with the same \
         options"
    )]
    OutOfStep {
        /// The other process.
        rank: usize,
    },
    /// Something is different in another process.
    #[error(
        "{what} of process {rank} differs from that of process 0: found {found}, expected {expected}; all processes must have \
         the same model, data and options"
    )]
    Differs {
        /// This process.
        rank: usize,
        /// What is different.
        what: String,
        /// What this process has.
        found: String,
        /// What the first process has.
        expected: String,
    },
    /// An exchange after the group has ended.
    #[error("the processes no longer train together, because one of them failed before")]
    Closed,
}

/// What an exchange is about. Processes that exchange different things are out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Topic {
    Failure,
    Start,
    Gradients,
    Sums,
    Norm,
    Evaluation,
    Record,
    Parameters,
    Stop,
    Leave,
}

impl fmt::Debug for ProcessGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessGroup({} of {})", self.rank(), self.size())
    }
}

impl ProcessGroup {
    /// The processes that a communicator connects.
    pub fn new(communicator: impl Communicator + 'static) -> Self {
        Self { communicator: Box::new(communicator), closed: Cell::new(false), traffic: Cell::default() }
    }

    /// This process alone.
    pub fn alone() -> Self {
        Self::new(Alone)
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.communicator.rank()
    }

    /// The number of processes.
    pub fn size(&self) -> usize {
        self.communicator.size()
    }

    /// Whether this is the first process, which alone writes files.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether this process is the only one.
    pub fn is_alone(&self) -> bool {
        self.size() == 1
    }

    /// What was exchanged so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    /// Ends the work together: waits until all processes have ended it, or tells them that this one failed. Whatever they do,
    /// they learn of it at their next exchange.
    ///
    /// # Errors
    /// If another process failed; after an error of this process, only if one of a lower rank failed at the same time. So of
    /// several processes with the same error, one gets `Ok`, and can report it.
    pub fn leave(self, outcome: Result<(), &str>) -> Result<(), GroupError> {
        if self.is_alone() || self.closed.get() {
            return Ok(());
        }
        let left = match outcome {
            Ok(()) => self.all_gather(Topic::Leave, Vec::new()).map(drop),
            Err(message) => return self.fail(message),
        };
        match &left {
            Err(error @ GroupError::OutOfStep { .. }) => drop(self.fail(&error.to_string())),
            _ => self.closed.set(true),
        }
        left
    }

    fn fail(&self, message: &str) -> Result<(), GroupError> {
        self.closed.set(true);
        let message = [message.as_bytes(), &[Topic::Failure as u8]].concat();
        // An error that the others cannot be told of is reported by this process itself.
        let received = self.communicator.all_to_all(vec![message; self.size()]).unwrap_or_default();
        match failed(&received).filter(|(rank, _)| *rank < self.rank()) {
            Some((rank, message)) => Err(GroupError::Failed { rank, message }),
            None => Ok(()),
        }
    }

    /// Sends a message to each process, and returns one from each.
    pub(crate) fn exchange(&self, topic: Topic, mut messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, GroupError> {
        if self.closed.get() {
            return Err(GroupError::Closed);
        }
        messages.iter_mut().for_each(|message| message.push(topic as u8));
        let (rank, size) = (self.rank(), self.size());
        let others = messages.iter().enumerate().filter(|(other, _)| *other != rank);
        let bytes: usize = others.map(|(_, message)| message.len()).sum();
        let start = Instant::now();
        let received = self.communicator.all_to_all(messages);
        let Traffic { exchanges, sent_bytes, seconds } = self.traffic.get();
        self.traffic.set(Traffic {
            exchanges: exchanges + 1,
            sent_bytes: sent_bytes + bytes as u64,
            seconds: seconds + start.elapsed().as_secs_f64(),
        });
        let opened = received.map_err(|source| GroupError::Exchange { rank, source }).and_then(|mut received| {
            if received.len() != size {
                let message = format!("expected {size} messages, found {}", received.len());
                return Err(GroupError::Exchange { rank, source: message.into() });
            }
            let topics: Vec<Option<u8>> = received.iter_mut().map(Vec::pop).collect();
            if let Some(rank) = topics.iter().position(|found| *found == Some(Topic::Failure as u8)) {
                return Err(GroupError::Failed {
                    rank,
                    message: String::from_utf8_lossy(&received[rank]).into_owned(),
                });
            }
            match topics.iter().position(|found| *found != Some(topic as u8)) {
                Some(rank) => Err(GroupError::OutOfStep { rank }),
                None => Ok(received),
            }
        });
        // Another process that failed is known to all. After any other error the others must be told.
        self.closed.set(matches!(opened, Err(GroupError::Failed { .. } | GroupError::Exchange { .. })));
        opened
    }

    /// Sends the same message to all processes, and returns one from each.
    pub(crate) fn all_gather(&self, topic: Topic, message: Vec<u8>) -> Result<Vec<Vec<u8>>, GroupError> {
        self.exchange(topic, vec![message; self.size()])
    }

    /// The message of the first process; those of the others do not count.
    pub(crate) fn message_of_first(&self, topic: Topic, message: Vec<u8>) -> Result<Vec<u8>, GroupError> {
        let message = if self.is_first() { message } else { Vec::new() };
        Ok(self.all_gather(topic, message)?.swap_remove(0))
    }

    /// A number of the first process.
    pub(crate) fn number_of_first(&self, topic: Topic, own: f64) -> Result<f64, GroupError> {
        let message = self.message_of_first(topic, own.to_le_bytes().to_vec())?;
        message.try_into().map(f64::from_le_bytes).map_err(|_| GroupError::OutOfStep { rank: 0 })
    }

    /// A value of the first process.
    pub(crate) fn value_of_first<T: Serialize + DeserializeOwned>(
        &self,
        topic: Topic,
        own: T,
    ) -> Result<T, GroupError> {
        if self.is_alone() {
            return Ok(own);
        }
        let message = self.message_of_first(topic, serde_json::to_vec(&own).unwrap_or_default())?;
        if self.is_first() {
            return Ok(own);
        }
        serde_json::from_slice(&message).map_err(|_| GroupError::OutOfStep { rank: 0 })
    }

    /// Whether any process says so.
    pub(crate) fn any(&self, topic: Topic, one: bool) -> Result<bool, GroupError> {
        Ok(self.all_gather(topic, vec![u8::from(one)])?.iter().any(|message| message == &[1]))
    }
}

/// The first process that says it failed, and its message.
fn failed(received: &[Vec<u8>]) -> Option<(usize, String)> {
    received.iter().enumerate().find_map(|(rank, message)| match message.split_last() {
        Some((topic, message)) if *topic == Topic::Failure as u8 => {
            Some((rank, String::from_utf8_lossy(message).into_owned()))
        }
        _ => None,
    })
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // After a panic, the communicator's own drop must end the others.
        if !self.closed.get() && !self.is_alone() && !std::thread::panicking() {
            let _ = self.fail("it ended before the training was done");
        }
    }
}
