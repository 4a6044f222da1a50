//! Reading and writing of fusion configurations, as strings and as the reference's dictionary.
//!
//! ```text
//! config = name [ "[" [ key "=" value { "," key "=" value } [ "," ] ] "]" ]        name = "static" | "dynamic"
//! ```

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use burn_adapters_diagnostics::{deserialize_unique, nearest, shortened};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::FusionConfig;
use crate::ConfigError;
use crate::attributes::Attributes;
use crate::display::shortest;
use crate::grammar::{self, Member};
use crate::json::{get, opening, parse_document};
use crate::literal::{Entry, Literal, Node};
use crate::problem::Problem;
use crate::problem::ProblemKind;
use crate::read::{Reading, check_length};

impl Reading {
    /// Reads a fusion's configuration string.
    fn fusion(&mut self, text: &str) -> Option<FusionConfig> {
        let (members, problems) = grammar::members(text);
        self.problems.extend(problems.into_iter().map(of_a_fusion));
        if members.len() > 1 {
            let at = members[0].span.end + text[members[0].span.end..].find('|').unwrap_or(0);
            let kind = ProblemKind::Expected { expected: "the end of the configuration", found: "`|`".into() };
            self.report(at..at + 1, kind);
        }
        let Member { name, name_span, entries, .. } = members.into_iter().next()?;
        match FusionConfig::named(&name) {
            Ok(mut config) => {
                self.fusion_attributes(&mut config, &name, &entries);
                Some(config)
            }
            Err(kind) => {
                self.report(name_span, kind);
                None
            }
        }
    }

    /// Sets attributes, and checks the result.
    fn fusion_attributes(&mut self, config: &mut FusionConfig, owner: &str, entries: &[Entry]) {
        let mut seen = HashSet::new();
        for entry in entries {
            if self.full() {
                return;
            }
            if !seen.insert(entry.key.as_str()) {
                self.report(entry.key_span.clone(), ProblemKind::DuplicateKey { key: shortened(&entry.key) });
            } else if !config.set(&entry.key, &entry.value, &mut self.problems) {
                let nearest = nearest(&entry.key, FusionConfig::KEYS.iter().copied()).map(str::to_owned);
                let (key, owner) = (shortened(&entry.key), owner.to_owned());
                let kind = ProblemKind::UnknownKey { key, owner, nearest, elsewhere: None };
                self.report(entry.key_span.clone(), kind);
            }
        }
        if let (Some(kind), Some(entry)) = (config.range_problem(), get(entries, "dropout_prob")) {
            self.report(entry.value.span.clone(), kind);
        }
    }

    /// Reads a fusion's dictionary, or a configuration string instead of one.
    fn fusion_dictionary(&mut self, node: &Node) -> Option<FusionConfig> {
        match &node.literal {
            Literal::Map(entries) => {
                let mut config = FusionConfig::dynamic();
                self.fusion_attributes(&mut config, "AdapterFusion", entries);
                for key in FusionConfig::KEYS {
                    if *key != "dropout_prob" && get(entries, key).is_none() {
                        let owner = "this AdapterFusion".into();
                        self.report(opening(node), ProblemKind::MissingKey { key, owner });
                    }
                }
                Some(config)
            }
            Literal::Str(text) => {
                let before = self.problems.len();
                let config = self.fusion(text);
                // The position is that of the whole string, because escapes may shift positions inside.
                self.problems[before..].iter_mut().for_each(|problem| problem.span = node.span.clone());
                config
            }
            other => {
                let (expected, found) = ("the configuration of an AdapterFusion", other.describe());
                self.report(opening(node), ProblemKind::NotAConfig { expected, found });
                None
            }
        }
    }

    fn finish_fusion(self, text: &str, config: Option<FusionConfig>) -> Result<FusionConfig, ConfigError> {
        match config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => Err(ConfigError::new(text, self.problems)),
        }
    }
}

/// The grammar is that of adapters, which allows several methods.
fn of_a_fusion(problem: Problem) -> Problem {
    let kind = match problem.kind {
        ProblemKind::Empty => ProblemKind::Expected { expected: "`static` or `dynamic`", found: "the end".into() },
        ProblemKind::Expected { expected: "the name of a method", found } => {
            ProblemKind::Expected { expected: "`static` or `dynamic`", found }
        }
        ProblemKind::TrailingText { found } => {
            ProblemKind::Expected { expected: "the end of the configuration", found }
        }
        other => other,
    };
    Problem { kind, ..problem }
}

impl FromStr for FusionConfig {
    type Err = ConfigError;

    /// Reads a configuration string, such as `dynamic[temperature=True]`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        check_length(text)?;
        let mut reading = Reading::default();
        let config = reading.fusion(text);
        reading.finish_fusion(text, config)
    }
}

impl FusionConfig {
    /// Reads the reference's dictionary, either bare or in a whole `adapter_fusion_config.json`. A configuration string
    /// instead of a dictionary is read too. Only `dropout_prob` may be missing, as in older files.
    ///
    /// ```
    /// # use burn_adapters_config::FusionConfig;
    /// let text = r#"{"name": "a,b", "config": "static[temperature=true]"}"#;
    /// assert_eq!(FusionConfig::from_json_str(text)?, FusionConfig::r#static().with_temperature(true));
    /// # Ok::<(), burn_adapters_config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// All problems, with spans into this text.
    pub fn from_json_str(text: &str) -> Result<Self, ConfigError> {
        let (node, mut reading) = parse_document(text)?;
        let dictionary = match &node.literal {
            Literal::Map(entries) => get(entries, "config").map_or(&node, |entry| &entry.value),
            _ => &node,
        };
        let config = reading.fusion_dictionary(dictionary);
        reading.finish_fusion(text, config)
    }

    /// [`from_json_str`](Self::from_json_str) for a parsed value; the spans are into its text, indented by two spaces.
    ///
    /// # Errors
    /// All problems.
    pub fn from_json_value(value: &Value) -> Result<Self, ConfigError> {
        Self::from_json_str(&format!("{value:#}"))
    }

    /// The reference's dictionary, key for key.
    pub fn to_json_value(&self) -> Value {
        let dictionary: Map<String, Value> =
            self.list().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Value::Object(dictionary)
    }
}

impl fmt::Display for FusionConfig {
    /// The shortest equivalent configuration string.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differences = |base: Self| {
            let pairs = base.list().into_iter().zip(self.list());
            pairs.filter(|(before, after)| before != after).map(|(_, after)| after).collect::<Vec<_>>()
        };
        let candidates = [("dynamic", differences(Self::dynamic())), ("static", differences(Self::r#static()))];
        f.write_str(&shortest(candidates.into_iter()).unwrap_or_default())
    }
}

impl Serialize for FusionConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FusionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json_value(&deserialize_unique(deserializer)?).map_err(D::Error::custom)
    }
}
