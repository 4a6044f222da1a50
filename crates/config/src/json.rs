//! The reference's dictionary as JSON: reading, writing, and serde.
//!
//! A dictionary may be bare or in an `adapter_config.json`, under `config`. In a file, values whose meaning has changed
//! since are converted, as the reference does:
//!
//! - without a `version`, `gelu` means `gelu_new`, and `gelu_orig` means `gelu`;
//! - `adapters` before 1.1.0 trained LoRA with `alpha = r`, whatever the file says.
//!
//! In both cases, version 1's `invertible_adapter: {"block_type": …, "reduction_factor": …}` is read.

use std::collections::HashSet;
use std::ops::Range;

use burn_adapters_diagnostics::{deserialize_unique, nearest, shortened};
use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::grammar::{self, MOST_METHODS};
use crate::literal::{Entry, Literal, Node};
use crate::problem::Problem;
use crate::problem::ProblemKind;
use crate::read::{Placed, Reading, check_length};
use crate::{
    Activation, AdapterConfig, BottleneckConfig, ConfigError, LoraConfig, MethodConfig, PrefixTuningConfig,
    PromptTuningConfig, ReftConfig,
};

const ARCHITECTURES: [&str; 7] = ["lora", "mtl_lora", "prefix_tuning", "prompt_tuning", "reft", "union", "bottleneck"];

/// Spellings of version 1, and their current counterparts.
const RENAMED: [(&str, &str); 4] = [
    ("MH_Adapter", "mh_adapter"),
    ("Output_Adapter", "output_adapter"),
    ("LN_before", "ln_before"),
    ("LN_after", "ln_after"),
];

/// Keys of version 1 that described AdapterFusion, and have no meaning for the adapter.
const MEANINGLESS: [&str; 2] = ["attention_type", "new_attention_norm"];

/// Information from the file around a dictionary.
#[derive(Default)]
struct Origin {
    old_gelu: bool,
    old_lora_scaling: bool,
}

impl AdapterConfig {
    /// Reads the reference's dictionary, either bare or in a whole `adapter_config.json`; a union has its members under
    /// `configs`. A configuration string instead of a dictionary is read too.
    ///
    /// ```
    /// # use burn_adapters_config::AdapterConfig;
    /// let config = AdapterConfig::from_json_str(r#"{"config": {"architecture": "lora", "r": 4}, "version": "1.3.0"}"#)?;
    /// assert_eq!(config, "lora[r=4]".parse()?);
    /// # Ok::<(), burn_adapters_config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All problems, with spans into this text.
    pub fn from_json_str(text: &str) -> Result<Self, ConfigError> {
        let (node, mut reading) = parse_document(text)?;
        let placed = reading.json(&node, text);
        reading.finish(text, placed)
    }

    /// [`from_json_str`](Self::from_json_str) for a parsed value; the spans are into its text, indented by two spaces.
    ///
    /// # Errors
    ///
    /// All problems.
    pub fn from_json_value(value: &Value) -> Result<Self, ConfigError> {
        Self::from_json_str(&format!("{value:#}"))
    }

    /// The reference's dictionary.
    ///
    /// It holds every key that the reference writes, plus `subtract_projection` and `random_uniform_scale` if they are
    /// not the default: the reference reads these two, but does not write them.
    pub fn to_json_value(&self) -> Value {
        match self.methods() {
            [method] => method.to_json_value(),
            methods => {
                let configs: Vec<_> = methods.iter().map(MethodConfig::to_json_value).collect();
                json!({ "architecture": "union", "configs": configs })
            }
        }
    }
}

/// Parses a JSON text as a value with spans, if it is valid and has no duplicate keys.
pub(crate) fn parse_document(text: &str) -> Result<(Node, Reading), ConfigError> {
    check_length(text)?;
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        return Err(ConfigError::new(text, vec![not_json(text, &error)]));
    }
    let node = grammar::value(text).map_err(|problem| ConfigError::new(text, vec![problem]))?;
    let mut reading = Reading::default();
    reading.unique_keys(&node);
    if reading.problems.is_empty() { Ok((node, reading)) } else { Err(ConfigError::new(text, reading.problems)) }
}

