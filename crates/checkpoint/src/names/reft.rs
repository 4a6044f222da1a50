//! ReFT.

use std::collections::BTreeSet;

use super::{Method, Names, linear, one};
use crate::layout::Layout;

pub(super) const METHOD: Method = Method { field: "reft", container: "refts", local };

fn local(path: &str, _siblings: &BTreeSet<&str>) -> Option<Names> {
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
