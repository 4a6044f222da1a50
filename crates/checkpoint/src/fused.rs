//! LoRA and (IA)³ of the Python library on a module whose outputs are interleaved by head (DeBERTa).
//!
//! The module computes query, key and value: row `3·h·d + c·d + j` of its weight is row `j` of part `c` of head `h`. The
//! library places an update of the query at the first third of the rows, that of the key at the second, that of the value
//! at the third. What it trained is nevertheless an update of low rank of each part: part `c` has all rows of every `A`,
//! and the rows of `B` that lie on it. The conversion is exact.

use burn_adapters_config::{AdapterConfig, CompositionMode, LoraConfig, MethodConfig};
use burn_adapters_core::{ModelSpec, Place, Site, StackKind, StackSpec};
use burn_adapters_tensors::{RawTensor, Tensors};

const PARTS: [(&str, Place); 3] = [("q", Place::Query), ("k", Place::Key), ("v", Place::Value)];
const FEED_FORWARD: [Place; 2] = [Place::FeedForwardUp, Place::FeedForwardDown];

/// A converted adapter.
pub(crate) struct Converted {
    pub(crate) config: AdapterConfig,
    pub(crate) tensors: Tensors,
    /// Says what was converted.
    pub(crate) note: String,
}

/// Converts an adapter of this name; `None` if it has no tensors of such a module.
///
/// # Errors
/// The reason, if it cannot be converted.
pub(crate) fn convert(
    config: &AdapterConfig,
    tensors: &Tensors,
    spec: &ModelSpec,
    name: &str,
) -> Result<Option<Converted>, String> {
    let (Some(module), Some(stack)) = (spec.names.fused_by_head, spec.stack(StackKind::Encoder)) else {
        return Ok(None);
    };
    let below = format!("{module}.loras.{name}.");
    let lora = config.methods().iter().find_map(|method| match method {
        MethodConfig::Lora(lora) if lora.selfattn_lora => Some(lora),
        _ => None,
    });
    let (Some(lora), true) = (lora, tensors.keys().any(|tensor| tensor.contains(&below))) else {
        return Ok(None);
    };
    let slots: Vec<usize> = (0..3).filter(|part| lora.attn_matrices.iter().any(|one| one == PARTS[*part].0)).collect();
    if slots.len() > 1 && lora.use_gating {
        return Err(
            "its updates of query, key and value have a gate each, and act on parts of all three: no gate of one \
             matrix computes the same; train it again here"
                .to_owned(),
        );
    }
    let fused = Fused { spec, stack, name, lora, slots };
    let mut converted = Tensors::new();
    for (tensor_name, tensor) in tensors {
        match tensor_name.split_once(&below) {
            Some((layer, parameter)) => {
                for (part, (_, place)) in PARTS.iter().enumerate() {
                    let own = fused.part(part, parameter, tensor).ok_or_else(|| {
                        format!(
                            "its tensor `{tensor_name}` of shape {:?} does not match the configuration",
                            tensor.shape
                        )
                    })?;
                    converted.insert(fused.tensor_name(layer, *place, parameter), own);
                }
            }
            None => {
                converted.insert(tensor_name.clone(), fused.widened(tensor_name, tensor));
            }
        }
    }
    let methods = config.methods().iter().map(|method| match method {
        MethodConfig::Lora(lora) if lora.selfattn_lora => MethodConfig::Lora(fused.config(lora)),
        method => method.clone(),
    });
    let config = AdapterConfig::union(methods).map_err(|error| error.to_string())?;
    let note = format!(
        "the Python library adds LoRA to the rows of `{module}` as if query, key and value were one after the other, but \
         they are interleaved by head: converted exactly to query, key and value{}",
        if fused.rank_factor() > 1 { format!(", with rank {}", fused.rank_factor() * lora.r) } else { String::new() }
    );
    Ok(Some(Converted { config, tensors: converted, note }))
}

/// The fused module's adapter.
struct Fused<'a> {
    spec: &'a ModelSpec,
    stack: &'a StackSpec,
    name: &'a str,
    lora: &'a LoraConfig,
    /// The thirds of the rows that have an update.
    slots: Vec<usize>,
}

