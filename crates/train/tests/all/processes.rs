//! Training in several processes. Here they are threads; the tests of the program run processes.
//!
//! Dropout is off: threads of one process share one generator.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex, MutexGuard};

use crate::support::*;
use burn_adapters_model::AdapterBank;
use burn_adapters_train::{
    BoxError, Communicator, GroupError, Metric, Observer, ProcessGroup, Stopped, TokenData, TrainConfig, TrainError,
    Trained, Trainer,
};

const ADAPTER: &str = "seq_bn[reduction_factor=4]|lora[r=2]";

/// What threads have sent each other, by receiver and sender.
struct Mail {
    letters: Mutex<Vec<Vec<Vec<u8>>>>,
    all_there: Barrier,
}

struct Thread {
    rank: usize,
    size: usize,
    mail: Arc<Mail>,
}

impl Communicator for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_to_all(&self, messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, BoxError> {
        for (to, message) in messages.into_iter().enumerate() {
            self.mail.letters.lock().unwrap()[to][self.rank] = message;
        }
        self.mail.all_there.wait();
        let received = self.mail.letters.lock().unwrap()[self.rank].clone();
        self.mail.all_there.wait();
        Ok(received)
    }
}

/// A communicator that changes what a process receives from the first one in one of the exchanges.
struct Noisy {
    thread: Thread,
    exchanges: Cell<usize>,
    at: usize,
    change: Change,
}

/// How a message is changed.
type Change = fn(&mut Vec<u8>);

impl Communicator for Noisy {
    fn rank(&self) -> usize {
        self.thread.rank
    }

    fn size(&self) -> usize {
        self.thread.size
    }

