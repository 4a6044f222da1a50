//! Checkpoints, and resuming from them.

use std::path::Path;

use crate::support::*;
use burn_adapters_heads::HeadConfig;
use burn_adapters_train::{Metric, Schedule, Stopped, TrainConfig, TrainError, Trainer, Warmup};
use burn_adapters_transformers::{AutoModel, BertConfig};

/// With everything that could make a difference: dropout, warm-up, accumulation, weight decay, the best epoch.
fn rich(folder: &Path) -> TrainConfig {
    let mut config = config()
        .with_accumulation(2)
        .with_schedule(Schedule::Cosine)
        .with_warmup(Warmup::Ratio(0.2))
        .with_best(Metric::LOSS)
        .with_checkpoints(folder);
    config.adamw.weight_decay = 0.01;
    config
}

const ADAPTER: &str = "seq_bn[reduction_factor=4, dropout=0.1]|lora[r=2, dropout=0.1]";

#[test]
fn two_runs_with_one_seed_give_identical_files() {
    let _alone = alone();
    let run = |seed| {
        let folder = tempfile::tempdir().unwrap();
        train(rich(folder.path()).with_seed(seed), bank(ADAPTER, &head(), 1), &mut ()).unwrap();
        files(folder.path())
    };
    let first = run(5);
    assert_eq!(first.len(), 4 * 3 + first.keys().filter(|name| name.contains("best")).count());
    assert!(first == run(5), "the same seed gave other files");
    let other = run(6);
    assert_ne!(first["epoch-0004/parameters.safetensors"], other["epoch-0004/parameters.safetensors"]);
}

#[test]
fn a_resumed_training_ends_with_the_files_of_one_in_one_go() {
    let _alone = alone();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trained = train(rich(whole.path()), bank(ADAPTER, &head(), 1), &mut ()).unwrap();
    assert_eq!(trained.stopped, Stopped::Finished);

    let mut stop = StopAfter { evaluations: Some(2), ..StopAfter::default() };
    let half = train(rich(parts.path()), bank(ADAPTER, &head(), 1), &mut stop).unwrap();
    assert_eq!((half.stopped, half.history.evaluations.len()), (Stopped::Interrupted, 2));
    // A bank with other weights, as a new process without a seed would have: the checkpoint's count.
    let rest = train(rich(parts.path()).with_resume(true), bank(ADAPTER, &head(), 77), &mut ()).unwrap();

    assert_eq!(rest.history, trained.history);
    let (whole, parts) = (files(whole.path()), files(parts.path()));
    assert_eq!(whole.keys().collect::<Vec<_>>(), parts.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(*bytes == parts[name], "{name} differs");
    }
}

#[test]
fn a_training_that_broke_off_within_an_epoch_goes_on_from_the_last_whole_one() {
    let _alone = alone();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trained = train(rich(whole.path()), bank(ADAPTER, &head(), 1), &mut ()).unwrap();
    let mut stop = StopAfter { step: Some(6), ..StopAfter::default() };
    let broken = train(rich(parts.path()), bank(ADAPTER, &head(), 1), &mut stop).unwrap();
    assert_eq!((broken.stopped, broken.history.steps.len()), (Stopped::Interrupted, 6));
    let rest = train(rich(parts.path()).with_resume(true), bank(ADAPTER, &head(), 1), &mut ()).unwrap();
    assert_eq!(rest.history, trained.history);
    assert!(files(whole.path()) == files(parts.path()));
}

#[test]
fn a_finished_training_is_not_trained_again() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let first = train(rich(folder.path()), bank(ADAPTER, &head(), 1), &mut ()).unwrap();
    let again = train(rich(folder.path()).with_resume(true), bank(ADAPTER, &head(), 9), &mut ()).unwrap();
    assert_eq!((again.stopped, &again.history), (Stopped::Finished, &first.history));
    let predict = |trained: &burn_adapters_train::Trained| {
        burn_adapters_train::predict(&bert(), &trained.bank, &setup(), &data(5, 2), 8).unwrap()
    };
    assert_eq!(predict(&again), predict(&first));
}

#[test]
fn resuming_without_a_checkpoint_begins_anew() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let config = config().with_epochs(1).with_checkpoints(folder.path().join("new")).with_resume(true);
    assert_eq!(train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap().history.steps.len(), 8);
}

