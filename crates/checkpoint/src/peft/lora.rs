//! LoRA and DoRA of PEFT.

use std::collections::BTreeMap;

use burn_adapters_config::LoraBias;
use burn_adapters_core::ModelSpec;
use burn_adapters_files::shorten;
use burn_adapters_tensors::{RawTensor, Tensors};
use serde_json::{Map, Value};

use super::module_of;
use super::settings::{LoraSettings, REMEDY};
use super::targets::{Target, required, targets};
use crate::convert::Converted;
use crate::updates::{TrainedBias, Update, of_parts};

/// Reads LoRA.
pub(super) fn read(config: &Map<String, Value>, tensors: &Tensors, spec: &ModelSpec) -> Result<Converted, String> {
    let settings = LoraSettings::read(config)?;
    let mut updates = Vec::new();
    for (path, module) in modules(tensors, &settings)? {
        let factor = match module.rank {
            0 => 1.0,
            rank => settings.scale(&path, rank)?,
        };
        let targets = module.targets(&path, spec, &settings)?;
        let parts = targets.into_iter().map(|target| module.update(&path, target, factor));
        updates.extend(of_parts(parts.collect::<Result<_, _>>()?));
    }
    Converted::of_updates(&updates, settings.dropout, spec)
}

/// The update of a module: `A` (`[r, input]`), `B` (`[output, r]`), the magnitude of DoRA (`[output]`), the bias of the update, and
/// that of the module. With `bias="all"` there may be the last one alone; the rank is then 0.
struct Module<'a> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    magnitude: Option<&'a RawTensor>,
    update_bias: Option<&'a RawTensor>,
    base_bias: Option<&'a RawTensor>,
    rank: usize,
}

/// A matrix' elements, row by row, and its size.
type Matrix<'a> = (&'a [f32], [usize; 2]);

/// The last parts of names. That of a module that is not adapted is the last.
const PARTS: [&str; 6] =
    ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "lora_B.bias", "base_layer.bias", "bias"];

/// The tensors of a module, by [`PARTS`].
type Parts<'a> = [Option<&'a RawTensor>; 6];

/// The modules by their paths in Hugging Face's class.
fn modules<'a>(tensors: &'a Tensors, settings: &LoraSettings) -> Result<BTreeMap<String, Module<'a>>, String> {
    let mut parts: BTreeMap<String, Parts<'a>> = BTreeMap::new();
    for (name, tensor) in tensors {
        // Older files have the magnitude as a module.
        let name = name.strip_suffix("vector.weight").map_or(name.clone(), |start| format!("{start}vector"));
        let found = PARTS.iter().enumerate().find_map(|(part, suffix)| Some((part, module_of(&name, suffix)?)));
        let found = found.filter(|(part, _)| match part {
            3 => settings.has_update_bias,
            4 | 5 => settings.base_bias.is_some(),
            _ => true,
        });
        let (part, module) = found.ok_or_else(|| format!("its tensor `{}` is no part of LoRA", shorten(&name)))?;
        parts.entry(module.to_owned()).or_default()[part] = Some(tensor);
    }
    if parts.is_empty() {
        return Err("it has no tensors".to_owned());
    }
    parts.into_iter().map(|(module, parts)| whole(module, parts, settings)).collect()
}

/// A module with all parts of its update.
fn whole<'a>(
    module: String,
    [a, b, magnitude, update_bias, base_bias, plain_bias]: Parts<'a>,
    settings: &LoraSettings,
) -> Result<(String, Module<'a>), String> {
    let base_bias = base_bias.or(plain_bias);
    if let (None, None, None, None, Some(bias)) = (a, b, magnitude, update_bias, base_bias) {
        let (a, b) = ((&[][..], [0, 0]), (&[][..], [bias.values.len(), 0]));
        return Ok((module, Module { a, b, magnitude, update_bias, base_bias, rank: 0 }));
    }
    if magnitude.is_some() != settings.is_dora {
        let (has, says) = if settings.is_dora { ("lacks its magnitude", "true") } else { ("has a magnitude", "false") };
        return Err(format!("`{module}` {has}, but `use_dora` is {says}"));
    }
    if update_bias.is_some() != settings.has_update_bias {
        return Err(format!("`{module}` lacks its lora_B.bias, but `lora_bias` is true"));
    }
    let (Some(a), Some(b)) = (a, b) else {
        return Err(format!("`{module}` lacks its lora_{}", if a.is_some() { "B" } else { "A" }));
    };
    match (a.shape.as_slice(), b.shape.as_slice()) {
        (&[rank, input], &[output, other])
            if rank == other
                && rank > 0
                && [magnitude, update_bias, base_bias].iter().flatten().all(|vector| vector.shape == [output]) =>
        {
            let (a, b) = ((a.values.as_slice(), [rank, input]), (b.values.as_slice(), [output, rank]));
            Ok((module, Module { a, b, magnitude, update_bias, base_bias, rank }))
        }
        (a, b) => Err(format!("`{module}` has lora_A of {a:?} and lora_B of {b:?}, which do not fit together")),
    }
}

impl Module<'_> {
    /// The matrices of the module at this path, whose biases are trained exactly where they should be.
    fn targets(&self, path: &str, spec: &ModelSpec, settings: &LoraSettings) -> Result<Vec<Target>, String> {
        let found = targets(path, spec);
        if self.rank == 0 && found.is_empty() {
            return Err(format!(
                "it trained the bias of `{path}` (bias=\"all\"), and adapters here train biases of matrices alone; {REMEDY}"
            ));
        }
        let found = if found.is_empty() { required(path, spec)? } else { found };
        let has_bias = found.iter().any(|target| spec.has_bias(target.site));
        match (settings.base_bias, &self.base_bias) {
            (Some(bias), None) if has_bias => Err(format!("`{path}` lacks its bias, but `bias` is \"{bias}\"")),
            (_, Some(_)) if !has_bias => Err(format!("`{path}` has a bias, and the model's matrix has none")),
            _ => Ok(found),
        }
    }

    /// The update of one part of a module.
    fn update(&self, path: &str, target: Target, factor: f64) -> Result<Update, String> {
        let ([d_input, d_output], (a, b)) = (target.size, (self.a.1, self.b.1));
        if self.rank > 0 && a[1] != d_input || b[0] != d_output * target.of {
            return Err(format!(
                "`{path}` has lora_A of {a:?} and lora_B of {b:?}, but the model's matrix is [{}, {d_input}]",
                d_output * target.of
            ));
        }
        let part = |values: &[f32], row: usize| {
            values.chunks((d_output * row).max(1)).nth(target.part).unwrap_or_default().to_vec()
        };
        let vector = |tensor: Option<&RawTensor>| tensor.map(|tensor| part(&tensor.values, 1));
        let bias = match (vector(self.base_bias), vector(self.update_bias)) {
            (Some(mut values), of_update) => {
                let of_update = of_update.into_iter().flatten();
                values.iter_mut().zip(of_update).for_each(|(value, added)| *value += factor as f32 * added);
                Some(TrainedBias { kind: LoraBias::Base, values })
            }
            (None, of_update) => of_update.map(|values| TrainedBias { kind: LoraBias::Update, values }),
        };
        Ok(Update {
            site: target.site,
            rank: self.rank,
            size: target.size,
            a: self.a.0.to_vec(),
            b: part(self.b.0, self.rank),
            factor,
            magnitude: vector(self.magnitude),
            bias,
        })
    }
}
