//! Files that both sides load: models with random weights, adapters.

use std::collections::BTreeMap;
use std::fs;

use burn::module::Module;
use burn::tensor::{Device, TensorData};
use burn_adapters_checkpoint::{ExportOptions, FolderSave, SaveOptions, save_adapter, save_head, stage_peft};
use burn_adapters_goldens::Noise;
use burn_adapters_heads::HeadConfig;
use burn_adapters_model::AdapterBank;
use burn_adapters_tensors::{FloatType, TensorFileError, save_safetensors};
use burn_adapters_transformers::ModelConfig;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution as _, Normal};
use serde_json::json;

use crate::Failed;
use crate::protocol::{MakeAdapter, MakeModel};

/// The name of every adapter and head.
pub(crate) const NAME: &str = "bench";

/// The labels of the reviews, in the order of the head's logits.
const LABELS: [&str; 2] = ["negative", "positive"];

/// The standard deviation of a model's random weights.
const RANGE: f32 = 0.02;

/// Writes a BERT with random weights in Hugging Face's format.
pub(crate) fn model(make: &MakeModel) -> Result<(), Failed> {
    if make.heads == 0 || make.hidden == 0 || !make.hidden.is_multiple_of(make.heads) {
        return Err(format!("{} heads do not share a width of {}", make.heads, make.hidden).into());
    }
    fs::create_dir_all(&make.dir)?;
    let config = json!({
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": make.vocabulary,
        "hidden_size": make.hidden, "num_hidden_layers": make.layers, "num_attention_heads": make.heads,
        "intermediate_size": make.intermediate, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 512, "type_vocab_size": 2,
        "initializer_range": RANGE, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "position_embedding_type": "absolute",
    });
    for name in ["tokenizer.json", "vocab.txt", "tokenizer_config.json"] {
        let from = make.tokenizer.join(name);
        if from.is_file() {
            fs::copy(from, make.dir.join(name))?;
        }
    }

    let mut random = StdRng::seed_from_u64(7);
    let normal = Normal::new(0.0, RANGE).map_err(|error| error.to_string())?;
    let mut drawn = BTreeMap::new();
    for (name, shape) in shapes(make) {
        let one = name.ends_with("LayerNorm.weight");
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| if one { 1.0 } else { normal.sample(&mut random) }).collect();
        drawn.insert(name, TensorData::new(values, shape));
    }
    let tensors = drawn.iter().map(|(name, data)| (name.clone(), (FloatType::F32, data.shape().to_vec()))).collect();
    let path = make.dir.join("model.safetensors");
    save_safetensors::<TensorFileError>(&path, &tensors, &[("format", "pt")], |name| Ok(drawn[name].clone()))?;
    // Last: a folder with a configuration is complete.
    fs::write(make.dir.join("config.json"), serde_json::to_string_pretty(&config)?)?;
    Ok(())
}

/// The names and shapes of the tensors in a BERT's file.
fn shapes(make: &MakeModel) -> Vec<(String, Vec<usize>)> {
    let (hidden, wide) = (make.hidden, make.intermediate);
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![make.vocabulary, hidden]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![512, hidden]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, hidden]),
    ];
    let norm = |name: String| [(format!("{name}.weight"), vec![hidden]), (format!("{name}.bias"), vec![hidden])];
    let linear = |name: String, output: usize, input: usize| {
        [(format!("{name}.weight"), vec![output, input]), (format!("{name}.bias"), vec![output])]
    };
    shapes.extend(norm("embeddings.LayerNorm".into()));
    for layer in 0..make.layers {
        let at = |name: &str| format!("encoder.layer.{layer}.{name}");
        for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            shapes.extend(linear(at(name), hidden, hidden));
        }
        shapes.extend(norm(at("attention.output.LayerNorm")));
        shapes.extend(linear(at("intermediate.dense"), wide, hidden));
        shapes.extend(linear(at("output.dense"), hidden, wide));
        shapes.extend(norm(at("output.LayerNorm")));
    }
    shapes.extend(linear("pooler.dense".into(), hidden, hidden));
    shapes
}

