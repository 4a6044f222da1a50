//! A BERT as a user of Burn would write it: from Burn's own modules, without ours.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::transformer::{TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput};
use burn::nn::{Dropout, DropoutConfig, Embedding, LayerNorm, LayerNormConfig, Linear};
use burn::tensor::{Device, Tensor, TensorData};
use burn_adapters_core::{ModelSpec, Site};
use burn_adapters_model::{BaseError, BaseModel, Limits, Matrices, Pass};
use burn_adapters_tensors::{FloatType, TensorFile, transposed};
use burn_adapters_transformers::ModelConfig;
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
    #[module(skip)]
    spec: ModelSpec,
    #[module(skip)]
    limits: Limits,
}

impl Plain {
    pub(super) fn load(dir: &Path, device: &Device) -> Result<Self, Failed> {
        let config_of_model = ModelConfig::from_dir(dir)?;
        let config: Value = serde_json::from_slice(&std::fs::read(dir.join("config.json"))?)?;
        let size = |name: &str| {
            let size = config[name].as_u64().and_then(|size| usize::try_from(size).ok());
            size.ok_or_else(|| format!("config.json has no {name}"))
        };
        let (hidden, layers, heads) = (size("hidden_size")?, size("num_hidden_layers")?, size("num_attention_heads")?);
        let epsilon = config["layer_norm_eps"].as_f64().unwrap_or(1e-12);
        let rate = config["hidden_dropout_prob"].as_f64().unwrap_or(0.1);
        let file = TensorFile::open(&dir.join("model.safetensors"), u64::MAX)?;
        let weights = Weights { file, device };
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
            spec: config_of_model.spec().clone(),
            limits: config_of_model.limits(),
        })
    }

    /// Burn's dropout is on whenever there is a graph.
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
    file: TensorFile,
    device: &'a Device,
}

impl Weights<'_> {
    fn read<const D: usize>(&self, name: &str) -> Result<TensorData, Failed> {
        let data = self.file.read_as(name, FloatType::F32)?;
        match data.shape().to_vec() {
            shape if shape.len() == D => Ok(data),
            shape => Err(format!("{name}: expected {D} dimensions, found {shape:?}").into()),
        }
    }

    fn param<const D: usize>(&self, data: TensorData) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::from_data(data, self.device))
    }

    fn vector(&self, name: &str) -> Result<Param<Tensor<1>>, Failed> {
        Ok(self.param(self.read::<1>(name)?))
    }

    fn matrix(&self, name: &str) -> Result<Param<Tensor<2>>, Failed> {
        Ok(self.param(self.read::<2>(name)?))
    }

    /// Burn stores `[input, output]`, the file `[output, input]`.
    fn linear(&self, layer: &mut Linear, name: &str) -> Result<(), Failed> {
        layer.weight = self.param(transposed(self.read::<2>(&format!("{name}.weight"))?));
        layer.bias = Some(self.vector(&format!("{name}.bias"))?);
        Ok(())
    }

    fn norm(&self, norm: &mut LayerNorm, name: &str) -> Result<(), Failed> {
        norm.gamma = self.vector(&format!("{name}.weight"))?;
        norm.beta = Some(self.vector(&format!("{name}.bias"))?);
        Ok(())
    }
}

/// A plain model has no matrices that adapters could act on.
impl Matrices for Plain {
    fn linear(&self, _: Site) -> Option<&Linear> {
        None
    }
}

impl BaseModel for Plain {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn device(&self) -> Device {
        self.words.weight.lazy_device()
    }

    fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError> {
        let length = pass.batch().sequence();
        let positions = self.positions.weight.val().narrow(0, 0, length).unsqueeze::<3>();
        let types = self.token_types.weight.val().narrow(0, 0, 1).unsqueeze::<3>();
        let sum = self.words.forward(pass.ids()) + (positions + types);
        let mut input = TransformerEncoderInput::new(self.dropout.forward(self.norm.forward(sum)));
        let lengths = pass.batch().lengths();
        if lengths.iter().any(|own| *own < length) {
            let values: Vec<bool> =
                lengths.iter().flat_map(|own| (0..length).map(move |position| position >= *own)).collect();
            let padding = TensorData::new(values, [lengths.len(), length]);
            input = input.mask_pad(Tensor::from_data(padding, &self.device()));
        }
        pass.embeddings(self.encoder.forward(input));
        Ok(())
    }
}
