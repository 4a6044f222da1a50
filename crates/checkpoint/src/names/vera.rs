//! VeRA and DVoRA. The library has full matrices where the paper has vectors.

use std::collections::BTreeSet;

use super::{Method, Names, one};
use crate::layout::Layout;
use burn::tensor::Device;
use burn_adapters_core::{Fill, Init, Site};
use burn_adapters_lora::Diagonal;
use burn_adapters_model::Adapter;

use super::Context;
use crate::Tensors;

pub(super) const METHOD: Method = Method { field: "vera", container: "loras", local };

fn local(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
    let (name, layout) = match path {
        "d.Vector" => ("vera_D", Layout::Diagonal),
        "d.Matrix" => ("vera_D", Layout::Transposed),
        "b.Vector" => ("vera_B", Layout::Diagonal),
        "b.Matrix" => ("vera_B", Layout::Transposed),
        "magnitude.vector" => ("m.weight", Layout::Column),
        "gate.projection.weight" => ("gate.weight", Layout::Transposed),
        "gate.projection.bias" => ("gate.bias", Layout::Same),
        _ => return None,
    };
    one(name, layout)
}

/// The matrices shared by all sites.
pub(super) fn shared(path: &str, context: &Context) -> Option<Names> {
    let local = match path {
        "vera_shared.a" => "lora_A",
        "vera_shared.b" => "lora_B",
        _ => return None,
    };
    Some((context.shared(local), Layout::Transposed))
}

/// Turns diagonals into full matrices where the file's matrix has other values than its diagonal: the library trains the
/// whole matrix.
pub(crate) fn full_where_needed(adapter: &mut Adapter, tensors: &Tensors, context: &Context, device: &Device) {
    let (names, name) = (&context.spec.names, context.name);
    let init = &mut Init::from_seed(0);
    let sites: Vec<Site> = adapter.vera.keys().copied().collect();
    for (site, vera) in adapter.vera.iter_mut() {
        let Some((module, rows)) = context.module(*site, |site| sites.contains(&site)) else {
            continue;
        };
        for (diagonal, local) in [(&mut vera.d, "vera_D"), (&mut vera.b, "vera_B")] {
            let own = format!("{module}.{}.{name}.{local}", METHOD.container);
            let Some(tensor) = tensors.get(&own).or_else(|| tensors.get(&names.prefixed(&own))) else {
                continue;
            };
            // A matrix of another size is reported as a mismatch, with the others.
            if let (Diagonal::Vector(vector), &[size, columns]) =
                (&*diagonal, rows.part_shape(&tensor.shape).as_slice())
            {
                let beside = |(index, value): (usize, &f32)| index % (size + 1) != 0 && value.to_bits() != 0;
                let fits = vector.lazy_shape().dims() == [size] && size == columns;
                if fits && rows.of(&tensor.values).iter().enumerate().any(beside) {
                    *diagonal = Diagonal::Matrix(init.param([size, size], Fill::ZEROS, device));
                }
            }
        }
    }
}
