//! VeRA of PEFT: two frozen matrices, of which each module uses the first rows and columns, and two vectors for each module.

use std::collections::{BTreeMap, BTreeSet};

use burn_adapters_config::LoraConfig;
use burn_adapters_core::ModelSpec;
use burn_adapters_files::shorten;
use burn_adapters_tensors::Tensors;
use serde_json::{Map, Value};

use super::module_of;
use super::settings::number;
use super::targets::required;
use crate::convert::{Converted, parameter, selecting};

/// The shared matrices, `[r, input]` and `[output, r]`.
const SHARED: [&str; 2] = ["base_model.vera_A", "base_model.vera_B"];

/// Reads VeRA.
pub(super) fn read(config: &Map<String, Value>, tensors: &Tensors, spec: &ModelSpec) -> Result<Converted, String> {
    let [a, b] = SHARED.map(|name| tensors.get(name));
    let (Some(a), Some(b)) = (a, b) else {
        return Err(
            "its frozen matrices are not in the file; save it again in PEFT with `save_projection=True`".to_owned()
        );
    };
    let (&[rank, inputs], &[outputs, other]) = (a.shape.as_slice(), b.shape.as_slice()) else {
        return Err("its frozen matrices are not matrices".to_owned());
    };
    if rank != other || rank == 0 {
        return Err(format!("its frozen matrices of {:?} and {:?} do not fit together", a.shape, b.shape));
    }
    let (mut values, mut sites) = (BTreeMap::new(), BTreeSet::new());
    let [mut largest_input, mut largest_output] = [0, 0];
    for (name, tensor) in tensors.iter().filter(|(name, _)| !SHARED.contains(&name.as_str())) {
        let vector =
            ["vera_lambda_b", "vera_lambda_d"].into_iter().find_map(|part| Some((module_of(name, part)?, part)));
        let (path, part) = vector.ok_or_else(|| format!("its tensor `{}` is no part of VeRA", shorten(name)))?;
        let targets = required(path, spec)?;
        let [target] = targets.as_slice() else {
            return Err(format!("`{path}` computes several matrices at once, which have one random matrix each here"));
        };
        let [d_input, d_output] = target.size;
        if d_input > inputs || d_output > outputs {
            return Err(format!("`{path}` is [{d_output}, {d_input}], larger than the frozen matrices allow"));
        }
        [largest_input, largest_output] = [largest_input.max(d_input), largest_output.max(d_output)];
        let (own, expected) = if part == "vera_lambda_b" { ("b.Vector", d_output) } else { ("d.Vector", rank) };
        if tensor.shape != [expected] {
            return Err(format!("`{name}` has the shape {:?}, expected [{expected}]", tensor.shape));
        }
        values.insert(parameter("vera", target.site, own), tensor.values.clone());
        sites.insert(target.site);
    }
    if sites.is_empty() {
        return Err("it has no tensors of modules".to_owned());
    }
    let dropout = number(config, "vera_dropout", 0.0)?;
    let config = LoraConfig { r: rank, alpha: rank as f64, dropout, ..LoraConfig::vera() };
    let by_input = |input: usize| (0..rank).map(move |row| a.values[row * inputs + input]);
    let by_rank = |column: usize| (0..largest_output).map(move |output| b.values[output * rank + column]);
    values.insert("vera_shared.a".into(), (0..largest_input).flat_map(by_input).collect());
    values.insert("vera_shared.b".into(), (0..rank).flat_map(by_rank).collect());
    Ok(Converted { config: selecting(config, &sites, spec).into(), values, neutral: |_| Some(0.0) })
}