#[test]
fn a_half_written_checkpoint_is_none() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let partial = folder.path().join(".epoch-0001.partial");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("state.json"), "{").unwrap();
    let config = config().with_epochs(1).with_checkpoints(folder.path()).with_resume(true);
    train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap();
    assert!(!partial.exists() && folder.path().join("epoch-0001").exists());
}

#[test]
fn a_folder_with_checkpoints_is_not_overwritten() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let config = config().with_epochs(1).with_checkpoints(folder.path());
    train(config.clone(), bank("seq_bn", &head(), 1), &mut ()).unwrap();
    let error = train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap_err();
    assert!(matches!(error, TrainError::NotEmpty { .. }), "{error}");
}

#[test]
fn only_the_newest_checkpoints_are_kept_where_asked_for() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let config = config().with_checkpoints(folder.path()).with_keep_checkpoints(2);
    train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap();
    let mut kept: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    kept.sort();
    assert_eq!(kept, ["epoch-0003", "epoch-0004"]);
}

#[test]
fn a_checkpoint_of_another_training_is_refused_and_the_difference_named() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let base = || config().with_epochs(2).with_checkpoints(folder.path());
    let mut stop = StopAfter { evaluations: Some(1), ..StopAfter::default() };
    train(base(), bank("seq_bn", &head(), 1), &mut stop).unwrap();
    let base = || base().with_resume(true);

    let differs = |result: Result<burn_adapters_train::Trained, TrainError>| match result.map(|_| ()) {
        Err(TrainError::OtherTraining { what, .. }) => what,
        other => panic!("expected another training, found {other:?}"),
    };
    assert_eq!(differs(train(base().with_epochs(3), bank("seq_bn", &head(), 1), &mut ())), "epochs");
    assert_eq!(differs(train(base().with_seed(6), bank("seq_bn", &head(), 1), &mut ())), "seed");
    assert_eq!(differs(train(base(), bank("lora", &head(), 1), &mut ())), "adapter");
    let other_head = HeadConfig::classification(2).with_labels(["odd", "even"]);
    assert_eq!(differs(train(base(), bank("seq_bn", &other_head, 1), &mut ())), "head");

    let run = |bert: &AutoModel, train: &burn_adapters_train::TokenData| {
        let held_out = data(30, 1);
        Trainer::new(base()).train(bert, bank("seq_bn", &head(), 1), &setup(), train, Some(&held_out), &mut ())
    };
    assert_eq!(differs(run(&bert(), &data(60, 2))), "training data");
    let other_weights = AutoModel::new_seeded(&BertConfig::new(40, 16, 2, 2, 32), 4, &device());
    assert_eq!(differs(run(&other_weights, &data(60, 0))), "the base model");
    assert!(run(&bert(), &data(60, 0)).is_ok(), "the same training goes on");
}

