//! Whatever a bank holds can be saved, and what was saved can be loaded: for every method, after steps of AdamW that decays
//! every parameter, in our loop and with Burn's optimizer.

#![allow(clippy::unwrap_used)]

use burn::optim::{AdamWConfig, GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, Tolerance};
use burn_adapters_checkpoint::{
    AdapterFolder, SaveOptions, load_adapter, load_fusion, load_head, save_adapter, save_fusion, save_head,
};
use burn_adapters_config::identifiers;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup, TokenBatch};
use burn_adapters_reft::Projection;
use burn_adapters_train::{AdamW, AdamWOptions, Gradients};
use burn_adapters_transformers::{AutoModel, BertConfig};

const STEPS: usize = 3;
const RATE: f64 = 0.05;
const DECAY: f32 = 0.5;

fn batch() -> TokenBatch {
    TokenBatch::new([[2, 17, 5, 3, 8].as_slice(), &[7, 6, 5, 4, 3]])
}

fn logits(bert: &AutoModel, bank: &AdapterBank, setup: &Setup) -> Tensor<2> {
    let output = bert.forward(&batch(), &bank.hooks(setup).unwrap()).unwrap();
    bank.logits(setup, &output).unwrap().remove(0).logits.into_values()
}

/// A bank after some steps, by Burn's optimizer or by ours.
fn stepped(bert: &AutoModel, mut bank: AdapterBank, setup: &Setup, burns: bool) -> AdapterBank {
    bank.train_only(setup).unwrap();
    let setup = setup.clone().training();
    let mut theirs = AdamWConfig::new().with_weight_decay(DECAY).init();
    let mut ours = AdamW::new(AdamWOptions { weight_decay: DECAY.into(), ..AdamWOptions::default() });
    for _ in 0..STEPS {
        let loss = logits(bert, &bank, &setup).powi_scalar(2).sum();
        let gradients = loss.backward();
        bank = if burns {
            let gradients = GradientsParams::from_grads(gradients, &bank);
            theirs.step(RATE, bank, gradients)
        } else {
            let gradients = Gradients::collect(gradients, &bank);
            ours.step(RATE, bank, gradients)
        };
    }
    bank
}

fn base() -> (AutoModel, AdapterBank) {
    let device = Device::default();
    let bert = AutoModel::new_seeded(&BertConfig::new(100, 32, 2, 4, 64), 1, &device);
    let mut bank = AdapterBank::new(bert.spec(), &device.autodiff());
    bank.add_head_seeded("a", &HeadConfig::classification(3), 1).unwrap();
    (bert, bank)
}

#[test]
fn every_method_is_saved_and_loaded_after_steps_with_decay() {
    for method in identifiers() {
        let config = match method.name {
            "compacter" | "compacter++" => format!("{}[reduction_factor=8]", method.name),
            "loreft" => "loreft[r=3]".to_owned(),
            name => name.to_owned(),
        };
        for burns in [true, false] {
            let what = format!("{config}, {}", if burns { "Burn's AdamW" } else { "our AdamW" });
            let (bert, mut bank) = base();
            bank.add_for(&bert, "a", config.parse().unwrap(), 1).unwrap();
            let setup = Setup::adapter("a");
            let bank = stepped(&bert, bank, &setup, burns);
            for (_, reft) in bank.adapter("a").unwrap().reft.iter() {
                for unit in &reft.units {
                    let Projection::Orthogonal(projection) = &unit.projection else { continue };
                    projection.check_signs().unwrap_or_else(|error| panic!("{what}: {error}"));
                }
            }
            let folder = tempfile::tempdir().unwrap();
            save_adapter(folder.path(), &bank, "a", &SaveOptions::default()).unwrap();
            save_head(folder.path(), &bank, "a", &SaveOptions::default()).unwrap();
            let mut loaded = AdapterBank::new(bert.spec(), &Device::default());
            load_adapter(folder.path(), &mut loaded, None).unwrap_or_else(|error| panic!("{what}: {error}"));
            load_head(folder.path(), &mut loaded, None).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(logits(&bert, &bank, &setup).into_data(), logits(&bert, &loaded, &setup).into_data(), "{what}");
        }
    }
}

