//! Trains adapters in several processes, on one machine or many.
//!
//! Each process has the whole frozen model and computes its share of the texts of each step. Only the gradients of adapters and
//! heads travel, which are about one percent of the model. The engine is MPI (feature `mpi`), and its launcher starts the
//! processes:
//!
//! ```console
//! $ mpirun -n 4 --hostfile hosts burn-adapters train --model DIR --data reviews.csv --output out
//! ```
//!
//! In a program of your own, [`process_group`] connects the processes that a launcher has started, and
//! [`Trainer::train_in`](burn_adapters_train::Trainer::train_in) trains in them. A process that no launcher started is alone.
//!
//! ```
//! let group = burn_adapters_distributed::process_group()?;
//! assert!(group.is_alone() && group.is_first());
//! group.leave(Ok(()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "mpi")]
mod mpi_engine;

use burn_adapters_train::ProcessGroup;
use thiserror::Error;

#[cfg(feature = "mpi")]
pub use self::mpi_engine::MpiCommunicator;

/// Processes that a launcher has started and that cannot be connected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The program is compiled without MPI.
    #[error(
        "{launcher} started several processes, but this program is compiled without MPI, so each would train alone: compile it \
         with the feature `mpi`, or start it without a launcher"
    )]
    NotCompiled {
        /// The launcher.
        launcher: &'static str,
    },
    /// MPI was initialized before, by something else.
    #[error("MPI is in use in this process already: connect the processes once, before anything else uses MPI")]
    InUse,
}

/// Environment variables in which launchers give a process its number: the launcher's name, the number, how many there are, and
/// how many on this machine.
const LAUNCHERS: [(&str, &str, &str, &str); 4] = [
    ("Open MPI's mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    ("MVAPICH's mpirun", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE"),
    ("a PMIx launcher", "PMIX_RANK", "", ""),
];

/// What a launcher has told this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Launched {
    launcher: &'static str,
    rank: usize,
    /// `None` if the launcher does not say.
    size: Option<usize>,
    on_this_machine: Option<usize>,
}

fn launched(variable: impl Fn(&str) -> Option<String>) -> Option<Launched> {
    let number = |name: &str| variable(name)?.parse().ok();
    LAUNCHERS.into_iter().find_map(|(launcher, rank, size, local)| {
        Some(Launched { launcher, rank: number(rank)?, size: number(size), on_this_machine: number(local) })
    })
}

fn of_environment() -> Option<Launched> {
    launched(|name| std::env::var(name).ok()).filter(|launched| launched.size != Some(1))
}

/// Whether a launcher says that this is a process other than the first: of what all processes would print, it prints nothing.
pub fn is_follower() -> bool {
    of_environment().is_some_and(|launched| launched.rank > 0)
}

/// The number of threads for this process, if several processes share the machine; `None` if it may have all. It is also
/// limited by the cores that the launcher has bound the process to.
pub fn threads() -> Option<usize> {
    let local = of_environment()?.on_this_machine.filter(|local| *local > 1)?;
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    Some(share_of_cores(allowed, cores().unwrap_or(allowed), local))
}

fn share_of_cores(allowed: usize, cores: usize, processes: usize) -> usize {
    allowed.min(cores / processes).max(1)
}

/// The number of the machine's cores, as Linux lists them: `0-3,8`.
fn cores() -> Option<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?).map(|count| count + 1)
    };
    text.trim().split(',').map(count).sum()
}

/// The processes that a launcher has started; this process alone if none has.
///
/// # Errors
/// If a launcher has started several processes and they cannot be connected.
pub fn process_group() -> Result<ProcessGroup, LaunchError> {
    match of_environment() {
        None => Ok(ProcessGroup::alone()),
        #[cfg(feature = "mpi")]
        Some(_) => MpiCommunicator::new().map(ProcessGroup::new),
        #[cfg(not(feature = "mpi"))]
        Some(Launched { launcher, .. }) => Err(LaunchError::NotCompiled { launcher }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launchers_are_recognized_by_their_variables() {
        let of = |set: &[(&str, &str)]| {
            launched(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "no number")]), None);
        let found = of(&[("PMI_RANK", "3"), ("PMI_SIZE", "4"), ("MPI_LOCALNRANKS", "2")]);
        let expected = Launched { launcher: "mpiexec", rank: 3, size: Some(4), on_this_machine: Some(2) };
        assert_eq!(found, Some(expected));
        assert_eq!(of(&[("PMIX_RANK", "0")]).map(|found| (found.size, found.on_this_machine)), Some((None, None)));
    }

    #[test]
    fn processes_on_one_machine_share_its_cores() {
        assert_eq!(share_of_cores(8, 8, 4), 2, "not bound");
        assert_eq!(share_of_cores(1, 8, 4), 1, "bound to a core");
        assert_eq!(share_of_cores(8, 16, 4), 4, "bound to a socket");
        assert_eq!(share_of_cores(2, 2, 4), 1, "more processes than cores");
    }
}