impl Fused<'_> {
    /// The factor of a part's rank: it has the updates of all slots.
    fn rank_factor(&self) -> usize {
        if self.lora.composition_mode == CompositionMode::Scale { 1 } else { self.slots.len() }
    }

    /// The configuration of the converted adapter. The factor `alpha / r` is unchanged.
    fn config(&self, lora: &LoraConfig) -> LoraConfig {
        let factor = self.rank_factor();
        LoraConfig {
            attn_matrices: PARTS.map(|(letter, _)| letter.to_owned()).to_vec(),
            r: lora.r.saturating_mul(factor),
            alpha: lora.alpha * factor as f64,
            ..lora.clone()
        }
    }

    fn tensor_name(&self, layer: &str, place: Place, parameter: &str) -> String {
        let module = self.spec.names.site(Site::encoder(0, place)).map_or_else(Default::default, |site| site.module());
        format!("{layer}{module}.loras.{}.{parameter}", self.name)
    }

    /// A tensor of one of the parts; `None` if the shape is wrong.
    fn part(&self, part: usize, parameter: &str, tensor: &RawTensor) -> Option<RawTensor> {
        let (heads, head) = (self.stack.key_value_heads, self.stack.head_dim);
        let count = self.slots.len();
        let &[rows, columns] = tensor.shape.as_slice() else {
            // The bias of the only gate.
            return (parameter == "gate.bias" && tensor.shape == [1]).then(|| tensor.clone());
        };
        if parameter != "lora_B" {
            return Some(tensor.clone());
        }
        let width = heads * head;
        if rows != count * width || tensor.values.len() != rows * columns {
            return None;
        }
        let scales = self.lora.composition_mode == CompositionMode::Scale;
        let own_columns = if scales { 1 } else { count * columns };
        let mut values = vec![if scales { 1.0 } else { 0.0 }; width * own_columns];
        for index in 0..heads {
            for inner in 0..head {
                let fused_row = 3 * index * head + part * head + inner;
                let Some(slot) = self.slots.iter().position(|slot| *slot == fused_row / width) else { continue };
                let from = (slot * width + fused_row % width) * columns;
                let to = (index * head + inner) * own_columns + if scales { 0 } else { slot * columns };
                values[to..to + columns].copy_from_slice(&tensor.values[from..from + columns]);
            }
        }
        Some(RawTensor { shape: vec![width, own_columns], values })
    }

    /// A tensor of the feed-forward block, with zeros for the greater rank; others are unchanged.
    fn widened(&self, tensor_name: &str, tensor: &RawTensor) -> RawTensor {
        let factor = self.rank_factor();
        let is_lora = |place| {
            let module = self.spec.names.site(Site::encoder(0, place)).map(|site| site.module()).unwrap_or_default();
            tensor_name.contains(&format!(".{module}.loras.{}.", self.name))
        };
        let (&[rows, columns], true) = (tensor.shape.as_slice(), FEED_FORWARD.into_iter().any(is_lora)) else {
            return tensor.clone();
        };
        if factor == 1 || columns == 0 {
            return tensor.clone();
        }
        if tensor_name.ends_with(".lora_A") {
            let mut values = tensor.values.clone();
            values.resize(values.len() * factor, 0.0);
            return RawTensor { shape: vec![rows * factor, columns], values };
        }
        if tensor_name.ends_with(".lora_B") {
            let wide = tensor
                .values
                .chunks(columns)
                .flat_map(|row| row.iter().copied().chain(std::iter::repeat_n(0.0, columns * (factor - 1))));
            return RawTensor { shape: vec![rows, columns * factor], values: wide.collect() };
        }
        tensor.clone()
    }
}

/// A note on an adapter that is written under names that the Python library does not know.
pub(crate) fn note(config: &AdapterConfig, spec: &ModelSpec) -> Option<String> {
    let adapts = config.methods().iter().any(|method| matches!(method, MethodConfig::Lora(lora) if lora.selfattn_lora));
    let module = spec.names.fused_by_head.filter(|_| adapts)?;
    Some(format!(
        "the Python library cannot read this adapter's updates of query, key and value: it would add them to other rows of \
         `{module}`; they are written under names of their own, which it does not load"
    ))
}
