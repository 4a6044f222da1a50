//! Your own decoder, from its first training to an adapter in a file.
//!
//! The model ([`model`]) consists of Burn's own modules and implements [`BaseModel`]. It first learns the letters of a
//! small English text, is then frozen, and gets two adapters. One learns a German text in a custom training loop. The
//! other tags letters with the crate's `Trainer`, and is evaluated, saved, and loaded again.
//!
//! ```text
//! cargo run --release --example own_decoder
//! ```

mod model;
mod text;

use std::error::Error;

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn_adapters::checkpoint::{SaveOptions, load_adapter, load_head, save_adapter, save_head};
use burn_adapters::heads::{HeadConfig, Targets};
use burn_adapters::model::Row;
use burn_adapters::prelude::*;
use burn_adapters::train::{TokenData, TrainConfig, Trainer, evaluate};

use model::{Decoder, VOCABULARY};
use text::{ENGLISH, GERMAN};

/// The letters of a text in rows of this length.
const LENGTH: usize = 64;

fn rows(text: &str) -> Vec<Row> {
    let ids: Vec<u32> = text.bytes().map(|byte| u32::from(byte) % VOCABULARY as u32).collect();
    ids.chunks(LENGTH).filter(|row| row.len() > 1).map(|row| Row::new(row.to_vec())).collect()
}

/// The mean cross-entropy of each next letter.
fn loss(model: &Decoder, rows: &[Row], hooks: &Hooks) -> Result<Tensor<1>, BaseError> {
    let output = model.forward(&TokenBatch::from_rows(rows), hooks)?;
    let [_, positions, _] = output.hidden.dims();
    let logits = log_softmax(model.next_token(output.hidden), 2).flatten::<2>(0, 1);
    // The letter after position `p` of a row is its next one; the last position of a row has none.
    let (mut places, mut letters) = (Vec::new(), Vec::new());
    for (row, Row { ids, .. }) in rows.iter().enumerate() {
        places.extend((0..ids.len() - 1).map(|position| (row * positions + position) as i32));
        letters.extend(ids[1..].iter().map(|id| *id as i32));
    }
    let count = letters.len();
    let ints = |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &model.device());
    let (places, letters) = (ints(places), ints(letters));
    Ok(-logits.select(0, places).gather(1, letters.reshape([count, 1])).mean())
}

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let autodiff = device.clone().autodiff();
    device.seed(5);

    // All weights of the base model learn English.
    let (english, german) = (rows(ENGLISH), rows(GERMAN));
    let mut decoder = Decoder::new(&autodiff);
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..=120 {
        let loss = loss(&decoder, &english, &Hooks::none())?;
        if step % 40 == 0 {
            println!("English, all weights,   step {step:>3}: {:.3}", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &decoder);
        decoder = optimizer.step(5e-3, decoder, gradients);
    }

    // From here on it is frozen, on the plain device. An adapter learns German.
    let decoder = decoder.valid();
    let mut bank = AdapterBank::new(decoder.spec(), &autodiff);
    println!(
        "{}",
        bank.add_seeded("german", "lora[r=4,attn_matrices=['q','k','v']]|seq_bn[reduction_factor=2]".parse()?, 1)?
    );
    let setup = Setup::adapter("german").training();
    bank.train_only(&setup)?;
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..=80 {
        let loss = loss(&decoder, &german, &bank.hooks(&setup)?)?;
        if step % 40 == 0 {
            println!("German, an adapter,     step {step:>3}: {:.3}", loss.clone().into_scalar::<f32>());
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &bank);
        bank = optimizer.step(5e-3, bank, gradients);
    }
    let value = |rows: &[Row], setup: Setup| -> Result<f32, Box<dyn Error>> {
        Ok(loss(&decoder, rows, &bank.hooks(&setup)?)?.into_scalar::<f32>())
    };
    println!(
        "German without the adapter {:.3}, with it {:.3}; English without it is as before: {:.3}",
        value(&german, Setup::base())?,
        value(&german, Setup::adapter("german"))?,
        value(&english, Setup::base())?
    );

    // Another adapter and a head tag every letter: does it begin a word?
    bank.add_seeded("words", "seq_bn[reduction_factor=2]".parse()?, 2)?;
    bank.add_head_seeded("words", &HeadConfig::tagging(2).with_labels(["inside", "begin"]), 3)?;
    let tags = |row: &Row| {
        let begins = |at: usize| at == 0 || row.ids[at - 1] == u32::from(b' ');
        (0..row.ids.len()).map(|at| Some(usize::from(begins(at)))).collect()
    };
    let targets = Targets::Tokens(english.iter().map(tags).collect());
    let data = TokenData::new("English", english.clone(), Some(targets))?;
    let setup = Setup::adapter("words");
    let config = TrainConfig::new().with_epochs(20).with_batch_size(4).with_learning_rate(5e-3);
    let trained = Trainer::new(config).train(&decoder, bank, &setup, &data, None, &mut ())?;
    let evaluation = evaluate(&decoder, &trained.bank, &setup, &data, 4)?;
    println!("tagging: loss {:.3}", evaluation.loss);

    // Its files are AdapterHub's, and the adapter that is read from them is the same.
    let folder = std::env::temp_dir().join(format!("own-decoder-{}", std::process::id()));
    save_adapter(&folder, &trained.bank, "words", &SaveOptions::default())?;
    save_head(&folder, &trained.bank, "words", &SaveOptions::default())?;
    let mut loaded = AdapterBank::new(decoder.spec(), &device);
    load_adapter(&folder, &mut loaded, None)?;
    load_head(&folder, &mut loaded, None)?;
    std::fs::remove_dir_all(&folder)?;
    let again = evaluate(&decoder, &loaded, &setup, &data, 4)?;
    println!("read from its files: loss {:.3}", again.loss);
    if again.logits != evaluation.logits {
        return Err("the adapter that was read computes something else".into());
    }
    Ok(())
}
