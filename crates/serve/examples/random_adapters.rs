//! Writes folders of adapters with random weights for a model, of five methods in turn: something to serve and to measure.
//!
//! ```text
//! cargo run --release -p burn-adapters-serve --example random_adapters -- MODEL FOLDER COUNT
//! ```
//!
//! An encoder's adapters get a head for two classes. Weights are drawn so that every adapter changes the answers.

use std::error::Error;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use burn_adapters_checkpoint::{SaveOptions, save_adapter, save_head};
use burn_adapters_core::StackKind;
use burn_adapters_goldens::Noise;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::AdapterBank;
use burn_adapters_transformers::ModelConfig;

const METHODS: [(&str, &str); 5] = [
    ("bottleneck", "seq_bn[reduction_factor=32]"),
    ("ia3", "ia3"),
    ("lora", "lora[r=4]"),
    ("prefix", "prefix_tuning_flat[prefix_length=8]"),
    ("prompt", "prompt_tuning[prompt_length=8]"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        // A few for a tiny model show that everything works.
        [quick] if quick == "--quick" => {
            let config = r#"{"model_type": "llama", "vocab_size": 50, "hidden_size": 64, "intermediate_size": 64,
                "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
            write(&ModelConfig::from_json_str(config)?, tempfile::tempdir()?.path(), METHODS.len())
        }
        [model, folder, count] => write(&ModelConfig::from_dir(Path::new(model))?, Path::new(folder), count.parse()?),
        _ => Err("expected the model, the folder to write to, and the number of adapters".into()),
    }
}

fn write(config: &ModelConfig, folder: &Path, count: usize) -> Result<(), Box<dyn Error>> {
    let device = Device::default();
    let is_decoder = config.spec().stack(StackKind::Decoder).is_some();
    for number in 0..count {
        let (method, text) = METHODS[number % METHODS.len()];
        let name = format!("{method}-{number:04}");
        let mut bank = AdapterBank::new(config.spec(), &device);
        let (adapter, _) = bank.plan(&name, text.parse()?)?;
        bank.insert(adapter.map(&mut Noise::new(0.035, number as u32)))?;
        let dir = folder.join(&name);
        save_adapter(&dir, &bank, &name, &SaveOptions::default())?;
        if !is_decoder {
            bank.add_head_seeded(&name, &HeadConfig::classification(2), number as u64)?;
            save_head(&dir, &bank, &name, &SaveOptions::default())?;
        }
    }
    Ok(())
}