#[test]
fn broken_files_are_errors_that_name_them() {
    let _alone = alone();
    for name in ["state.json", "parameters.safetensors", "optimizer.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let base = config().with_epochs(2).with_checkpoints(folder.path());
        let mut stop = StopAfter { evaluations: Some(1), ..StopAfter::default() };
        train(base.clone(), bank("seq_bn", &head(), 1), &mut stop).unwrap();
        let path = folder.path().join("epoch-0001").join(name);
        let bytes = std::fs::read(&path).unwrap();
        for broken in [&bytes[..bytes.len() / 2], &[], &[0xff; 16]] {
            std::fs::write(&path, broken).unwrap();
            let result = train(base.clone().with_resume(true), bank("seq_bn", &head(), 1), &mut ());
            let error = result.unwrap_err();
            assert!(matches!(error, TrainError::BadCheckpoint { .. }), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = train(base.with_resume(true), bank("seq_bn", &head(), 1), &mut ()).unwrap_err();
        assert!(matches!(&error, TrainError::Io { path, .. } if path.ends_with(name)), "{error}");
    }
}

#[test]
fn a_finished_training_is_continued_with_more_epochs() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let base = || config().with_best(Metric::LOSS).with_checkpoints(folder.path());
    let first = train(base().with_epochs(2), bank(ADAPTER, &head(), 1), &mut ()).unwrap();
    assert_eq!((first.stopped, first.resumed_after), (Stopped::Finished, 0));

    let more = train(base().with_epochs(4).with_resume(true), bank(ADAPTER, &head(), 9), &mut ()).unwrap();
    assert_eq!((more.stopped, more.resumed_after), (Stopped::Finished, 16));
    assert_eq!(more.history.steps[..16], first.history.steps[..]);
    assert_eq!(more.history.evaluations.len(), 4);
    // On the learning rates of four epochs.
    assert!((more.history.steps[16].learning_rate - 0.5e-2).abs() < 1e-9, "{:?}", more.history.steps[16]);

    let fewer = train(base().with_epochs(3).with_resume(true), bank(ADAPTER, &head(), 1), &mut ()).unwrap_err();
    assert!(matches!(&fewer, TrainError::OtherTraining { what, .. } if what == "epochs"), "{fewer}");
}

#[test]
fn a_finished_training_may_be_kept_elsewhere() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let (checkpoints, kept) = (folder.path().join("checkpoints"), folder.path().join("kept"));
    let base = || config().with_epochs(2).with_checkpoints(&checkpoints).with_finished(&kept);
    let first = train(base(), bank("seq_bn", &head(), 1), &mut ()).unwrap();
    assert_eq!(first.checkpoint.as_deref(), Some(checkpoints.join("epoch-0002").as_path()));
    std::fs::rename(checkpoints.join("epoch-0002"), &kept).unwrap();

    // Left behind when the checkpoints were being deleted: incomplete.
    for name in ["state.json", "parameters.safetensors"] {
        let left = checkpoints.join("epoch-0001");
        std::fs::remove_file(left.join("state.json")).ok();
        std::fs::remove_file(left.join(name)).ok();
        let again = train(base().with_resume(true), bank("seq_bn", &head(), 5), &mut ()).unwrap();
        assert_eq!((again.resumed_after, &again.history), (first.history.steps.len(), &first.history));
        assert_eq!(again.checkpoint.as_ref(), Some(&kept));
    }
    std::fs::remove_dir_all(&checkpoints).unwrap();
    train(base().with_resume(true), bank("seq_bn", &head(), 5), &mut ()).unwrap();
    assert!(!checkpoints.exists(), "nothing was to be written");

    // Another training in the same place, killed early: its own checkpoint counts.
    let mut stop = StopAfter { evaluations: Some(1), ..StopAfter::default() };
    train(base().with_seed(6), bank("seq_bn", &head(), 1), &mut stop).unwrap();
    let resumed = train(base().with_seed(6).with_resume(true), bank("seq_bn", &head(), 1), &mut ()).unwrap();
    assert_eq!(resumed.resumed_after, 8);
}

#[test]
fn two_trainings_cannot_write_the_same_checkpoints() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    struct Second<'a>(&'a Path, Option<TrainError>);
    impl burn_adapters_train::Observer for Second<'_> {
        fn epoch_started(&mut self, _: usize) {
            let config = config().with_checkpoints(self.0);
            self.1 = train(config, bank("seq_bn", &head(), 1), &mut ()).err();
        }
    }
    let mut second = Second(folder.path(), None);
    train(config().with_epochs(1).with_checkpoints(folder.path()), bank("seq_bn", &head(), 1), &mut second).unwrap();
    assert!(matches!(second.1, Some(TrainError::Busy(_))), "{:?}", second.1);
}

#[test]
fn where_no_checkpoint_can_be_written_no_step_is_made() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "in the way").unwrap();
    let mut places = vec![folder.path().join("file"), folder.path().join("file/checkpoints")];
    if cfg!(target_os = "linux") {
        places.push("/proc/checkpoints".into());
    }
    for place in places {
        let mut stop = StopAfter::default();
        let error = train(config().with_checkpoints(&place), bank("seq_bn", &head(), 1), &mut stop).unwrap_err();
        assert!(matches!(error, TrainError::Io { .. }), "{error}");
        assert_eq!(stop.last_step, 0);
    }
}

#[test]
fn remnants_of_a_killed_training_are_cleared() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    for name in [".old-epoch-0001-abc123", ".saving-epoch-0007-abc123", ".epoch-0003.partial"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let config = config().with_epochs(1).with_checkpoints(folder.path()).with_resume(true);
    train(config, bank("seq_bn", &head(), 1), &mut ()).unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["epoch-0001"]);
}
