//! Jobs of language models: training steps, prompts, and generation.

mod generate;
mod prompt;
mod step;

use burn::tensor::Tensor;
use burn_adapters_model::{Forward, Hooks, Reads, TokenBatch};
use burn_adapters_transformers::AutoModel;

pub(super) use self::generate::prepare as prepare_generate;
pub(super) use self::prompt::prepare as prepare_prompt;
pub(super) use self::step::prepare as prepare_step;
use super::Prepared;
use super::parts::{Base, values};
use crate::Failed;
use crate::data::Batch;
use crate::job::Job;
use crate::make::NAME;
use crate::protocol::{Check, Prepare};

/// The logits of the last token of each row.
fn last_logits(model: &AutoModel, hooks: &Hooks<'_>, batch: &TokenBatch) -> Result<Vec<Vec<f32>>, Failed> {
    let states = model.forward_reading(batch, hooks, Reads::First)?.row_states();
    let logits: Tensor<2> = model.token_logits(states)?;
    let [_, vocabulary] = logits.dims();
    Ok(values(logits)?.chunks(vocabulary.max(1)).map(<[f32]>::to_vec).collect())
}

/// The part of a check that every job has.
fn checked(batch: &Batch) -> Check {
    Check { tokens: batch.count(), checksum: batch.checksum(), ..Check::default() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use burn::tensor::{Device, Distribution, Tensor, TensorData};
    use burn_adapters_tensors::{FloatType, TensorFileError, save_safetensors};
    use serde_json::json;

    use crate::jobs::prepare;
    use crate::make;
    use crate::protocol::{Kind, MakeAdapter};

    const LORA: &str =
        "lora[r=2,attn_matrices=['q','k','v','o'],gate_lora=True,intermediate_lora=True,output_lora=True]";

    /// A Llama of one layer, with random weights.
    fn tiny_llama(dir: &Path, device: &Device) {
        let config = json!({
            "model_type": "llama", "vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": true,
        });
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let mut shapes = vec![("embed_tokens".to_owned(), vec![40, 16]), ("norm".to_owned(), vec![16])];
        let of_layer = [
            ("input_layernorm", vec![16]),
            ("self_attn.q_proj", vec![16, 16]),
            ("self_attn.k_proj", vec![8, 16]),
            ("self_attn.v_proj", vec![8, 16]),
            ("self_attn.o_proj", vec![16, 16]),
            ("post_attention_layernorm", vec![16]),
            ("mlp.gate_proj", vec![24, 16]),
            ("mlp.up_proj", vec![24, 16]),
            ("mlp.down_proj", vec![16, 24]),
        ];
        shapes.extend(of_layer.map(|(name, shape)| (format!("layers.0.{name}"), shape)));
        let shapes = shapes.into_iter().map(|(name, shape)| (format!("model.{name}.weight"), (FloatType::F32, shape)));
        let shapes: std::collections::BTreeMap<String, (FloatType, Vec<usize>)> = shapes.collect();
        device.seed(5);
        let draw = |name: &str| {
            let shape = shapes[name].1.clone();
            let values = Tensor::<1>::random([shape.iter().product::<usize>()], Distribution::Normal(0.0, 0.2), device);
            Ok::<TensorData, TensorFileError>(TensorData::new(values.into_data().try_to_vec::<f32>().unwrap(), shape))
        };
        save_safetensors(&dir.join("model.safetensors"), &shapes, &[("format", "pt")], draw).unwrap();
    }

    #[test]
    fn every_job_of_a_language_model_runs_on_a_tiny_one() {
        let (device, dir) = (Device::default(), tempfile::tempdir().unwrap());
        let (model, adapter) = (dir.path().to_owned(), dir.path().join("adapter"));
        tiny_llama(&model, &device);
        let make = MakeAdapter { dir: adapter.clone(), model: model.clone(), config: LORA.into(), noise: 0.02 };
        make::peft_adapter(&make, &device).unwrap();
        for (kind, adapters) in [(Kind::LmStep, 1), (Kind::LmPrompt, 0), (Kind::LmGenerate, 0), (Kind::LmGenerate, 2)] {
            let request = json!({
                "kind": kind, "model": model, "adapter": adapter, "config": LORA, "adapters": adapters, "new_tokens": 3,
                "batches": [{"tokens": [[3, 4, 5, 6], [7, 8, 9, 10]]}],
            });
            let (mut job, check) = prepare(&serde_json::from_value(request).unwrap(), &device).unwrap();
            match kind {
                Kind::LmStep => assert!(check.parameters > 0 && check.gradient_norm.is_some_and(|norm| norm > 0.0)),
                _ => assert_eq!(check.logits.iter().map(Vec::len).collect::<Vec<_>>(), [40, 40]),
            }
            if kind == Kind::LmGenerate {
                assert_eq!(check.generated.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3]);
            }
            job.unit(0).unwrap();
        }
    }
}
