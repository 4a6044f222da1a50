//! From the parsed text of a string or JSON to a checked configuration.

use std::collections::HashSet;
use std::ops::Range;
use std::str::FromStr;

use crate::clash::Located;
use crate::grammar::{self, MOST_BYTES, MOST_PROBLEMS, Member};
use crate::literal::{Entry, Literal};
use crate::problem::Problem;
use crate::problem::ProblemKind;
use crate::registry::{self, identifiers};
use crate::{AdapterConfig, ConfigError, FusionConfig, MethodConfig};
use burn_adapters_diagnostics::{nearest, shortened};

/// Reads configurations, and collects their problems.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) problems: Vec<Problem>,
}

/// A method that was read, and its span.
pub(crate) struct Placed {
    pub(crate) method: MethodConfig,
    pub(crate) span: Range<usize>,
}

impl Reading {
    pub(crate) fn report(&mut self, span: Range<usize>, kind: ProblemKind) {
        self.problems.push(Problem::new(span, kind));
    }

    pub(crate) fn full(&self) -> bool {
        self.problems.len() >= MOST_PROBLEMS
    }

    /// The methods of a configuration string.
    pub(crate) fn string(&mut self, text: &str) -> Vec<Placed> {
        let (members, problems) = grammar::members(text);
        self.problems.extend(problems);
        let alone = members.len() == 1;
        let mut methods = Vec::new();
        for member in members {
            if self.full() {
                break;
            }
            methods.extend(self.member(member, alone));
        }
        methods
    }

    fn member(&mut self, member: Member, alone: bool) -> Vec<Placed> {
        let Some(identifier) = registry::find(&member.name) else {
            self.report(member.name_span, registry::unknown(&member.name));
            return Vec::new();
        };
        let base = identifier.config();
        if base.methods.len() > 1 && !alone {
            let kind = ProblemKind::NestedUnion { name: member.name, members: spelled_out(&base, &member.entries) };
            self.report(member.name_span, kind);
            return Vec::new();
        }
        if base.methods.len() > 1 {
            return self.named_union(identifier.name, &base, member);
        }
        let placed = base.methods.into_iter();
        placed
            .map(|mut method| {
                self.attributes(&mut method, &member.name, &member.entries, &member.name_span);
                Placed { method, span: member.span.clone() }
            })
            .collect()
    }

    /// An attribute of a named union is set in every method of it, as in the reference, so each method must have it.
    fn named_union(&mut self, name: &'static str, base: &AdapterConfig, member: Member) -> Vec<Placed> {
        let (mut common, mut unknown) = (Vec::new(), Vec::new());
        for entry in &member.entries {
            let having = base.methods.iter().filter(|method| method.keys().contains(&entry.key.as_str())).count();
            if having == base.methods.len() {
                common.push(entry.clone());
            } else if having > 0 && !self.full() {
                let members = spelled_out(base, &member.entries);
                let kind = ProblemKind::NotInEveryMember { key: shortened(&entry.key), union: name, members };
                self.report(entry.key_span.clone(), kind);
            } else {
                unknown.push(entry);
            }
        }
        for entry in unknown {
            if self.full() {
                break;
            }
            let known: Vec<_> = base.methods.iter().flat_map(MethodConfig::keys).collect();
            self.unknown_key(name, entry, &known);
        }
        let mut placed = Vec::new();
        for method in &base.methods {
            let mut method = method.clone();
            // The same entry has the same problem in each method; it is reported once.
            self.attributes(&mut method, name, &common, &member.name_span);
            placed.push(Placed { method, span: member.span.clone() });
        }
        placed
    }

