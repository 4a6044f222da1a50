//! The update of one matrix by one adapter.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use burn_adapters_config::{CompositionMode, LoraBias, LoraConfig};
use burn_adapters_core::{Init, Mode};
use burn_adapters_ia3::Ia3;
use burn_adapters_lora::{Lora, Magnitude, Vera};

use crate::WeightAdapterError;
use crate::slot::Frozen;

/// The trained parameters of one adapter at one matrix: the same modules as on activations, used as a function of the
/// weight.
#[derive(Module, Debug)]
pub enum Update {
    /// LoRA; with a magnitude, DoRA.
    Lora(Lora),
    /// VeRA; with a magnitude, DVoRA.
    Vera(Vera),
    /// (IA)³.
    Ia3(Ia3),
}

/// The variant that a configuration selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Lora,
    Vera,
    Ia3,
}

impl Kind {
    pub(crate) fn of(config: &LoraConfig) -> Result<Self, WeightAdapterError> {
        let unsupported = |key, reason| Err(WeightAdapterError::Unsupported { key, reason });
        if config.use_gating {
            return unsupported("use_gating", "a gate depends on the layer's input, and a weight does not");
        }
        if config.bias != LoraBias::None {
            return unsupported("bias", "a bias is another parameter than the weight that is adapted");
        }
        if config.mtl.is_some() {
            return unsupported("mtl", "MTL-LoRA is only implemented on activations");
        }
        if !config.leave_out.is_empty() {
            return unsupported("leave_out", "a module's parameters have no layer numbers; select them by path");
        }
        if !matches!(config.dtype.as_deref(), None | Some("float32" | "float")) {
            return unsupported("dtype", "adapters are in single precision, whatever the type of the weights");
        }
        Ok(match config.composition_mode {
            CompositionMode::Scale => Kind::Ia3,
            CompositionMode::Add if config.vera_d.is_some() || config.vera_b.is_some() => Kind::Vera,
            CompositionMode::Add => Kind::Lora,
        })
    }

    /// Whether the update scales the whole output of the layer, so that a bias must be scaled too.
    pub(crate) fn scales_bias(self, config: &LoraConfig) -> bool {
        self == Kind::Ia3 || config.use_dora
    }

    pub(crate) fn build(
        self,
        path: &str,
        config: &LoraConfig,
        shape: [usize; 2],
        init: &mut Init,
        device: &Device,
    ) -> Result<Update, WeightAdapterError> {
        let lora = |source| WeightAdapterError::Lora { path: path.to_owned(), source };
        Ok(match self {
            Kind::Lora => Update::Lora(Lora::new(config, shape, init, device).map_err(lora)?),
            Kind::Vera => Update::Vera(Vera::new(config, shape, init, device).map_err(lora)?),
            Kind::Ia3 => {
                let ia3 = Ia3::new(config, shape, init, device);
                Update::Ia3(ia3.map_err(|source| WeightAdapterError::Ia3 { path: path.to_owned(), source })?)
            }
        })
    }
}

impl Update {
    /// The name of the method: `lora`, `dora`, `vera`, `dvora` or `ia3`.
    pub fn method(&self) -> &'static str {
        match self {
            Update::Lora(lora) if lora.magnitude.is_some() => "dora",
            Update::Lora(_) => "lora",
            Update::Vera(vera) if vera.magnitude.is_some() => "dvora",
            Update::Vera(_) => "vera",
            Update::Ia3(_) => "ia3",
        }
    }

    pub(crate) fn magnitude_mut(&mut self) -> Option<&mut Magnitude> {
        match self {
            Update::Lora(lora) => lora.magnitude.as_mut(),
            Update::Vera(vera) => vera.magnitude.as_mut(),
            Update::Ia3(_) => None,
        }
    }

    /// The effective weight of the adapted layer.
    ///
    /// # Shapes
    /// - weight, output: `[d_input, d_output]`
    pub(crate) fn effective(&self, weight: Tensor<2>, frozen: Option<&Frozen>, mode: Mode) -> Tensor<2> {
        let dtype = weight.dtype();
        let weight = in_single_precision(weight);
        let effective = match (self.factors(&weight, frozen), self) {
            (Some((a, b)), Update::Lora(Lora { scaling, dropout, magnitude, .. }))
            | (Some((a, b)), Update::Vera(Vera { scaling, dropout, magnitude, .. })) => {
                // The scale is applied to a factor, which has fewer elements than the product.
                let low = drop_rows(a.clone(), *dropout, mode) * *scaling;
                let sum = weight.clone() + low.matmul(b.clone());
                match magnitude {
                    Some(magnitude) => sum * magnitude.factor(weight, a, b).flatten::<1>(0, 2).unsqueeze(),
                    None => sum,
                }
            }
            (_, Update::Ia3(ia3)) => weight * scale(ia3).unsqueeze(),
            // VeRA is never built without its frozen matrices.
            (None, _) => weight,
        };
        if matches!(dtype, DType::QFloat(_)) { effective } else { effective.cast(dtype) }
    }

    /// The factor on a bias beside the weight, if there is one: `[d_output]`.
    pub(crate) fn bias_factor(&self, weight: Option<Tensor<2>>, frozen: Option<&Frozen>) -> Option<Tensor<1>> {
        let magnitude = match self {
            Update::Ia3(ia3) => return Some(scale(ia3)),
            Update::Lora(lora) => lora.magnitude.as_ref(),
            Update::Vera(vera) => vera.magnitude.as_ref(),
        }?;
        let weight = in_single_precision(weight?);
        let (a, b) = self.factors(&weight, frozen)?;
        Some(magnitude.factor(weight, a, b).flatten(0, 2))
    }

    /// `[d_input, r]` and `[r, d_output]`.
    fn factors(&self, weight: &Tensor<2>, frozen: Option<&Frozen>) -> Option<(Tensor<2>, Tensor<2>)> {
        match self {
            Update::Lora(lora) => Some((lora.a.val(), lora.b.val())),
            Update::Vera(vera) => Some(vera.factors(&frozen?.on(&weight.device())?)),
            Update::Ia3(_) => None,
        }
    }
}

fn scale(ia3: &Ia3) -> Tensor<1> {
    if ia3.alpha == 1.0 { ia3.vector.val() } else { ia3.vector.val() * ia3.alpha }
}

/// Dropout of input features: a row of `A` is the contribution of one input feature to the low-rank state.
fn drop_rows(a: Tensor<2>, probability: f64, mode: Mode) -> Tensor<2> {
    if !mode.is_training() || probability <= 0.0 {
        return a;
    }
    let [rows, _] = a.dims();
    let ones = Tensor::ones([rows, 1], &a.device().without_autodiff());
    a * mode.dropout(probability, ones)
}

/// The weight in the adapters' own precision; a quantized weight is dequantized.
pub(crate) fn in_single_precision(weight: Tensor<2>) -> Tensor<2> {
    let weight = if matches!(weight.dtype(), DType::QFloat(_)) { weight.dequantize() } else { weight };
    if weight.dtype() == DType::F32 { weight } else { weight.cast(DType::F32) }
}
