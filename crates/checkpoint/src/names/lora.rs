//! LoRA and DoRA.

use std::collections::BTreeSet;

use super::{Method, Names, one};
use crate::layout::Layout;

pub(super) const METHOD: Method = Method { field: "lora", container: "loras", local };

fn local(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
    let (name, layout) = match path {
        "a" => ("lora_A", Layout::Transposed),
        "b" => ("lora_B", Layout::Transposed),
        "bias.vector" => ("lora_bias", Layout::Same),
        "magnitude.vector" => ("m.weight", Layout::Column),
        "gate.projection.weight" => ("gate.weight", Layout::Transposed),
        "gate.projection.bias" => ("gate.bias", Layout::Same),
        _ => return None,
    };
    one(name, layout)
}
