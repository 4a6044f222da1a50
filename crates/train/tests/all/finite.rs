//! Numbers that are not finite give no label, no score and no checkpoint; invalid files are errors.

use crate::support::*;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use burn_adapters_heads::{HeadConfig, Targets};
use burn_adapters_model::AdapterBank;
use burn_adapters_train::*;

/// Multiplies every parameter.
struct Times(f32);

impl ModuleMapper for Times {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| (tensor * self.0).detach())
    }
}

/// Weights that are finite, and overflow in the pass: the head's are of the order of 1e36.
fn overflowing() -> AdapterBank {
    bank("seq_bn", &head(), 1).map(&mut Times(1e38))
}

#[test]
fn no_label_and_no_loss_come_of_an_overflow() {
    let (bert, data) = (bert(), data(20, 1));
    let error = predict(&bert, &overflowing(), &setup(), &data, 8).unwrap_err();
    let TrainError::NotFiniteLogits { head: name, value, rows } = &error else { panic!("{error}") };
    assert!(name == "task" && !value.is_finite() && rows.len() > 8, "{error}");
    assert!(error.to_string().contains(&format!("and {} more", rows.len() - 8)), "{error}");
    let error = evaluate(&bert, &overflowing(), &setup(), &data, 8).unwrap_err();
    assert!(matches!(error, TrainError::NotFiniteLogits { .. }), "{error}");
    let nan = bank("seq_bn", &head(), 1).map(&mut Times(f32::NAN));
    assert!(predict(&bert, &nan, &setup(), &data, 8).is_err() && evaluate(&bert, &nan, &setup(), &data, 8).is_err());
}

#[test]
fn logits_that_come_from_elsewhere_are_checked_too() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for config in [head(), HeadConfig::multilabel_classification(2), HeadConfig::regression()] {
            assert!(Prediction::new(&config, vec![0.0, value]).is_err(), "{value}");
        }
        let classes = bank("seq_bn", &head(), 1);
        let error = Evaluation::new(
            classes.head("task").unwrap(),
            vec![vec![0.0, 1.0], vec![value, 0.0]],
            &Targets::Classes(vec![0, 1]),
        );
        assert!(matches!(error, Err(TrainError::NotFiniteLogits { rows, .. }) if rows == [1]));
    }
    let regression = bank("seq_bn", &HeadConfig::regression(), 1);
    let error = Evaluation::new(regression.head("task").unwrap(), vec![vec![1e30]], &Targets::Values(vec![0.0]));
    assert!(matches!(error, Err(TrainError::NotFiniteLoss { .. })), "its square overflows");
}

#[test]
fn a_checkpoint_with_a_nan_is_refused_with_its_tensor() {
    let _alone = alone();
    for name in ["parameters.safetensors", "optimizer.safetensors"] {
        let folder = tempfile::tempdir().unwrap();
        let base = config().with_epochs(2).with_checkpoints(folder.path());
        let mut stop = StopAfter { evaluations: Some(1), ..StopAfter::default() };
        train(base.clone(), bank("seq_bn", &head(), 1), &mut stop).unwrap();
        let path = folder.path().join("epoch-0001").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        let error = train(base.with_resume(true), bank("seq_bn", &head(), 1), &mut ()).unwrap_err();
        assert!(matches!(&error, TrainError::NotFinite { path, .. } if path.ends_with(name)), "{error}");
    }
}

#[test]
fn data_that_is_no_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data.csv");
    let refused = |expected: &str| {
        let error = Dataset::read(&path, &Columns::default()).unwrap_err().to_string();
        assert!(error.contains("data.csv") && error.contains(expected), "{error}");
    };
    std::fs::create_dir(&path).unwrap();
    refused("a directory");
    std::fs::remove_dir(&path).unwrap();
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    refused("1099511627776 bytes");
    std::fs::remove_file(&path).unwrap();
    if cfg!(unix) {
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        refused("a pipe");
    }
}

#[test]
fn a_row_of_json_with_a_key_twice_is_a_problem_of_that_row() {
    let text = b"{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"x\", \"label\": \"y\"}\n";
    let error = Dataset::parse("d", text, Format::JsonLines, &Columns::default()).unwrap_err().to_string();
    assert!(error.contains('2') && error.contains("\"label\" appears twice"), "{error}");
}