#[test]
fn a_fusion_is_saved_and_loaded_after_steps_with_decay() {
    for burns in [true, false] {
        let (bert, mut bank) = base();
        for (name, seed) in [("x", 1), ("y", 2)] {
            bank.add_seeded(name, "seq_bn[reduction_factor=8]".parse().unwrap(), seed).unwrap();
        }
        bank.add_fusion("x,y", &["x", "y"], &Default::default(), 3).unwrap();
        let setup = Setup::compose("Fuse(x, y)".parse().unwrap()).train_fusions().with_head("a".to_owned());
        let mut bank = stepped(&bert, bank, &setup, burns);
        let folder = tempfile::tempdir().unwrap();
        save_fusion(folder.path(), &bank, "x,y", &SaveOptions::default()).unwrap();
        let expected = logits(&bert, &bank, &setup).into_data();
        let mut loaded = AdapterBank::new(bert.spec(), &Device::default());
        for name in ["x", "y"] {
            loaded.insert(bank.remove(name).unwrap()).unwrap();
        }
        loaded.insert_head("a", bank.remove_head("a").unwrap()).unwrap();
        load_fusion(folder.path(), &mut loaded, None).unwrap();
        assert_eq!(logits(&bert, &loaded, &setup).into_data(), expected);
    }
}

/// A file whose VeRA has a full matrix of another size than the model's does not fit, and is not run.
#[test]
fn a_square_matrix_of_another_size_is_an_error_on_load() {
    let (bert, mut bank) = base();
    bank.add_seeded("a", "vera[r=4]".parse().unwrap(), 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save_adapter(folder.path(), &bank, "a", &SaveOptions::default()).unwrap();
    for local in ["vera_B", "vera_D"] {
        let mut file = AdapterFolder::read(folder.path()).unwrap();
        let tensor = file.tensors.iter_mut().find(|(name, _)| name.ends_with(local)).unwrap().1;
        (tensor.shape, tensor.values) = (vec![7, 7], vec![0.5; 49]);
        let error = file.into_adapter(bert.spec(), &Device::default(), None).unwrap_err().to_string();
        assert!(error.contains(local) && error.contains("[7, 7]"), "{error}");
    }
}

// A pass at inference reads what training left.

#[test]
fn what_training_changes_is_what_the_next_pass_reads() {
    let device = Device::default();
    let bert = AutoModel::new_seeded(&BertConfig::new(100, 32, 2, 4, 64), 1, &device);
    let mut bank = AdapterBank::new(bert.spec(), &device.clone().autodiff());
    bank.add_seeded("a", "seq_bn|lora[init_weights='bert']|prefix_tuning[prefix_length=2]".parse().unwrap(), 1)
        .unwrap();
    bank.add_head_seeded("a", &HeadConfig::classification(2).with_dropout_prob(Some(0.0)), 1).unwrap();
    let setup = Setup::adapter("a");
    bank.train_only(&setup).unwrap();
    let run = |bank: &AdapterBank, setup: &Setup| {
        let batch = TokenBatch::new([[2, 17, 5, 3].as_slice(), &[7, 6, 5, 4]]);
        let output = bert.forward(&batch, &bank.hooks(setup).unwrap()).unwrap();
        bank.logits(setup, &output).unwrap().remove(0).logits.into_values()
    };
    let before = run(&bank, &setup).into_data();
    let training = setup.clone().training().without_base_dropout();
    let loss = run(&bank, &training).powi_scalar(2).sum();
    let gradients = GradientsParams::from_grads(loss.backward(), &bank);
    bank = SgdConfig::new().init().step(0.1, bank, gradients);
    let (found, expected) = (run(&bank, &setup).into_data(), run(&bank, &training).into_data());
    assert_ne!(before, found);
    found.assert_approx_eq::<f32>(&expected, Tolerance::absolute(1e-6));
}
