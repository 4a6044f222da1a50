//! Whether two sides compute the same.

use serde_json::Value;

use super::jobs::Agreement;

/// The allowed differences between two sides.
struct Tolerance {
    logits: Logits,
    /// Of losses.
    loss: f64,
    /// Of the norms of gradients, relative to them.
    norm: f64,
    /// The number of new tokens of each row that must be the same.
    tokens: usize,
}

/// What is compared of logits.
enum Logits {
    /// Each may differ by this much.
    All(f64),
    /// In the second side's logits, the first side's most probable token may be this much below its own.
    Best(f64),
}

impl Agreement {
    fn tolerance(self) -> Option<Tolerance> {
        match self {
            Self::Rounding => Some(Tolerance { logits: Logits::All(1e-3), loss: 1e-3, norm: 1e-2, tokens: 8 }),
            // Where a few tokens dominate a gradient, rounding can halve its norm.
            Self::Bf16 => Some(Tolerance { logits: Logits::Best(0.5), loss: 5e-2, norm: 0.6, tokens: 0 }),
            Self::BestToken => Some(Tolerance { logits: Logits::Best(1.0), loss: 0.0, norm: 0.0, tokens: 0 }),
            Self::Nothing => None,
        }
    }
}

/// Checks that two sides agree; returns the difference if not.
pub(crate) fn agree(ours: &Value, theirs: &Value, agreement: Agreement) -> Result<(), String> {
    let Some(tolerance) = agreement.tolerance() else { return Ok(()) };
    for name in ["tokens", "checksum", "parameters"] {
        if ours.get(name) != theirs.get(name) {
            return Err(format!("{name}: {} and {}", ours[name], theirs[name]));
        }
    }
    // A side without gradients to compare reports none.
    if !numbers(&ours["logits"]).is_empty() && !numbers(&theirs["logits"]).is_empty() {
        agree_in_logits(&ours["logits"], &theirs["logits"], &tolerance.logits)?;
    }
    for (name, tolerance) in [("loss", tolerance.loss), ("gradient_norm", tolerance.norm)] {
        if let (Some(left), Some(right)) = (ours[name].as_f64(), theirs[name].as_f64()) {
            let scale = if name == "loss" { 1.0 } else { left.abs().max(right.abs()).max(1e-12) };
            let difference = (left - right).abs() / scale;
            if difference.is_nan() || difference > tolerance {
                return Err(format!("{name}: {left} and {right}"));
            }
        }
    }
    for (left, right) in list(&ours["generated"]).iter().zip(list(&theirs["generated"])) {
        let same = same_tokens(left, right);
        if same < tolerance.tokens.min(list(left).len()) {
            return Err(format!("the first {same} new tokens are the same, expected {}", tolerance.tokens));
        }
    }
    Ok(())
}

/// The values of a list; of anything else none.
fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The number of tokens at the beginning of two rows that are the same.
fn same_tokens(left: &Value, right: &Value) -> usize {
    let (left, right) = (numbers(left), numbers(right));
    left.iter().zip(&right).take_while(|(left, right)| left == right).count()
}

fn agree_in_logits(ours: &Value, theirs: &Value, tolerance: &Logits) -> Result<(), String> {
    let Some(difference) = apart(ours, theirs) else {
        return Err(format!("{} logits and {}", numbers(ours).len(), numbers(theirs).len()));
    };
    match tolerance {
        Logits::All(most) if difference.is_nan() || difference > *most => {
            Err(format!("logits differ by {difference:.1e}, at most {most:.0e} is rounding"))
        }
        Logits::All(_) => Ok(()),
        Logits::Best(most) => {
            let rows = list(ours).iter().zip(list(theirs));
            let below = rows.map(|(left, right)| below_best(left, right)).fold(0.0, worse);
            if below.is_nan() || below > *most {
                return Err(format!(
                    "the most probable token is {below:.2} below another one, at most {most} is rounding"
                ));
            }
            Ok(())
        }
    }
}

/// In the second row of logits, by how much the most probable token of the first is below the most probable one.
fn below_best(ours: &Value, theirs: &Value) -> f64 {
    let (left, right) = (numbers(ours), numbers(theirs));
    let best = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, worse);
    let own = best(&left);
    let place = left.iter().position(|logit| *logit == own);
    place.and_then(|place| right.get(place)).map_or(f64::NAN, |logit| best(&right) - logit)
}

/// The largest difference between the logits of two sides; `None` if their numbers differ, or there are none.
pub(crate) fn apart(ours: &Value, theirs: &Value) -> Option<f64> {
    let (left, right) = (numbers(ours), numbers(theirs));
    let differences = left.iter().zip(&right).map(|(left, right)| (left - right).abs());
    (left.len() == right.len() && !left.is_empty()).then(|| differences.fold(0.0, worse))
}

/// The greater of two values; NaN is kept.
fn worse(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.max(right) }
}

/// All numbers in nested lists; other values become NaN.
fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(list) => list.iter().flat_map(numbers).collect(),
        value => vec![value.as_f64().unwrap_or(f64::NAN)],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check() -> Value {
        json!({"parameters": 5, "tokens": 9, "checksum": 77, "logits": [[0.5, -0.25]], "loss": 0.7, "gradient_norm": 2.0})
    }

    #[test]
    fn rounding_is_agreement_and_more_is_not() {
        let with = |name: &str, value: Value| {
            let mut other = check();
            other[name] = value;
            agree(&check(), &other, Agreement::Rounding)
        };
        assert!(with("logits", json!([[0.5004, -0.25]])).is_ok());
        assert!(with("gradient_norm", json!(2.01)).is_ok());
        for (name, value) in [
            ("logits", json!([[0.502, -0.25]])),
            ("logits", json!([[0.5]])),
            ("logits", json!([[null, -0.25]])),
            ("loss", json!(0.702)),
            ("gradient_norm", json!(2.1)),
            ("parameters", json!(6)),
            ("checksum", json!(78)),
        ] {
            assert!(with(name, value.clone()).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn of_the_most_probable_token_only_its_place_counts() {
        let logits = |logits: Value| {
            let other = json!({"parameters": 5, "tokens": 9, "checksum": 77, "logits": logits});
            agree(&check(), &other, Agreement::BestToken)
        };
        assert!(logits(json!([[7.5, 3.0]])).is_ok() && logits(json!([[3.0, 3.9]])).is_ok());
        assert!(logits(json!([[3.0, 4.1]])).is_err() && logits(json!([[null, 3.0]])).is_err());
    }

    #[test]
    fn the_first_new_tokens_are_the_same() {
        let of = |tokens: Vec<u32>| json!({"logits": [], "generated": [tokens]});
        let ours = of((0..20).collect());
        assert!(agree(&ours, &of((0..8).chain(90..102).collect()), Agreement::Rounding).is_ok());
        assert!(agree(&ours, &of((0..7).chain(90..103).collect()), Agreement::Rounding).is_err());
        assert!(agree(&of(vec![1, 2]), &of(vec![1, 2]), Agreement::Rounding).is_ok());
    }
}
