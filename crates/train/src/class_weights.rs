//! Class weights in the loss.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use burn_adapters_heads::{HeadConfig, Targets};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// The weight of each class in the training loss.
///
/// In classification this is PyTorch's `CrossEntropyLoss(weight=…)`: each text has the weight of its class, and the
/// loss is the weighted mean. In multilabel classification it is `BCEWithLogitsLoss(pos_weight=…)`. Evaluations are not
/// weighted, so that their losses can be compared.
///
/// ```
/// use burn_adapters_train::ClassWeights;
///
/// let weights: ClassWeights = "spam=5,ham=1".parse()?;
/// assert_eq!(weights.to_string(), "ham=1,spam=5");
/// assert_eq!("balanced".parse(), Ok(ClassWeights::Balanced));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// By the frequency of classes in the training data: `n / (k · count)` for `n` texts and `k` classes, as
    /// scikit-learn's `balanced`. In multilabel classification, the number of negative texts divided by the number of
    /// positive ones.
    Balanced,
    /// By name; all other classes have weight 1.
    Named(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// The weight of each label of a head that learns `labels`; `None` if the head has none of the named classes.
    ///
    /// # Errors
    /// If the head is a regression.
    pub fn of(&self, head: &HeadConfig, labels: &Targets) -> Result<Option<Vec<f32>>, TrainError> {
        let bad = |found: String| {
            let expected = "left out: the head has no classes";
            Err(TrainError::BadConfig { option: "class_weights", expected, found })
        };
        if !head.task().has_classes() {
            return bad(self.to_string());
        }
        let weights = match self {
            Self::Named(named) => {
                let names = head.labels();
                if !names.iter().any(|name| named.contains_key(name)) {
                    return Ok(None);
                }
                names.iter().map(|name| named.get(name).map_or(1.0, |weight| *weight as f32)).collect()
            }
            Self::Balanced => match head.task().balanced_weights(labels, head.num_labels) {
                Some(weights) => weights,
                None => return bad(self.to_string()),
            },
        };
        Ok(Some(weights))
    }

    /// The names that no head has.
    pub(crate) fn unknown<'a>(&'a self, heads: &[Vec<String>]) -> Option<&'a str> {
        let Self::Named(named) = self else { return None };
        let known = |name: &str| heads.iter().flatten().any(|label| label == name);
        named.keys().map(String::as_str).find(|name| !known(name))
    }

    pub(crate) fn check(&self) -> Result<(), TrainError> {
        let Self::Named(named) = self else { return Ok(()) };
        let bad =
            |(_, weight): &(&String, &f64)| !(weight.is_finite() && **weight > 0.0 && **weight < f64::from(f32::MAX));
        match named.iter().find(bad) {
            Some((name, weight)) => Err(TrainError::BadConfig {
                option: "class_weights",
                expected: "`balanced` or a number above 0 for each named class",
                found: format!("{name}={weight}"),
            }),
            None => Ok(()),
        }
    }
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "balanced" {
            return Ok(Self::Balanced);
        }
        let expected = "expected `balanced`, or weights by name such as a=1,b=2.5";
        let mut named = BTreeMap::new();
        // A name may contain commas: a part without `=` belongs to the next part.
        let mut name = String::new();
        for part in text.split(',') {
            match part.rsplit_once('=') {
                None => name += &format!("{part},"),
                Some((end, weight)) => {
                    name += end;
                    let name = std::mem::take(&mut name).trim().to_owned();
                    let weight: f64 =
                        weight.trim().parse().map_err(|_| format!("{expected}: `{weight}` is not a number"))?;
                    if name.is_empty() || named.insert(name.clone(), weight).is_some() {
                        return Err(format!("{expected}: `{name}` is given twice, or has no name"));
                    }
                }
            }
        }
        if named.is_empty() || !name.is_empty() {
            return Err(expected.to_owned());
        }
        let weights = Self::Named(named);
        weights.check().map_err(|error| error.to_string())?;
        Ok(weights)
    }
}

impl fmt::Display for ClassWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balanced => f.write_str("balanced"),
            Self::Named(named) => {
                let parts: Vec<String> = named.iter().map(|(name, weight)| format!("{name}={weight}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn balanced_weights_are_those_of_scikit_learn() {
        // compute_class_weight('balanced', classes=[0, 1, 2], y=[0, 0, 0, 0, 1, 1, 2, 2, 2, 2])
        let labels = Targets::Classes(vec![0, 0, 0, 0, 1, 1, 2, 2, 2, 2]);
        let head = HeadConfig::classification(3);
        let weights = ClassWeights::Balanced.of(&head, &labels).unwrap().unwrap();
        assert_eq!(weights, [0.833_333_3, 1.666_666_6, 0.833_333_3]);
        let sets = Targets::Sets(vec![vec![1.0, 0.0], vec![0.0, 0.0], vec![0.0, 0.0], vec![0.0, 0.0]]);
        let head = HeadConfig::multilabel_classification(2);
        assert_eq!(ClassWeights::Balanced.of(&head, &sets).unwrap().unwrap(), [3.0, 1.0]);
        let error = ClassWeights::Balanced.of(&HeadConfig::regression(), &Targets::Values(vec![1.0]));
        assert!(error.unwrap_err().to_string().contains("no classes"));
    }

    #[test]
    fn weights_are_read_by_name() {
        let named = |text: &str| match text.parse() {
            Ok(ClassWeights::Named(named)) => named.into_iter().collect::<Vec<_>>(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(named("a=1, b = 2.5"), [("a".to_owned(), 1.0), ("b".to_owned(), 2.5)]);
        assert_eq!(named("no, really=3,x=y=2"), [("no, really".to_owned(), 3.0), ("x=y".to_owned(), 2.0)]);
        for bad in ["", "a", "a=0", "a=-1", "a=nan", "a=inf", "a=1,a=2", "=1", "a=1,b", "balance"] {
            assert!(bad.parse::<ClassWeights>().is_err(), "{bad}");
        }
    }
}
