//! A small decoder: pre-norm layers, causal attention with rotary positions and grouped heads, a gated feed-forward block.

use burn::module::Module;
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig};
use burn::tensor::activation::silu;
use burn::tensor::{Device, Tensor};
use burn_adapters::prelude::*;

pub(crate) const VOCABULARY: usize = 128;
pub(crate) const HIDDEN: usize = 32;
pub(crate) const LAYERS: usize = 2;
const HEADS: usize = 4;
const KEY_VALUE_HEADS: usize = 2;
const WIDE: usize = 64;

/// One layer, of Burn's own modules.
#[derive(Module, Debug)]
pub(crate) struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    norm: RmsNorm,
}

/// The decoder. Adapters appear nowhere in it.
#[derive(Module, Debug)]
pub(crate) struct Decoder {
    embeddings: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    #[module(skip)]
    spec: ModelSpec,
    #[module(skip)]
    attention: Attention,
}

impl Decoder {
    pub(crate) fn new(device: &Device) -> Self {
        let head = HIDDEN / HEADS;
        let linear = |input, output| LinearConfig::new(input, output).with_bias(false).init(device);
        let norm = || RmsNormConfig::new(HIDDEN).init(device);
        let layer = |_| Layer {
            query: linear(HIDDEN, HIDDEN),
            key: linear(HIDDEN, KEY_VALUE_HEADS * head),
            value: linear(HIDDEN, KEY_VALUE_HEADS * head),
            output: linear(HIDDEN, HIDDEN),
            attention_norm: norm(),
            gate: linear(HIDDEN, WIDE),
            up: linear(HIDDEN, WIDE),
            down: linear(WIDE, HIDDEN),
            norm: norm(),
        };
        let stack = StackSpec::decoder(LAYERS, HIDDEN, [HEADS, KEY_VALUE_HEADS], WIDE);
        Self {
            embeddings: EmbeddingConfig::new(VOCABULARY, HIDDEN).init(device),
            layers: (0..LAYERS).map(layer).collect(),
            norm: norm(),
            spec: ModelSpec::new("own-decoder", HIDDEN).with_stack(stack),
            attention: Attention::new(HEADS)
                .with_key_value_heads(KEY_VALUE_HEADS)
                .causal()
                .with_rotary(Rotary::new(head, 10_000.0)),
        }
    }

    /// The logits of the next token after each position, by the embeddings: `[rows, positions, VOCABULARY]`.
    pub(crate) fn next_token(&self, hidden: Tensor<3>) -> Tensor<3> {
        hidden.matmul(self.embeddings.weight.val().transpose().unsqueeze())
    }
}

// These lines are all that banks, training, evaluation and files need from a model.

impl BaseModel for Decoder {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn limits(&self) -> Limits {
        Limits { vocabulary: VOCABULARY, token_types: 1, sequence: 512, pad_id: 0 }
    }

    fn device(&self) -> Device {
        self.embeddings.weight.lazy_device()
    }

    fn run(&self, pass: &mut Pass<'_>) -> Result<(), BaseError> {
        pass.embeddings(self.embeddings.forward(pass.ids()));
        pass.layers(StackKind::Decoder, 0..LAYERS, |layer, hidden| {
            let own = &self.layers[layer.index()];
            let normed = own.attention_norm.forward(hidden.clone());
            let query = layer.linear(Place::Query, &own.query, layer.read_positions(normed.clone()));
            let key = layer.linear(Place::Key, &own.key, normed.clone());
            let value = layer.linear(Place::Value, &own.value, normed.clone());
            let attended = layer.attention(Place::Attention, &self.attention, [query, key, value], &normed);
            let attended = own.output.forward(attended);
            let hidden = layer.sublayer(Place::Attention, attended, layer.read_positions(hidden), None);

            let normed = own.norm.forward(hidden.clone());
            let gate = silu(own.gate.forward(normed.clone()));
            let wide = gate * layer.linear(Place::FeedForwardUp, &own.up, normed);
            let narrow = layer.linear(Place::FeedForwardDown, &own.down, wide);
            layer.sublayer(Place::FeedForward, narrow, hidden, None)
        });
        pass.map(|hidden| self.norm.forward(hidden));
        Ok(())
    }
}

impl Matrices for Decoder {
    fn linear(&self, site: Site) -> Option<&Linear> {
        let layer = self.layers.get(site.layer).filter(|_| site.stack == StackKind::Decoder)?;
        match site.place {
            Place::Query => Some(&layer.query),
            Place::Key => Some(&layer.key),
            Place::Value => Some(&layer.value),
            Place::FeedForwardUp => Some(&layer.up),
            Place::FeedForwardDown => Some(&layer.down),
            _ => None,
        }
    }
}