fn not_json(text: &str, error: &serde_json::Error) -> Problem {
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
    let at = (before + error.column().saturating_sub(1)).min(text.len());
    Problem::new(at..(at + 1).min(text.len()), ProblemKind::InvalidJson { reason: error.to_string() })
}

pub(crate) fn get<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.key == key)
}

impl Reading {
    /// Duplicate keys are errors in every map, whether or not it is used: which of the two is meant is unknown.
    fn unique_keys(&mut self, node: &Node) {
        match &node.literal {
            Literal::Map(entries) => {
                let mut seen = HashSet::new();
                for entry in entries {
                    if self.full() {
                        return;
                    }
                    if !seen.insert(entry.key.as_str()) {
                        self.report(entry.key_span.clone(), ProblemKind::DuplicateKey { key: shortened(&entry.key) });
                    }
                    self.unique_keys(&entry.value);
                }
            }
            Literal::List(nodes) => nodes.iter().for_each(|node| self.unique_keys(node)),
            _ => {}
        }
    }

    fn json(&mut self, node: &Node, text: &str) -> Vec<Placed> {
        let Literal::Map(entries) = &node.literal else {
            return self.dictionary(node, &Origin::default(), text);
        };
        match get(entries, "config") {
            Some(config) => self.dictionary(&config.value, &origin(entries, &config.value), text),
            None => self.dictionary(node, &Origin::default(), text),
        }
    }

    fn dictionary(&mut self, node: &Node, origin: &Origin, text: &str) -> Vec<Placed> {
        let entries = match &node.literal {
            Literal::Map(entries) => entries,
            Literal::Str(string) => return self.embedded(string, node, text),
            other => {
                let kind = ProblemKind::NotAConfig { expected: "a configuration", found: other.describe() };
                self.report(node.span.clone(), kind);
                return Vec::new();
            }
        };
        let union =
            get(entries, "architecture").is_some_and(|entry| entry.value.literal == Literal::Str("union".into()));
        if !union && get(entries, "configs").is_none() {
            return self.method(entries, node, origin).into_iter().collect();
        }
        let Some(Entry { value: Node { literal: Literal::List(nodes), .. }, .. }) = get(entries, "configs") else {
            self.report(opening(node), ProblemKind::MissingKey { key: "configs", owner: "this union".into() });
            return Vec::new();
        };
        for entry in entries {
            if !["architecture", "configs"].contains(&entry.key.as_str()) && !self.full() {
                let kind = ProblemKind::UnknownKey {
                    key: shortened(&entry.key),
                    owner: "union".into(),
                    nearest: None,
                    elsewhere: None,
                };
                self.report(entry.key_span.clone(), kind);
            }
        }
        let mut placed = Vec::new();
        if nodes.len() > MOST_METHODS {
            self.report(opening(node), ProblemKind::TooManyMethods { limit: MOST_METHODS });
            return placed;
        }
        for node in nodes {
            if self.full() {
                break;
            }
            let nested = matches!(&node.literal, Literal::Map(entries) if get(entries, "configs").is_some());
            let member = if nested { Vec::new() } else { self.dictionary(node, &Origin::default(), text) };
            if nested || member.len() > 1 {
                let members = "the members in the outer `configs`".into();
                self.report(opening(node), ProblemKind::NestedUnion { name: "a member".into(), members });
            } else {
                placed.extend(member);
            }
        }
        placed
    }

