//! (IA)³ of PEFT.
//!
//! A vector multiplies the output of a module, `[output, 1]`, or the input of a feed-forward module, `[1, input]`. Here all
//! vectors are on outputs: that of the input of a gated block's last matrix is one of the output of `up`, because
//! `l ⊙ (activation(gate) ⊙ up)` is `activation(gate) ⊙ (l ⊙ up)`. Without a gate, an activation is between the two.

use std::collections::{BTreeMap, BTreeSet};

use burn_adapters_config::LoraConfig;
use burn_adapters_core::{ModelSpec, Place, Site};
use burn_adapters_files::shorten;
use burn_adapters_tensors::{RawTensor, Tensors};

use super::module_of;
use super::settings::REMEDY;
use super::targets::{Target, required};
use crate::convert::{Converted, parameter, selecting};

/// Reads (IA)³.
pub(super) fn read(tensors: &Tensors, spec: &ModelSpec) -> Result<Converted, String> {
    let (mut all, mut sites) = (BTreeMap::new(), BTreeSet::new());
    for (name, tensor) in tensors {
        let path = module_of(name, "ia3_l");
        let path = path.ok_or_else(|| format!("its tensor `{}` is no part of (IA)³", shorten(name)))?;
        for target in required(path, spec)? {
            let (site, vector) = vector(path, tensor, target, spec)?;
            // Two vectors on one output are their product.
            let values = all.entry(parameter("ia3", site, "vector")).or_insert_with(|| vec![1.0_f32; vector.len()]);
            values.iter_mut().zip(vector).for_each(|(value, factor)| *value *= factor);
            sites.insert(site);
        }
    }
    if sites.is_empty() {
        return Err("it has no tensors".to_owned());
    }
    let config = selecting(LoraConfig::ia3(), &sites, spec).into();
    Ok(Converted { config, values: all, neutral: |_| Some(1.0) })
}

/// The site whose output a vector multiplies, and its part of the vector.
fn vector<'a>(
    path: &str,
    tensor: &'a RawTensor,
    target: Target,
    spec: &ModelSpec,
) -> Result<(Site, &'a [f32]), String> {
    let ([d_input, d_output], of) = (target.size, target.of);
    match *tensor.shape.as_slice() {
        [rows, 1] if rows == d_output * of => {
            let part = tensor.values.chunks(d_output.max(1)).nth(target.part);
            Ok((target.site, part.unwrap_or_default()))
        }
        [1, columns] if columns == d_input => {
            let up = Site { place: Place::FeedForwardUp, ..target.site };
            let is_gated = spec.matrix(Site { place: Place::FeedForwardGate, ..target.site }).is_some();
            if target.site.place == Place::FeedForwardDown && is_gated {
                return Ok((up, &tensor.values));
            }
            Err(format!(
                "it scales the input of `{path}`, after an activation, and (IA)³ of AdapterHub scales outputs of matrices; {REMEDY}"
            ))
        }
        _ => Err(format!(
            "`{path}` has a vector of {:?}, but the model's matrix is [{}, {d_input}]",
            tensor.shape,
            d_output * of
        )),
    }
}