    /// Sets the attributes, and checks the result. `owner` is the name of the method; `at` is its span.
    pub(crate) fn attributes(&mut self, method: &mut MethodConfig, owner: &str, entries: &[Entry], at: &Range<usize>) {
        let before = self.problems.len();
        let mut seen = HashSet::new();
        for entry in entries {
            if self.full() {
                return;
            }
            if !seen.insert(entry.key.as_str()) {
                self.report(entry.key_span.clone(), ProblemKind::DuplicateKey { key: shortened(&entry.key) });
            } else if entry.key == "architecture" {
                self.architecture(method, entry);
            } else if !method.set(&entry.key, &entry.value, &mut self.problems) {
                self.unknown_key(owner, entry, &method.keys());
            }
        }
        let place = |key: &str| {
            let entry = entries.iter().find(|entry| entry.key == key);
            entry.map_or(at.clone(), |entry| entry.value.span.clone())
        };
        let mut findings = method.ranges();
        // If an attribute could not be read, a conflict may be spurious.
        if self.problems.len() == before && findings.is_empty() {
            findings = method.combinations();
        }
        for (key, kind) in findings {
            self.report(place(key), kind);
        }
    }

    /// `architecture` follows from the method's name; it may be repeated, but not changed.
    fn architecture(&mut self, method: &MethodConfig, entry: &Entry) {
        let known = match (&entry.value.literal, method.architecture()) {
            (Literal::Str(name), Some(own)) => name == own,
            (Literal::Str(name), None) => name == "bottleneck",
            (Literal::None, own) => own.is_none(),
            _ => false,
        };
        if !known {
            let found = entry.value.literal.describe();
            let kind = ProblemKind::WrongType {
                key: "architecture".into(),
                expected: method.architecture().unwrap_or("absent for a bottleneck adapter"),
                found,
            };
            self.report(entry.value.span.clone(), kind);
        }
    }

    fn unknown_key(&mut self, owner: &str, entry: &Entry, known: &[&'static str]) {
        let nearest = nearest(&entry.key, known.iter().copied()).map(str::to_owned);
        let elsewhere = identifiers().iter().find(|identifier| {
            identifier.config().methods().iter().any(|method| method.keys().contains(&entry.key.as_str()))
        });
        let kind = ProblemKind::UnknownKey {
            key: shortened(&entry.key),
            owner: owner.to_owned(),
            nearest,
            elsewhere: elsewhere.map(|identifier| identifier.name),
        };
        self.report(entry.key_span.clone(), kind);
    }

    /// The configuration, if there are no problems and its methods can be combined.
    pub(crate) fn finish(mut self, text: &str, placed: Vec<Placed>) -> Result<AdapterConfig, ConfigError> {
        let spans: Vec<_> = placed.iter().map(|placed| placed.span.clone()).collect();
        let config = AdapterConfig { methods: placed.into_iter().map(|placed| placed.method).collect() };
        if self.problems.is_empty() {
            let clashes = config.clashes().into_iter().take(MOST_PROBLEMS);
            self.problems = clashes.map(|found| Problem::new(spans[found.method].clone(), found.kind)).collect();
        }
        if self.problems.is_empty() && config.methods.is_empty() {
            self.report(0..text.len(), ProblemKind::Empty);
        }
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigError::new(text, self.problems)) }
    }
}

/// A named union written as its members, each with its own attributes.
fn spelled_out(base: &AdapterConfig, entries: &[Entry]) -> String {
    let members = base.methods.iter().map(|method| {
        let mut method = method.clone();
        for entry in entries.iter().take(MOST_PROBLEMS) {
            method.set(&entry.key, &entry.value, &mut Vec::new());
        }
        method.to_string()
    });
    members.collect::<Vec<_>>().join("|")
}

/// The keys of an identifier or an architecture, for help texts.
pub(crate) fn keys_of(owner: &str) -> Option<String> {
    if owner == "AdapterFusion" || FusionConfig::IDENTIFIERS.contains(&owner) {
        return Some(FusionConfig::KEYS.join(", "));
    }
    let name = match owner {
        "bottleneck" => "seq_bn",
        "reft" => "loreft",
        owner => owner,
    };
    let config = registry::find(name)?.config();
    let keys = |method: &MethodConfig| method.keys().join(", ");
    match config.methods() {
        [method] => Some(keys(method)),
        methods => {
            let common = methods[0].keys().into_iter().filter(|key| methods.iter().all(|m| m.keys().contains(key)));
            Some(common.collect::<Vec<_>>().join(", "))
        }
    }
}

