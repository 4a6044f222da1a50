//! The methods with modules at sites: the names of their parameters within a module.

use std::collections::BTreeSet;

use burn::tensor::Device;
use burn_adapters_core::{Fill, Init, Site};
use burn_adapters_lora::Diagonal;
use burn_adapters_model::Adapter;

use super::{Context, Method, Names, linear, one};
use crate::Tensors;
use crate::layout::Layout;

/// Bottleneck adapters with linear or Compacter projections.
pub(super) const BOTTLENECK: Method = Method { field: "bottleneck", container: "adapters", local: bottleneck };

fn bottleneck(path: &str, siblings: &BTreeSet<&str>) -> Option<Names> {
    // The library registers a norm before the down-projection twice: under its own name, and as the first module of
    // `adapter_down`, which makes the projection the second.
    let twice = |kind| {
        let names = ["adapter_norm_before", "adapter_down.0"].map(|norm| format!("{norm}.{kind}"));
        Some((names.to_vec(), Layout::Same))
    };
    let down = if siblings.contains("norm_before.gamma") { "adapter_down.1" } else { "adapter_down.0" };
    match path {
        "norm_before.gamma" => return twice("weight"),
        "norm_before.beta" => return twice("bias"),
        "scale" => return one("scaling", Layout::Same),
        "norm_after.gamma" => return one("adapter_norm_after.weight", Layout::Same),
        "norm_after.beta" => return one("adapter_norm_after.bias", Layout::Same),
        _ => {}
    }
    let (module, kind) = path.rsplit_once('.')?;
    match module {
        "gate.projection" => linear("gate", kind),
        "down_project.Linear" => linear(down, kind),
        "up_project.Linear" => linear("adapter_up", kind),
        _ => None,
    }
    .or_else(|| phm_layer(down, path.strip_prefix("down_project.Phm.")?))
    .or_else(|| phm_layer("adapter_up", path.strip_prefix("up_project.Phm.")?))
}

/// A parameter of a PHM layer under the library's name of the layer.
fn phm_layer(layer: &str, path: &str) -> Option<Names> {
    let name = match path.split_once('.') {
        None if path == "bias" => "b".to_owned(),
        Some(("weight", part)) => matrices("W", part)?,
        Some(("rule", part)) => matrices("phm_rule", part)?,
        _ => return None,
    };
    one(format!("{layer}.{name}"), Layout::Same)
}

/// A stack of matrices, whole or factorized.
pub(super) fn matrices(name: &str, part: &str) -> Option<String> {
    match part {
        "Full" => Some(name.to_owned()),
        "Factorized.left" => Some(format!("{name}_left")),
        "Factorized.right" => Some(format!("{name}_right")),
        _ => None,
    }
}

/// LoRA and DoRA.
pub(super) const LORA: Method = Method { field: "lora", container: "loras", local: lora };

fn lora(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
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

/// VeRA and DVoRA. The library has full matrices where the paper has vectors.
pub(super) const VERA: Method = Method { field: "vera", container: "loras", local: vera };

fn vera(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
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
            let own = format!("{module}.{}.{name}.{local}", VERA.container);
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

/// MTL-LoRA.
pub(super) const MTL: Method = Method { field: "mtl", container: "loras", local: mtl };

fn mtl(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
    let (name, layout) = match path {
        "a" => ("lora_A", Layout::Transposed),
        "b" => ("lora_B", Layout::Transposed),
        "task.SingularValues" => ("task_specific.values", Layout::Same),
        "task.Linear" => ("task_specific.values", Layout::Same),
        "weights" => ("weights", Layout::Same),
        "gate.projection.weight" => ("gate.weight", Layout::Transposed),
        "gate.projection.bias" => ("gate.bias", Layout::Same),
        _ => return None,
    };
    one(name, layout)
}

/// (IA)³: a vector, which the library stores as a `lora_B` of rank 1.
pub(super) const IA3: Method = Method { field: "ia3", container: "loras", local: ia3 };

fn ia3(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
    let (name, layout) = match path {
        "vector" => ("lora_B", Layout::Column),
        "gate.projection.weight" => ("gate.weight", Layout::Transposed),
        "gate.projection.bias" => ("gate.bias", Layout::Same),
        _ => return None,
    };
    one(name, layout)
}

/// ReFT.
pub(super) const REFT: Method = Method { field: "reft", container: "refts", local: reft };

fn reft(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
    let (unit, path) = path.strip_prefix("units.")?.split_once('.')?;
    let unit = format!("units.{unit}");
    // The names of PyTorch's parametrised weights.
    let weight = format!("{unit}.projection.parametrizations.weight");
    match path.rsplit_once('.')? {
        ("learned_source", kind) => linear(&format!("{unit}.learned_source"), kind),
        ("projection.Free", kind) => linear(&format!("{unit}.projection"), kind),
        ("projection.Orthogonal", "original") => one(format!("{weight}.original"), Layout::Same),
        ("projection.Orthogonal", "base") => one(format!("{weight}.0.base"), Layout::Same),
        _ => None,
    }
}