    /// Reads a configuration string inside JSON. Its problems are located inside the JSON string, or at the whole
    /// string if escapes make positions uncertain.
    fn embedded(&mut self, string: &str, node: &Node, text: &str) -> Vec<Placed> {
        let inside = node.span.start + 1;
        let verbatim = text.get(inside..node.span.end.saturating_sub(1)) == Some(string);
        let place = |span: &Range<usize>| {
            if verbatim { span.start + inside..span.end + inside } else { node.span.clone() }
        };
        let before = self.problems.len();
        let mut placed = self.string(string);
        for problem in &mut self.problems[before..] {
            problem.span = place(&problem.span);
        }
        for method in &mut placed {
            method.span = place(&method.span);
        }
        placed
    }

    fn method(&mut self, entries: &[Entry], node: &Node, origin: &Origin) -> Option<Placed> {
        let architecture = get(entries, "architecture");
        let name = match architecture.map(|entry| &entry.value.literal) {
            None | Some(Literal::None) => "bottleneck",
            Some(Literal::Str(name)) => name,
            Some(other) => {
                let kind = ProblemKind::WrongType {
                    key: "architecture".into(),
                    expected: "the name of a class of methods, or null",
                    found: other.describe(),
                };
                self.report(architecture.map_or(opening(node), |entry| entry.value.span.clone()), kind);
                return None;
            }
        };
        // `new` has the defaults of the reference's classes; keys without a default are required.
        let (mut method, required): (MethodConfig, &[&str]) = match name {
            "bottleneck" => (
                BottleneckConfig::new(false, true, 16, Activation::Relu).into(),
                &["mh_adapter", "output_adapter", "reduction_factor", "non_linearity"],
            ),
            "lora" => (LoraConfig::lora().into(), &[]),
            "mtl_lora" => (LoraConfig::mtl_lora().into(), &[]),
            "prefix_tuning" => (PrefixTuningConfig::prefix_tuning().into(), &[]),
            "prompt_tuning" => (PromptTuningConfig::prompt_tuning().into(), &[]),
            "reft" => {
                (ReftConfig::loreft().into(), &["layers", "prefix_positions", "suffix_positions", "r", "orthogonality"])
            }
            other => {
                let nearest = nearest(other, ARCHITECTURES).map(str::to_owned);
                let kind = ProblemKind::UnknownArchitecture { name: shortened(other), nearest };
                self.report(architecture.map_or(opening(node), |entry| entry.value.span.clone()), kind);
                return None;
            }
        };
        let entries = self.modern(entries, matches!(method, MethodConfig::Bottleneck(_)), origin);
        for key in method.keys() {
            if required.contains(&key) && get(&entries, key).is_none() {
                let kind = ProblemKind::MissingKey { key, owner: format!("this {name} configuration") };
                self.report(opening(node), kind);
            }
        }
        self.attributes(&mut method, name, &entries, &opening(node));
        if let MethodConfig::Lora(config) = &mut method
            && origin.old_lora_scaling
        {
            config.alpha = config.r as f64;
        }
        Some(Placed { method, span: opening(node) })
    }

    /// The entries, with the spellings of old files converted.
    fn modern(&mut self, entries: &[Entry], bottleneck: bool, origin: &Origin) -> Vec<Entry> {
        let mut modern = Vec::with_capacity(entries.len());
        let mut invertible = Vec::new();
        for entry in entries {
            let mut entry = entry.clone();
            if origin.old_gelu && entry.key == "non_linearity" {
                match &mut entry.value.literal {
                    Literal::Str(name) if name == "gelu" => *name = "gelu_new".into(),
                    Literal::Str(name) if name == "gelu_orig" => *name = "gelu".into(),
                    _ => {}
                }
            }
            if bottleneck {
                if MEANINGLESS.contains(&entry.key.as_str()) {
                    continue;
                }
                if entry.key == "invertible_adapter" {
                    invertible = self.invertible(&entry);
                    continue;
                }
                if let Some((_, name)) = RENAMED.iter().find(|(old, _)| *old == entry.key) {
                    entry.key = (*name).to_owned();
                }
            }
            modern.push(entry);
        }
        if !invertible.is_empty() {
            // In the reference, the old key wins.
            modern.retain(|entry| !invertible.iter().any(|old: &Entry| old.key == entry.key));
            modern.extend(invertible);
        }
        modern
    }