/// Writes an adapter and its head in AdapterHub's format.
pub(crate) fn adapter(make: &MakeAdapter, device: &Device) -> Result<(), Failed> {
    let config = ModelConfig::from_dir(&make.model)?;
    let mut bank = AdapterBank::new(config.spec(), device);
    bank.add_seeded(NAME, make.config.parse()?, 11)?;
    bank.add_head_seeded(NAME, &head(), 13)?;
    let bank = with_noise(bank, make.noise, 17);
    let options = SaveOptions::default();
    save_adapter(&make.dir, &bank, NAME, &options)?;
    save_head(&make.dir, &bank, NAME, &options)?;
    Ok(())
}

/// Writes a LoRA of a language model, with the model's own head, in PEFT's format.
pub(crate) fn peft_adapter(make: &MakeAdapter, device: &Device) -> Result<(), Failed> {
    let config = ModelConfig::from_dir(&make.model)?;
    let mut bank = AdapterBank::new(config.spec(), device);
    bank.add_seeded(NAME, make.config.parse()?, 11)?;
    bank.add_model_head(NAME, &HeadConfig::causal_lm(config.decoder_limits().vocabulary))?;
    let bank = with_noise(bank, make.noise, 17);
    let mut save = FolderSave::new(&make.dir)?;
    stage_peft(&mut save, &bank, NAME, &ExportOptions { base_model: String::new(), head: Some(NAME.into()) })?;
    save.commit()?;
    Ok(())
}

/// A head for the reviews.
pub(crate) fn head() -> HeadConfig {
    HeadConfig::classification(LABELS.len()).with_labels(LABELS)
}

/// Adds noise of this standard deviation to every parameter.
pub(crate) fn with_noise<M: Module>(module: M, noise: f64, seed: u32) -> M {
    // A uniform number deviates by the spread over √3.
    module.map(&mut Noise::new((noise * 3.0_f64.sqrt()) as f32, seed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn_adapters_checkpoint::{load_adapter, load_head};
    use burn_adapters_model::{BaseModel, Forward, Hooks, Row, Setup, TokenBatch};
    use burn_adapters_transformers::AutoModel;

    use super::*;

    #[test]
    fn a_made_model_and_adapter_load_and_the_adapter_makes_a_difference() {
        let dir = tempfile::tempdir().unwrap();
        let (base, folder) = (dir.path().join("model"), dir.path().join("adapter"));
        let tokenizer = dir.path().to_owned();
        let make = MakeModel {
            dir: base.clone(),
            tokenizer,
            vocabulary: 50,
            hidden: 16,
            layers: 2,
            heads: 2,
            intermediate: 32,
        };
        model(&make).unwrap();
        let device = Device::default();
        let (model, report) = AutoModel::from_dir(&base, &device).unwrap();
        assert_eq!(report.parameters, model.spec().parameters);

        let make = MakeAdapter { dir: folder.clone(), model: base, config: "lora".into(), noise: 0.1 };
        adapter(&make, &device).unwrap();
        let mut bank = AdapterBank::new(model.spec(), &device);
        load_adapter(&folder, &mut bank, None).unwrap();
        load_head(&folder, &mut bank, None).unwrap();
        let batch = || TokenBatch::from_rows(&[Row::new(vec![3, 4, 5])]);
        let with = model.forward(&batch(), &bank.hooks(&Setup::adapter(NAME)).unwrap()).unwrap().hidden;
        let without = model.forward(&batch(), &Hooks::none()).unwrap().hidden;
        assert!((with - without).abs().max().into_scalar::<f32>() > 1e-3);
    }

    #[test]
    fn heads_that_do_not_share_the_width_are_an_error() {
        let dir = std::path::PathBuf::from("none");
        let make = MakeModel {
            dir: dir.clone(),
            tokenizer: dir,
            vocabulary: 9,
            hidden: 10,
            layers: 1,
            heads: 3,
            intermediate: 4,
        };
        assert!(model(&make).is_err());
    }
}
