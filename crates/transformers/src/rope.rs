//! The keys of rotary positions in `config.json`.

use burn_adapters_model::{Rotary, RotaryScaling};
use serde_json::Value;

use crate::ModelConfigError;
use crate::fields::Fields;

impl Fields<'_> {
    /// The rotary positions of this width, by `rope_theta` (with its default) and `rope_scaling`.
    pub(crate) fn rotary(&self, dims: usize, theta: f64) -> Result<Rotary, ModelConfigError> {
        let rotary = self.plain_rotary(dims, "rope_theta", theta)?;
        Ok(match self.rotary_scaling()? {
            Some(scaling) => rotary.scaled(scaling),
            None => rotary,
        })
    }

    /// The rotary positions of this width, by a key (with its default) alone.
    pub(crate) fn plain_rotary(
        &self,
        head_dim: usize,
        key: &'static str,
        theta: f64,
    ) -> Result<Rotary, ModelConfigError> {
        if !head_dim.is_multiple_of(2) {
            return Err(self.inconsistent(format!("heads of {head_dim} cannot be rotated: the width must be even")));
        }
        Ok(Rotary::new(head_dim, self.positive(key, theta)?))
    }

    fn rotary_scaling(&self) -> Result<Option<RotaryScaling>, ModelConfigError> {
        const KEY: &str = "rope_scaling";
        let Some(scaling) = self.object(KEY)? else { return Ok(None) };
        // Older files call the key `type`.
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| {
            let number = scaling.get(key).and_then(Value::as_f64).filter(|number| number.is_finite() && *number > 0.0);
            number.ok_or_else(|| {
                self.inconsistent(format!("{KEY} is \"{kind}\", which needs a number above 0 for {key}"))
            })
        };
        match kind {
            "default" => Ok(None),
            "linear" => Ok(Some(RotaryScaling::Linear { factor: number("factor")? })),
            "llama3" => {
                let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
                if high <= low {
                    let reason = format!("{KEY}: high_freq_factor ({high}) must be above low_freq_factor ({low})");
                    return Err(self.inconsistent(reason));
                }
                Ok(Some(RotaryScaling::Llama3 {
                    factor: number("factor")?,
                    low_frequency_factor: low,
                    high_frequency_factor: high,
                    original_positions: number("original_max_position_embeddings")?,
                }))
            }
            other => Err(self.unsupported(KEY, format!("\"{other}\""), "\"default\", \"linear\", \"llama3\"")),
        }
    }
}