    fn invertible(&mut self, entry: &Entry) -> Vec<Entry> {
        let nested = match &entry.value.literal {
            Literal::None | Literal::Bool(false) => return Vec::new(),
            Literal::Map(nested) if nested.is_empty() => return Vec::new(),
            Literal::Map(nested) => nested,
            other => {
                let kind = ProblemKind::WrongType {
                    key: entry.key.clone(),
                    expected: "a map or null",
                    found: other.describe(),
                };
                self.report(entry.value.span.clone(), kind);
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for (old, new) in [("block_type", "inv_adapter"), ("reduction_factor", "inv_adapter_reduction_factor")] {
            match get(nested, old) {
                Some(part) => found.push(Entry { key: new.to_owned(), ..part.clone() }),
                None => {
                    let owner = "`invertible_adapter`".into();
                    self.report(opening(&entry.value), ProblemKind::MissingKey { key: old, owner });
                }
            }
        }
        found
    }
}

/// The opening brace: problems of a whole map, such as missing keys, are shown there.
pub(crate) fn opening(node: &Node) -> Range<usize> {
    node.span.start..node.span.start + 1
}

fn origin(file: &[Entry], config: &Node) -> Origin {
    let version = get(file, "version").map(|entry| &entry.value.literal);
    let Literal::Map(config) = &config.literal else {
        return Origin::default();
    };
    let lora = get(config, "architecture").is_some_and(|entry| entry.value.literal == Literal::Str("lora".into()));
    match version {
        // A file with only the dictionary was not written by any version of the reference.
        None => Origin { old_gelu: file.len() > 1, old_lora_scaling: false },
        Some(Literal::Str(version)) => Origin { old_gelu: false, old_lora_scaling: lora && before_1_1_0(version) },
        Some(_) => Origin::default(),
    }
}

/// Whether this is a version of `adapters` (not of its predecessor, whose versions have no prefix) before 1.1.0.
fn before_1_1_0(version: &str) -> bool {
    let Some(version) = version.strip_prefix("adapters.") else {
        return false;
    };
    let number = |part: Option<&str>| {
        let digits: String = part.unwrap_or("0").chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or(0)
    };
    let mut parts = version.split('.');
    let release = (number(parts.next()), number(parts.next()), number(parts.next()));
    let preliminary = ["dev", "rc", "a", "b"].iter().any(|mark| version.contains(mark));
    release < (1, 1, 0) || (release == (1, 1, 0) && preliminary)
}

impl Serialize for AdapterConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AdapterConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserialize_unique(deserializer)?;
        Self::from_json_value(&value).map_err(D::Error::custom)
    }
}

impl Serialize for MethodConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MethodConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let AdapterConfig { mut methods } = AdapterConfig::deserialize(deserializer)?;
        match methods.pop() {
            Some(method) if methods.is_empty() => Ok(method),
            _ => Err(D::Error::custom("expected a single method, found a union")),
        }
    }
}

macro_rules! serde_of_methods {
    ($($variant:ident($config:ty) = $name:literal),*) => {$(
        impl Serialize for $config {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                MethodConfig::$variant(self.clone()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $config {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match MethodConfig::deserialize(deserializer)? {
                    MethodConfig::$variant(config) => Ok(config),
                    other => Err(D::Error::custom(format!(concat!("expected ", $name, ", found `{}`"), other))),
                }
            }
        }
    )*};
}
serde_of_methods!(
    Bottleneck(BottleneckConfig) = "a bottleneck adapter",
    Lora(LoraConfig) = "LoRA or a method built on it",
    PrefixTuning(PrefixTuningConfig) = "prefix tuning",
    PromptTuning(PromptTuningConfig) = "prompt tuning",
    Reft(ReftConfig) = "ReFT"
);
