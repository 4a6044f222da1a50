//! A BERT as a user of Burn writes it: of Burn's own modules, nothing of ours.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Dropout, DropoutConfig, Embedding, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_model::Hooks;
use burn_adapters_train::{BoxError, Encoded, TextEncoder, TokenBatch};
use burn_adapters_transformers::Batch;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

use crate::Failed;

/// Embeddings and Burn's `TransformerEncoder`, with the weights of a BERT.
#[derive(Module, Debug)]
pub(super) struct Plain {
    words: Embedding,
    positions: Embedding,
    token_types: Embedding,
    norm: LayerNorm,
    dropout: Dropout,
    encoder: TransformerEncoder,
}

impl Plain {
    pub(super) fn load(dir: &Path, device: &Device) -> Result<Self, Failed> {
        let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json"))?)?;
        let size = |name: &str| {
            let size = config[name].as_u64().and_then(|size| usize::try_from(size).ok());
            size.ok_or_else(|| format!("config.json has no {name}"))
        };
        let (hidden, layers, heads) = (size("hidden_size")?, size("num_hidden_layers")?, size("num_attention_heads")?);
        let epsilon = config["layer_norm_eps"].as_f64().unwrap_or(1e-12);
        let rate = config["hidden_dropout_prob"].as_f64().unwrap_or(0.1);
        let bytes = std::fs::read(dir.join("model.safetensors"))?;
        let weights = Weights { file: SafeTensors::deserialize(&bytes)?, device };
        let mut encoder = TransformerEncoderConfig::new(hidden, size("intermediate_size")?, heads, layers)
            .with_dropout(rate)
            .with_layer_norm_eps(epsilon)
            .init(device);
        for (index, layer) in encoder.layers.iter_mut().enumerate() {
            let at = |name: &str| format!("encoder.layer.{index}.{name}");
            weights.linear(&mut layer.mha.query, &at("attention.self.query"))?;
            weights.linear(&mut layer.mha.key, &at("attention.self.key"))?;
            weights.linear(&mut layer.mha.value, &at("attention.self.value"))?;
            weights.linear(&mut layer.mha.output, &at("attention.output.dense"))?;
            weights.norm(&mut layer.norm_1, &at("attention.output.LayerNorm"))?;
            weights.linear(&mut layer.pwff.linear_inner, &at("intermediate.dense"))?;
            weights.linear(&mut layer.pwff.linear_outer, &at("output.dense"))?;
            weights.norm(&mut layer.norm_2, &at("output.LayerNorm"))?;
        }
        let embedding = |name: &str| weights.matrix(&format!("embeddings.{name}_embeddings.weight"));
        let mut norm = LayerNormConfig::new(hidden).with_epsilon(epsilon).init(device);
        weights.norm(&mut norm, "embeddings.LayerNorm")?;
        Ok(Self {
            words: Embedding { weight: embedding("word")? },
            positions: Embedding { weight: embedding("position")? },
            token_types: Embedding { weight: embedding("token_type")? },
            norm,
            dropout: DropoutConfig::new(rate).init(),
            encoder,
        })
    }

    /// Burn's dropout is on wherever there is a graph.
    pub(super) fn without_dropout(mut self) -> Self {
        self.dropout.prob = 0.0;
        for layer in &mut self.encoder.layers {
            layer.dropout.prob = 0.0;
            layer.mha.dropout.prob = 0.0;
            layer.pwff.dropout.prob = 0.0;
        }
        self
    }
}

struct Weights<'a> {
    file: SafeTensors<'a>,
    device: &'a Device,
}

impl Weights<'_> {
    fn read(&self, name: &str) -> Result<(Vec<f32>, Vec<usize>), Failed> {
        let view = self.file.tensor(name)?;
        if view.dtype() != Dtype::F32 {
            return Err(format!("{name}: expected f32, found {:?}", view.dtype()).into());
        }
        let (numbers, _) = view.data().as_chunks::<4>();
        Ok((numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(), view.shape().to_vec()))
    }

    fn param<const D: usize>(&self, numbers: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::from_data(TensorData::new(numbers, shape), self.device))
    }

    fn vector(&self, name: &str) -> Result<Param<Tensor<1>>, Failed> {
        let (numbers, _) = self.read(name)?;
        let len = numbers.len();
        Ok(self.param(numbers, [len]))
    }

    fn matrix(&self, name: &str) -> Result<Param<Tensor<2>>, Failed> {
        match self.read(name)? {
            (numbers, shape) if shape.len() == 2 => Ok(self.param(numbers, [shape[0], shape[1]])),
            (_, shape) => Err(format!("{name}: expected a matrix, found {shape:?}").into()),
        }
    }

    /// Burn keeps `[input, output]`, the file `[output, input]`.
    fn linear(&self, layer: &mut Linear, name: &str) -> Result<(), Failed> {
        let (numbers, shape) = self.read(&format!("{name}.weight"))?;
        let [outputs, inputs] = shape[..] else { return Err(format!("{name}: found {shape:?}").into()) };
        let turned = (0..inputs).flat_map(|input| (0..outputs).map(move |output| (input, output)));
        let turned = turned.map(|(input, output)| numbers[output * inputs + input]).collect();
        layer.weight = self.param(turned, [inputs, outputs]);
        layer.bias = Some(self.vector(&format!("{name}.bias"))?);
        Ok(())
    }

    fn norm(&self, norm: &mut LayerNorm, name: &str) -> Result<(), Failed> {
        norm.gamma = self.vector(&format!("{name}.weight"))?;
        norm.beta = Some(self.vector(&format!("{name}.bias"))?);
        Ok(())
    }
}

impl TextEncoder for Plain {
    fn encode(&self, batch: &TokenBatch<'_>, _: &Hooks<'_>) -> Result<Encoded, BoxError> {
        let batch = Batch::from_rows(batch.rows().iter().copied(), 0, &TextEncoder::device(self));
        let [_, length] = batch.input_ids.dims();
        let positions = self.positions.weight.val().narrow(0, 0, length).unsqueeze::<3>();
        let types = self.token_types.weight.val().narrow(0, 0, 1).unsqueeze::<3>();
        let sum = self.words.forward(batch.input_ids) + (positions + types);
        let mut input = TransformerEncoderInput::new(self.dropout.forward(self.norm.forward(sum)));
        if let Some(padding) = batch.padding {
            input = input.mask_pad(padding);
        }
        Ok(Encoded { hidden: self.encoder.forward(input), pooled: None })
    }

    fn device(&self) -> Device {
        self.words.weight.lazy_device()
    }
}
