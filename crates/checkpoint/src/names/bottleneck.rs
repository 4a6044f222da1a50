//! Bottleneck adapters with linear or Compacter projections.

use std::collections::BTreeSet;

use super::{Method, Names, compacter, linear, one};
use crate::layout::Layout;

pub(super) const METHOD: Method = Method { field: "bottleneck", container: "adapters", local };

fn local(path: &str, siblings: &BTreeSet<&str>) -> Option<Names> {
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
    .or_else(|| compacter::local(down, path.strip_prefix("down_project.Phm.")?))
    .or_else(|| compacter::local("adapter_up", path.strip_prefix("up_project.Phm.")?))
}
