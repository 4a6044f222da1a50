//! Configuration strings and the reference's dictionary, read and written.
//!
//! ```text
//! config = name [ "[" [ key "=" value { "," key "=" value } [ "," ] ] "]" ]        name = "static" | "dynamic"
//! ```

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use burn_adapters_files::deserialize_unique;
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::literal::{Entry, Literal, Node, Reader, shortened};
use crate::nearest::nearest;
use crate::{FusionConfig, FusionConfigError, FusionProblem};

impl FromStr for FusionConfig {
    type Err = FusionConfigError;

    /// Reads a configuration string, such as `dynamic[temperature=True]`.
    fn from_str(text: &str) -> Result<Self, FusionConfigError> {
        check_length(text)?;
        let mut reader = Reader::new(text);
        reader.skip_space();
        let start = reader.at();
        let name = reader.take(|c| !c.is_whitespace() && !"[]{}(),=|'\"".contains(c));
        if name.is_empty() {
            return reader.expected("`static` or `dynamic`");
        }
        let mut config =
            Self::from_identifier(name).map_err(|error| located(text, start..start + name.len(), error.kind))?;
        reader.skip_space();
        let entries = if reader.peek() == Some('[') { reader.entries(']', 0)? } else { Vec::new() };
        reader.end()?;
        config.apply(text, &entries)?;
        Ok(config)
    }
}

/// The longest text of a configuration, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// A text that is too long is not read, and not repeated in the error.
fn check_length(text: &str) -> Result<(), FusionConfigError> {
    let bytes = text.len();
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let start = (0..=80).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Err(located(&text[..start], 0..0, FusionProblem::TooLong { bytes, limit: MOST_BYTES }))
}

/// In no map may a key stand twice, read or not: which of the two is meant is not known.
fn unique_keys(text: &str, node: &Node) -> Result<(), FusionConfigError> {
    let Literal::Map(entries) = &node.literal else { return Ok(()) };
    let mut seen = HashSet::new();
    for Entry { key, key_span, value } in entries {
        if !seen.insert(key.as_str()) {
            return Err(located(text, key_span.clone(), FusionProblem::DuplicateKey { key: shortened(key) }));
        }
        unique_keys(text, value)?;
    }
    Ok(())
}

fn located(text: &str, span: std::ops::Range<usize>, kind: FusionProblem) -> FusionConfigError {
    FusionConfigError::new(text, span, kind)
}

impl FusionConfig {
    /// Sets attributes, and checks the outcome.
    fn apply(&mut self, text: &str, entries: &[Entry]) -> Result<(), FusionConfigError> {
        for (index, Entry { key, key_span, value }) in entries.iter().enumerate() {
            if entries[..index].iter().any(|before| before.key == *key) {
                return Err(located(text, key_span.clone(), FusionProblem::DuplicateKey { key: shortened(key) }));
            }
            let Some(known) = Self::KEYS.iter().find(|known| *known == key) else {
                let kind = FusionProblem::UnknownKey {
                    key: shortened(key),
                    nearest: nearest(key, Self::KEYS.iter().copied()),
                };
                return Err(located(text, key_span.clone(), kind));
            };
            let wrong = |expected| {
                let kind = FusionProblem::WrongType { key: known, expected, found: value.literal.describe() };
                located(text, value.span.clone(), kind)
            };
            match (self.flag_mut(key), &value.literal) {
                (Some(flag), Literal::Bool(value)) => *flag = *value,
                (Some(_), _) => return Err(wrong("True or False")),
                (None, Literal::None) => self.dropout_prob = None,
                (None, Literal::Number(number)) => self.dropout_prob = Some(*number),
                (None, _) => return Err(wrong("a number or None")),
            }
            if let Some(kind) = self.problem() {
                return Err(located(text, value.span.clone(), kind));
            }
        }
        Ok(())
    }

    /// Reads the reference's dictionary: bare, or a whole `adapter_fusion_config.json`. A configuration string in the
    /// place of a dictionary is read too. Only `dropout_prob` may be left out, which older files lack.
    ///
    /// ```
    /// # use burn_adapters_fusion::FusionConfig;
    /// let text = r#"{"name": "a,b", "config": "static[temperature=true]"}"#;
    /// assert_eq!(FusionConfig::from_json_str(text)?, FusionConfig::r#static().with_temperature(true));
    /// # Ok::<(), burn_adapters_fusion::FusionConfigError>(())
    /// ```
    ///
    /// # Errors
    /// The first thing that is wrong, with its place in this text.
    pub fn from_json_str(text: &str) -> Result<Self, FusionConfigError> {
        check_length(text)?;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
            let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let at = before + error.column().saturating_sub(1);
            return Err(located(text, at..at + 1, FusionProblem::InvalidJson { reason: error.to_string() }));
        }
        let mut reader = Reader::new(text);
        reader.skip_space();
        let node = reader.value(0)?;
        unique_keys(text, &node)?;
        if let Literal::Map(entries) = &node.literal
            && let Some(config) = entries.iter().find(|entry| entry.key == "config")
        {
            return Self::dictionary(text, &config.value);
        }
        Self::dictionary(text, &node)
    }

    fn dictionary(text: &str, node: &Node) -> Result<Self, FusionConfigError> {
        let opening = node.span.start..node.span.start + 1;
        match &node.literal {
            Literal::Map(entries) => {
                let mut config = Self::dynamic();
                config.apply(text, entries)?;
                let missing = |key: &&&str| **key != "dropout_prob" && entries.iter().all(|entry| entry.key != **key);
                match Self::KEYS.iter().find(missing) {
                    Some(key) => Err(located(text, opening, FusionProblem::MissingKey { key })),
                    None => Ok(config),
                }
            }
            // Placed at the whole string, as escapes may shift what is in it.
            Literal::Str(string) => {
                string.parse().map_err(|error: FusionConfigError| located(text, node.span.clone(), error.kind))
            }
            other => {
                let (expected, found) = ("the configuration of an AdapterFusion", other.describe());
                Err(located(text, opening, FusionProblem::Expected { expected, found }))
            }
        }
    }

    /// As [`from_json_str`](Self::from_json_str); the place is in the value's text, indented by two.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_json_value(value: &Value) -> Result<Self, FusionConfigError> {
        Self::from_json_str(&format!("{value:#}"))
    }

    /// The reference's dictionary, key for key.
    pub fn to_json_value(&self) -> Value {
        let flags = self.flags().into_iter().map(|(key, value)| (key.to_owned(), Value::Bool(value)));
        let mut dictionary: Map<String, Value> = flags.collect();
        dictionary.insert("dropout_prob".into(), self.dropout_prob.map_or(Value::Null, Value::from));
        Value::Object(dictionary)
    }
}

impl fmt::Display for FusionConfig {
    /// The shortest configuration string that means the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let string = |(name, base): (&str, Self)| {
            let differing = self.flags().into_iter().zip(base.flags()).filter(|(own, base)| own != base);
            let mut attributes: Vec<_> =
                differing.map(|((key, value), _)| format!("{key}={}", if value { "True" } else { "False" })).collect();
            attributes.extend(self.dropout_prob.map(|p| format!("dropout_prob={p:?}")));
            if attributes.is_empty() { name.to_owned() } else { format!("{name}[{}]", attributes.join(",")) }
        };
        let candidates = [("dynamic", Self::dynamic()), ("static", Self::r#static())].map(string);
        let shortest = candidates.iter().min_by_key(|candidate| candidate.len());
        f.write_str(shortest.map_or("", String::as_str))
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
