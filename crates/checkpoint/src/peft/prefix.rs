//! Prefix tuning of PEFT: keys and values before those of the text, in each layer.
//!
//! PEFT puts the prefix into the cache of a model, as the keys and values of the first `p` positions, so that the text begins at
//! position `p`. Its keys are not rotated. Here the text begins at position 0. Scores depend on differences of rotary positions
//! alone, so that a key of PEFT's is here the key turned back by `p` positions: `⟨R(t + p) q, k⟩ = ⟨R(t) q, R(-p) k⟩`. Values are
//! the same.

use burn_adapters_config::PrefixTuningConfig;
use burn_adapters_core::{ModelSpec, Place, Rotary, StackKind};
use burn_adapters_files::shorten;
use burn_adapters_prefix_tuning::PrefixKind;
use burn_adapters_tensors::Tensors;
use serde_json::{Map, Value};

use super::settings::number;
use crate::convert::Converted;

const PREFIX: &str = "prompt_embeddings";

/// The prefixes of a model whose positions are rotary: `[length, layers, 2, heads, head_dim]`, keys and values.
pub(super) struct Prefix<'a> {
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) head_dim: usize,
    rotary: &'a [Rotary],
}

impl<'a> Prefix<'a> {
    /// Those of a model.
    ///
    /// # Errors
    /// The reason why a prefix of PEFT is not one of ours.
    pub(super) fn of(spec: &'a ModelSpec) -> Result<Self, String> {
        let moves = "PEFT counts the prefix as positions of the text, and prefixes here do not";
        let model_type = &spec.model_type;
        let [stack] = spec.stacks.as_slice() else {
            return Err(format!(
                "{moves}; the decoder of this {model_type} model has other positions than rotary ones"
            ));
        };
        if stack.kind == StackKind::Encoder || stack.attentions != [Place::Attention] {
            return Err(format!("PEFT has prefixes for decoders, and this {model_type} model is an encoder"));
        }
        if spec.has_position_table {
            return Err(format!(
                "{moves}, which moves every token in the table of positions of this {model_type} model"
            ));
        }
        if stack.has_windows {
            return Err(format!(
                "{moves}: in the layers of this {model_type} model whose attention has a window, its prefix goes out of sight"
            ));
        }
        if stack.rotary.len() != stack.layers {
            return Err(format!("{moves}; the positions of this {model_type} model are not rotary"));
        }
        let (layers, heads, head_dim) = (stack.layers, stack.key_value_heads, stack.head_dim);
        Ok(Self { layers, heads, head_dim, rotary: &stack.rotary })
    }

    /// Turns all keys by a number of positions.
    pub(super) fn turn(&self, values: &mut [f32], positions: f64) {
        let of_layer = 2 * self.heads * self.head_dim;
        for (index, layer) in values.chunks_mut(of_layer.max(1)).enumerate() {
            let Some(rotary) = self.rotary.get(index % self.layers.max(1)) else { continue };
            let keys = layer.chunks_mut(self.head_dim.max(1)).take(self.heads);
            keys.for_each(|key| rotary.turn(key, positions));
        }
    }
}

/// Reads a prefix. The MLP of `prefix_projection` is not in a file: the prefix is what it computed.
pub(super) fn read(config: &Map<String, Value>, tensors: &Tensors, spec: &ModelSpec) -> Result<Converted, String> {
    if let Some(name) = tensors.keys().find(|name| *name != PREFIX) {
        return Err(format!("its tensor `{}` is no part of a prefix", shorten(name)));
    }
    let tensor = tensors.get(PREFIX).ok_or_else(|| format!("the tensor `{PREFIX}` is missing"))?;
    let prefix = Prefix::of(spec)?;
    let Prefix { layers, heads, head_dim, .. } = prefix;
    let &[length, width] = tensor.shape.as_slice() else {
        return Err(format!("`{PREFIX}` has the shape {:?}, expected [length, width]", tensor.shape));
    };
    if length == 0 || width != layers * 2 * heads * head_dim {
        return Err(format!(
            "`{PREFIX}` is [{length}, {width}], but the keys and values of the model's {layers} layers are 2 · {layers} · {heads} · \
             {head_dim} elements"
        ));
    }
    for (key, expected) in [("num_layers", layers), ("num_attention_heads", heads)] {
        let found = number(config, key, expected as f64)?;
        if found != expected as f64 {
            return Err(format!("`{key}` is {found}, but the keys and values of the model have {expected}"));
        }
    }
    let mut values = tensor.values.clone();
    prefix.turn(&mut values, -(length as f64));
    let kind = spec.attentions().next().map_or(PrefixKind::SelfAttention, |(site, _)| PrefixKind::of(site, spec));
    let config = PrefixTuningConfig::prefix_tuning().with_flat(true).with_prefix_length(length).with_dropout(0.0);
    let values = [(format!("prefix.{}.source.Flat", kind.name()), values)].into();
    Ok(Converted { config: config.into(), values, neutral: |_| None })
}
