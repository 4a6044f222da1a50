//! A pass at inference reads what training left.

#![allow(clippy::unwrap_used)]

use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tolerance};
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::{AdapterBank, BaseModel, Forward, Setup, TokenBatch};
use burn_adapters_transformers::{AutoModel, BertConfig};

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
