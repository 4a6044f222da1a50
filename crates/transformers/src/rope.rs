//! The keys of rotary positions in `config.json`.

use burn_adapters_files::shorten;
use burn_adapters_model::{Rotary, RotaryScaling};
use serde_json::{Map, Value};

use crate::ModelConfigError;
use crate::fields::Fields;

impl Fields<'_> {
    /// The rotary positions of this width, by `rope_theta` (with its default) and `rope_scaling`, of a model for `positions`
    /// tokens at most.
    pub(crate) fn rotary(&self, dims: usize, theta: f64, positions: usize) -> Result<Rotary, ModelConfigError> {
        let rotary = self.plain_rotary(dims, "rope_theta", theta)?;
        let theta = self.positive("rope_theta", theta)?;
        Ok(match self.rotary_scaling(theta, positions)? {
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

    fn rotary_scaling(&self, theta: f64, positions: usize) -> Result<Option<RotaryScaling>, ModelConfigError> {
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
            "yarn" => self.yarn(scaling, theta, positions).map(Some),
            other => {
                Err(self.unsupported(KEY, format!("\"{other}\""), "\"default\", \"linear\", \"llama3\", \"yarn\""))
            }
        }
    }

    /// YaRN, with the defaults of Transformers.
    fn yarn(
        &self,
        scaling: &Map<String, Value>,
        theta: f64,
        positions: usize,
    ) -> Result<RotaryScaling, ModelConfigError> {
        let known = |key: &&String| YARN_KEYS.contains(&key.as_str());
        if let Some(key) = scaling.keys().find(|key| !known(key)) {
            let reason =
                format!("{KEY} is \"yarn\", which has no `{}`: its keys are {}", shorten(key), YARN_KEYS.join(", "));
            return Err(self.inconsistent(reason));
        }
        // There a 0 is as good as no value.
        let optional = |key: &str| match scaling.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(0.0) => Ok(None),
                Some(number) if number > 0.0 && number.is_finite() => Ok(Some(number)),
                _ => Err(self.inconsistent(format!("{KEY} is \"yarn\", which needs a number above 0 for {key}"))),
            },
        };
        let Some(factor) = optional("factor")? else {
            return Err(self.inconsistent(format!("{KEY} is \"yarn\", which needs a number above 0 for factor")));
        };
        let (beta_fast, beta_slow) = (optional("beta_fast")?.unwrap_or(32.0), optional("beta_slow")?.unwrap_or(1.0));
        if beta_fast < beta_slow {
            let reason = format!("{KEY}: beta_fast ({beta_fast}) must not be below beta_slow ({beta_slow})");
            return Err(self.inconsistent(reason));
        }
        if theta <= 1.0 {
            let reason = format!("{KEY} is \"yarn\", which needs a rope_theta above 1, found {theta}");
            return Err(self.inconsistent(reason));
        }
        let magnitude = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let scales = (optional("mscale")?, optional("mscale_all_dim")?);
        let attention_factor = match (optional("attention_factor")?, scales) {
            (Some(own), _) => own,
            (None, _) if scaling.get("attention_factor").is_some_and(|value| !value.is_null()) => {
                let reason = format!("{KEY} is \"yarn\", whose attention_factor must be above 0");
                return Err(self.inconsistent(reason));
            }
            (None, (Some(one), Some(all))) => magnitude(one) / magnitude(all),
            (None, _) => magnitude(1.0),
        };
        let truncate = match scaling.get("truncate") {
            None | Some(Value::Bool(true)) => true,
            Some(Value::Bool(false) | Value::Null) => false,
            Some(_) => return Err(self.inconsistent(format!("{KEY}: truncate must be true or false"))),
        };
        Ok(RotaryScaling::Yarn {
            factor,
            attention_factor,
            beta_fast,
            beta_slow,
            original_positions: optional("original_max_position_embeddings")?.unwrap_or(positions as f64),
            truncate,
        })
    }
}

const KEY: &str = "rope_scaling";

/// The keys that YaRN has.
const YARN_KEYS: [&str; 11] = [
    "rope_type",
    "type",
    "factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "original_max_position_embeddings",
    "truncate",
    "finetuned",
];
