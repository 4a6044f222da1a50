//! The layers of a fusion.
//!
//! `bert.` + `encoder.layer.0.output` + `.adapter_fusion_layer.a,b.` + `query.weight`

use burn_adapters_core::Site;
use burn_adapters_fusion::{LAYER, parameter_name};
use burn_adapters_model::FusionLayers;
use burn_adapters_tensors::parameters;

use super::{Context, Entry, linear};
use crate::CheckpointError;

/// Every parameter of a fusion, as the file has it.
pub(crate) fn fusion_entries(layers: &FusionLayers, context: &Context) -> Result<Vec<Entry>, CheckpointError> {
    let entry = |path: &str| {
        let (key, local) = path.strip_prefix("layers.")?.split_once('.')?;
        let place = context.spec.names.module(Site::from_key(key)?)?;
        let (layer, kind) = local.rsplit_once('.')?;
        let (names, layout) = linear(layer, kind)?;
        Some((names.iter().map(|local| parameter_name(&place, context.name, local)).collect(), layout))
    };
    parameters(layers)
        .iter()
        .map(|parameter| {
            let (names, layout) = entry(&parameter.path).ok_or_else(|| CheckpointError::NoName {
                path: parameter.path.clone(),
                model_type: context.spec.model_type.clone(),
            })?;
            Ok(Entry::new(parameter, names, layout))
        })
        .collect()
}

/// The fusion that a tensor belongs to, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FusionTensor {
    /// This one.
    Own,
    /// Another one, whose name starts with this one's: the library saves `a,b,c` along with `a,b`.
    Longer,
    /// No fusion: the tensor is not of one, or its name is of neither.
    Unknown,
}

impl FusionTensor {
    /// The fusion of a tensor.
    pub(crate) fn of(tensor: &str, fusion: &str) -> Self {
        let Some((_, rest)) = tensor.split_once(&format!(".{LAYER}.")) else {
            return Self::Unknown;
        };
        match rest.strip_prefix(fusion) {
            Some(local) if local.starts_with('.') => Self::Own,
            Some(_) => Self::Longer,
            None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fusion_knows_its_tensors_from_those_of_a_longer_name() {
        let of = |tensor: &str| FusionTensor::of(tensor, "a,b");
        let place = "bert.encoder.layer.3.output.adapter_fusion_layer";
        assert_eq!(of(&format!("{place}.a,b.query.weight")), FusionTensor::Own);
        assert_eq!(of(&format!("{place}.a,b,c.query.weight")), FusionTensor::Longer);
        assert_eq!(of(&format!("{place}.a,c.query.weight")), FusionTensor::Unknown);
        assert_eq!(of("bert.encoder.layer.3.output.adapters.a,b.gate.weight"), FusionTensor::Unknown);
    }
}