impl FromStr for AdapterConfig {
    type Err = ConfigError;

    /// Reads a configuration string.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        check_length(text)?;
        let mut reading = Reading::default();
        let placed = reading.string(text);
        reading.finish(text, placed)
    }
}

/// A text that is too long is neither read nor repeated in the error.
pub(crate) fn check_length(text: &str) -> Result<(), ConfigError> {
    let bytes = text.len();
    if bytes <= MOST_BYTES {
        return Ok(());
    }
    let kind = ProblemKind::TooLong { bytes, limit: MOST_BYTES };
    let start = (0..=80).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    Err(ConfigError::new(&text[..start], vec![Problem::new(0..0, kind)]))
}

impl AdapterConfig {
    /// A union of methods.
    ///
    /// ```
    /// use burn_adapters_config::{AdapterConfig, BottleneckConfig, LoraConfig, MethodConfig};
    ///
    /// let union = AdapterConfig::union([
    ///     MethodConfig::from(LoraConfig::new(4)),
    ///     MethodConfig::from(BottleneckConfig::par_bn()),
    /// ])?;
    /// assert_eq!(union.to_string(), "lora[r=4,alpha=4]|par_bn");
    /// # Ok::<(), burn_adapters_config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no method, two methods cannot be combined, or [`validate`](Self::validate) finds a problem.
    pub fn union<M: Into<MethodConfig>>(methods: impl IntoIterator<Item = M>) -> Result<Self, ConfigError> {
        let config = Self { methods: methods.into_iter().map(Into::into).collect() };
        config.validate().map(|()| config)
    }

    /// Checks that every attribute is in its range, and all are valid together. A configuration that was read has
    /// passed this check; one that was built in Rust may not.
    ///
    /// ```
    /// # use burn_adapters_config::{AdapterConfig, LoraConfig};
    /// let error = AdapterConfig::from(LoraConfig::lora().with_r(0)).validate().unwrap_err();
    /// assert_eq!(error.to_string(), "`r` is 0, but must be 1 or greater");
    /// ```
    ///
    /// # Errors
    ///
    /// All problems, with spans into the string that the configuration prints as.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.methods.is_empty() {
            return Err(ConfigError::new("", vec![Problem::new(0..0, ProblemKind::Empty)]));
        }
        let mut found = Vec::new();
        for (index, method) in self.methods.iter().enumerate() {
            let mut findings = method.ranges();
            if findings.is_empty() {
                findings = method.combinations();
            }
            found.extend(findings.into_iter().map(|(key, kind)| Located { method: index, key: Some(key), kind }));
        }
        if found.is_empty() {
            found = self.clashes();
        }
        self.located(found)
    }

    /// An error about this configuration, with spans into the string that it prints as.
    pub(crate) fn located(&self, found: Vec<Located>) -> Result<(), ConfigError> {
        if found.is_empty() {
            return Ok(());
        }
        let text = self.to_string();
        let (members, _) = grammar::members(&text);
        let place = |located: &Located| {
            // A named union stands for all its methods.
            let Some(member) = members.get(located.method).or(members.first()) else {
                return 0..text.len();
            };
            let entry = member.entries.iter().find(|entry| Some(entry.key.as_str()) == located.key);
            entry.map_or(member.span.clone(), |entry| entry.value.span.clone())
        };
        let problems = found.into_iter().take(MOST_PROBLEMS);
        let problems = problems.map(|located| Problem::new(place(&located), located.kind)).collect();
        Err(ConfigError::new(text, problems))
    }
}