    fn all_to_all(&self, messages: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, BoxError> {
        let mut received = self.thread.all_to_all(messages)?;
        self.exchanges.set(self.exchanges.get() + 1);
        if self.exchanges.get() == self.at {
            (self.change)(&mut received[0]);
        }
        Ok(received)
    }
}

/// Runs a function in several processes, and returns what each of them returns.
fn in_processes<R: Send>(size: usize, run: impl Fn(ProcessGroup) -> R + Sync) -> Vec<R> {
    in_threads(size, |thread| run(ProcessGroup::new(thread)))
}

fn in_threads<R: Send>(size: usize, run: impl Fn(Thread) -> R + Sync) -> Vec<R> {
    let letters = Mutex::new(vec![vec![Vec::new(); size]; size]);
    let mail = Arc::new(Mail { letters, all_there: Barrier::new(size) });
    std::thread::scope(|scope| {
        let start = |rank| {
            let (mail, run) = (mail.clone(), &run);
            scope.spawn(move || run(Thread { rank, size, mail }))
        };
        let threads: Vec<_> = (0..size).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// These are tests of the exchange, and compare bits, which only CPUs promise.
fn on_cpu() -> Option<MutexGuard<'static, ()>> {
    let is_graphics = std::env::var("BURN_DEVICE").is_ok_and(|device| device == "wgpu");
    (!is_graphics).then(alone)
}

fn quiet(config: TrainConfig) -> TrainConfig {
    config.with_base_dropout(false).with_best(Metric::LOSS)
}

fn train_in(
    group: &ProcessGroup,
    config: &TrainConfig,
    data: &TokenData,
    observer: &mut dyn Observer,
) -> Result<Trained, TrainError> {
    // All processes draw other weights: those of the first count.
    let bank = bank(ADAPTER, &head().with_dropout_prob(Some(0.0)), 1 + group.rank() as u64);
    let evaluation = self::data(30, 1);
    Trainer::new(config.clone()).train_in(group, &bert(), bank, &setup(), data, Some(&evaluation), observer)
}

/// All values of a bank's adapter and head, to the last bit.
fn bits(bank: &AdapterBank) -> BTreeMap<String, Vec<u32>> {
    let values = burn_adapters_tensors::values(bank, |path| Some(path.to_string())).unwrap();
    let bits =
        |data: burn::tensor::TensorData| data.try_into_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect();
    values.into_iter().map(|(path, data)| (path, bits(data))).collect()
}

/// Trains in `size` processes, all of which end with the same.
fn train_together(size: usize, config: &TrainConfig, data: &TokenData) -> Trained {
    let mut all = in_processes(size, |group| {
        let trained = train_in(&group, config, data, &mut ()).unwrap();
        group.leave(Ok(())).unwrap();
        trained
    });
    let first = all.remove(0);
    for other in all {
        assert!(bits(&other.bank) == bits(&first.bank));
        assert_eq!(other.history, first.history);
    }
    first
}

#[test]
fn processes_train_what_one_trains_to_the_last_bit() {
    let Some(_alone) = on_cpu() else { return };
    let config = quiet(config()).with_batch_size(4).with_accumulation(5).with_epochs(2);
    // The last step of an epoch has fewer batches than the others.
    let data = data(51, 0);
    let one = train_together(1, &config, &data);
    for size in [2, 3, 5] {
        let several = train_together(size, &config, &data);
        assert!(bits(&several.bank) == bits(&one.bank), "{size}");
        assert_eq!(several.history, one.history, "{size}");
    }
}

#[test]
fn a_divided_batch_is_several_smaller_ones() {
    let Some(_alone) = on_cpu() else { return };
    let config = quiet(config()).with_keep_order(true).with_epochs(2);
    let data = data(51, 0);
    let several = train_together(4, &config.clone().with_batch_size(8), &data);
    let one = train_together(1, &config.clone().with_batch_size(2).with_accumulation(4), &data);
    assert!(bits(&several.bank) == bits(&one.bank));
    assert_eq!(several.history, one.history);
    // The loss of a whole batch is the same but for the rounding.
    let whole = train_together(1, &config.with_batch_size(8), &data);
    for (one, other) in whole.history.steps.iter().zip(&several.history.steps) {
        assert!((one.loss - other.loss).abs() < 1e-4, "{one:?} and {other:?}");
        assert_eq!((one.examples, one.tokens), (other.examples, other.tokens));
    }
}

/// The checkpoint at the end, without the settings, which name the batches.
fn last(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    files(&folder.join("epoch-0004"))
}

#[test]
fn another_number_of_processes_resumes_a_training() {
    let Some(_alone) = on_cpu() else { return };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = data(51, 0);
    let config = |folder: &Path| quiet(config()).with_batch_size(4).with_accumulation(3).with_checkpoints(folder);
    train_together(1, &config(whole.path()), &data);

    let half = in_processes(2, |group| {
        // Only one of them is told to stop, within the third epoch.
        let mut stop = StopAfter { step: Some(11).filter(|_| group.rank() == 1), ..StopAfter::default() };
        train_in(&group, &config(parts.path()), &data, &mut stop).unwrap()
    });
    for trained in half {
        assert_eq!((trained.stopped, trained.history.steps.len()), (Stopped::Interrupted, 12));
    }
    assert_eq!(files(parts.path()).keys().filter(|name| name.ends_with("state.json")).count(), 2);
    let rest = train_together(3, &config(parts.path()).with_resume(true), &data);
    assert_eq!((rest.stopped, rest.resumed_after), (Stopped::Finished, 10));
    assert!(last(whole.path()) == last(parts.path()));
}

/// Of the processes of a failed training, one says why, and the others that it failed.
fn assert_failed(errors: &[TrainError], failed: usize, expected: &str) {
    for (rank, error) in errors.iter().enumerate() {
        let TrainError::Group(group) = error else {
            assert!(rank == failed && error.to_string().contains(expected), "{rank}: {error}");
            continue;
        };
        match group {
            GroupError::Failed { rank: by, .. } => assert_eq!(*by, failed, "{error}"),
            other => assert!(rank == failed && other.to_string().contains(expected), "{rank}: {other}"),
        }
    }
    assert!(!matches!(errors[failed], TrainError::Group(GroupError::Failed { .. })));
}

#[test]
fn processes_with_other_data_are_refused_in_all() {
    let Some(_alone) = on_cpu() else { return };
    let errors = in_processes(3, |group| {
        let data = data(if group.rank() == 2 { 52 } else { 51 }, 0);
        train_in(&group, &quiet(config()), &data, &mut ()).unwrap_err()
    });
    assert!(errors[0].to_string().contains("process 2 failed"), "{}", errors[0]);
    assert_failed(&errors, 2, "training data of process 2 differs from that of process 0");
}

#[test]
fn a_process_that_fails_ends_the_others() {
    let Some(_alone) = on_cpu() else { return };
    /// Ends its process in the second epoch.
    struct Fall;
    impl Observer for Fall {
        fn epoch_started(&mut self, epoch: usize) {
            if epoch == 2 {
                // The group is dropped without a word.
                std::panic::resume_unwind(Box::new("done"));
            }
        }
    }
    let errors = in_processes(3, |group| {
        let data = data(51, 0);
        if group.rank() == 0 {
            return train_in(&group, &quiet(config()), &data, &mut ()).unwrap_err();
        }
        if group.rank() == 1 {
            let caught = std::panic::AssertUnwindSafe(|| train_in(&group, &quiet(config()), &data, &mut Fall));
            assert!(std::panic::catch_unwind(caught).is_err());
            return TrainError::NothingToTrain;
        }
        train_in(&group, &quiet(config()), &data, &mut ()).unwrap_err()
    });
    assert!(errors[0].to_string().contains("process 1 failed: it ended before"), "{}", errors[0]);
    assert!(errors[2].to_string().contains("process 1 failed"), "{}", errors[2]);
}

#[test]
fn a_message_that_is_changed_on_the_way_is_no_result() {
    let Some(_alone) = on_cpu() else { return };
    let flip = |message: &mut Vec<u8>| message[3] ^= 0x80;
    let cut = |message: &mut Vec<u8>| {
        message.remove(0);
    };
    let other = |message: &mut Vec<u8>| *message.last_mut().unwrap() = 9;
    // The second exchange of the first step, of sums of gradients: one of them gets the other sign, which the parameters
    // show after the step. (Its last bit may be lost in their rounding.)
    let cases: [(Change, &str); 3] = [
        (flip, "the checksum of the parameters after epoch 1 of process 1 differs"),
        (cut, "process 0 is not where the others are"),
        (other, "process 0 is not where the others are"),
    ];
    for (change, expected) in cases {
        let errors = in_threads(3, |thread| {
            let at = if thread.rank == 1 { 4 } else { 0 };
            let group = ProcessGroup::new(Noisy { thread, exchanges: Cell::new(0), at, change });
            train_in(&group, &quiet(config()), &data(51, 0), &mut ()).unwrap_err()
        });
        assert_failed(&errors, 1, expected);
    }
}

#[test]
fn a_loss_that_is_not_finite_is_an_error_in_all() {
    let Some(_alone) = on_cpu() else { return };
    let config = quiet(config()).with_learning_rate(1e30);
    let errors = in_processes(2, |group| train_in(&group, &config, &data(51, 0), &mut ()).unwrap_err());
    for error in errors {
        assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    }
}

#[test]
fn processes_leave_together() {
    let leave = |failing: &'static [usize]| {
        in_processes(3, move |group| {
            let failed = failing.contains(&group.rank());
            group.leave(if failed { Err("a disk is full") } else { Ok(()) }).map_err(|error| error.to_string())
        })
    };
    let told = |rank: usize| Err(format!("process {rank} failed: a disk is full"));
    assert_eq!(leave(&[]), [Ok(()), Ok(()), Ok(())]);
    assert_eq!(leave(&[1]), [told(1), Ok(()), told(1)]);
    // One of those that failed reports it.
    assert_eq!(leave(&[0, 2]), [Ok(()), told(0), told(0)]);
    assert_eq!(leave(&[0, 1, 2]), [Ok(()), told(0), told(0)]);
}
