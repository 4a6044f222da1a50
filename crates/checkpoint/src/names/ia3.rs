//! (IA)³: a vector, which the library stores as a `lora_B` of rank 1.

use std::collections::BTreeSet;

use super::{Method, Names, one};
use crate::layout::Layout;

pub(super) const METHOD: Method = Method { field: "ia3", container: "loras", local };

fn local(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
    let (name, layout) = match path {
        "vector" => ("lora_B", Layout::Column),
        "gate.projection.weight" => ("gate.weight", Layout::Transposed),
        "gate.projection.bias" => ("gate.bias", Layout::Same),
        _ => return None,
    };
    one(name, layout)
}
