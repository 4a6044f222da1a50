//! The configuration of an adapter of PEFT.

use burn_adapters_files::shorten;
use regex::RegexBuilder;
use serde_json::{Map, Value};

/// What to do with an adapter that has more than its counterpart here.
pub(super) const REMEDY: &str =
    "merge it into its model with PEFT (`merge_and_unload`, `save_pretrained`) and use that as the model";

/// Keys that change what an adapter computes in ways that have no counterpart here, with what they stand for.
const UNSUPPORTED: [(&str, &str); 9] = [
    ("layer_replication", "layers that are repeated"),
    ("target_parameters", "parameters that are no modules"),
    ("trainable_token_indices", "trained tokens"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("arrow_config", "Arrow"),
    ("use_qalora", "QA-LoRA"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("monteclora_config", "MonteCLoRA"),
    ("velora_config", "VeLoRA"),
];

/// Initializations after which the file is an update of a changed base model.
const CHANGED_BASE: [&str; 6] = ["pissa", "olora", "corda", "eva", "loftq", "lora_ga"];

/// The largest size of a compiled pattern.
const MAX_PATTERN: usize = 1 << 20;

/// The methods that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Lora,
    Ia3,
    Vera,
    Prefix,
    Prompt,
}

/// Their names in `peft_type`. P-tuning saves the prompt that its encoder computed.
const METHODS: [(&str, Method); 6] = [
    ("LORA", Method::Lora),
    ("IA3", Method::Ia3),
    ("VERA", Method::Vera),
    ("PREFIX_TUNING", Method::Prefix),
    ("PROMPT_TUNING", Method::Prompt),
    ("P_TUNING", Method::Prompt),
];

impl Method {
    /// That of a configuration.
    pub(super) fn of(config: &Map<String, Value>) -> Result<Self, String> {
        let Some(found) = config.get("peft_type").and_then(Value::as_str) else {
            return Err("the key `peft_type` is missing".to_owned());
        };
        if let Some((_, method)) = METHODS.iter().find(|(name, _)| *name == found) {
            return Ok(*method);
        }
        let known = METHODS.map(|(name, _)| name).join(", ");
        let found = shorten(found);
        Err(format!("it holds {found}; the methods that are read are {known}; {REMEDY}"))
    }
}

/// A key that has a value other than null.
pub(super) fn get<'a>(config: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    config.get(key).filter(|value| !value.is_null())
}

/// A finite number, or a default.
pub(super) fn number(config: &Map<String, Value>, key: &str, default: f64) -> Result<f64, String> {
    match get(config, key) {
        None => Ok(default),
        Some(value) => value
            .as_f64()
            .filter(|number| number.is_finite())
            .ok_or_else(|| format!("`{key}` must be a number, found {}", shorten(&value.to_string()))),
    }
}

/// Checks that no key asks for what is not read.
pub(super) fn check(config: &Map<String, Value>, method: Method) -> Result<(), String> {
    for (key, what) in UNSUPPORTED {
        let is_neutral = |value: &Value| match value {
            Value::Bool(flag) => !flag,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if get(config, key).is_some_and(|value| !is_neutral(value)) {
            return Err(format!("it has {what} (`{key}`), which its counterpart here lacks; {REMEDY}"));
        }
    }
    if let Some(kind) = get(config, "init_lora_weights").and_then(Value::as_str)
        && CHANGED_BASE.iter().any(|known| kind.to_lowercase().starts_with(known))
    {
        let kind = shorten(kind);
        return Err(format!(
            "it was initialized by \"{kind}\", so that it is an update of a changed base model; convert it in PEFT \
             (`save_pretrained` with `path_initial_model_for_weight_conversion`)"
        ));
    }
    match get(config, "bias").and_then(Value::as_str) {
        None | Some("none") => Ok(()),
        Some("lora_only" | "all") if method == Method::Lora => Ok(()),
        Some(bias) => {
            let bias = shorten(bias);
            Err(format!("it trained biases of the base model (bias=\"{bias}\"); {REMEDY}"))
        }
    }
}

/// The keys of LoRA that count.
pub(super) struct LoraSettings {
    rank: usize,
    alpha: f64,
    is_rank_stabilized: bool,
    pub(super) is_dora: bool,
    /// Whether updates have a bias.
    pub(super) has_update_bias: bool,
    /// The value of `bias`, if biases of the model were trained.
    pub(super) base_bias: Option<&'static str>,
    ranks: Patterns,
    alphas: Patterns,
    pub(super) dropout: f64,
}

impl LoraSettings {
    pub(super) fn read(config: &Map<String, Value>) -> Result<Self, String> {
        let rank = number(config, "r", 8.0)?;
        if rank < 1.0 || rank.fract() != 0.0 || rank > f64::from(u16::MAX) {
            return Err(format!("`r` must be a whole number from 1 to 65535, found {rank}"));
        }
        let flag = |key: &str| get(config, key).and_then(Value::as_bool).unwrap_or(false);
        Ok(Self {
            rank: rank as usize,
            alpha: number(config, "lora_alpha", 8.0)?,
            is_rank_stabilized: flag("use_rslora"),
            is_dora: flag("use_dora"),
            has_update_bias: flag("lora_bias"),
            base_bias: get(config, "bias")
                .and_then(Value::as_str)
                .and_then(|found| ["lora_only", "all"].into_iter().find(|known| *known == found)),
            ranks: Patterns::read(config, "rank_pattern")?,
            alphas: Patterns::read(config, "alpha_pattern")?,
            dropout: number(config, "lora_dropout", 0.0)?,
        })
    }

    /// The factor of a module with this rank.
    pub(super) fn scale(&self, module: &str, rank: usize) -> Result<f64, String> {
        let alpha = self.alphas.of(module).unwrap_or(self.alpha);
        let expected = self.ranks.of(module).unwrap_or(self.rank as f64);
        if expected != rank as f64 {
            return Err(format!("`{module}` has the rank {rank}, but the configuration says {expected}"));
        }
        let rank = rank as f64;
        Ok(if self.is_rank_stabilized { alpha / rank.sqrt() } else { alpha / rank })
    }
}

/// Values for the modules whose paths, or ends of them, match a regular expression. The first that matches counts.
struct Patterns(Vec<(regex::Regex, f64)>);

impl Patterns {
    fn read(config: &Map<String, Value>, key: &str) -> Result<Self, String> {
        let Some(value) = get(config, key) else { return Ok(Self(Vec::new())) };
        let entries = value.as_object().ok_or_else(|| format!("`{key}` must be an object"))?;
        let entry = |(pattern, value): (&String, &Value)| {
            let number = value.as_f64().filter(|number| number.is_finite());
            let number = number.ok_or_else(|| format!("`{key}` must give numbers"))?;
            let regex = RegexBuilder::new(&format!(r"^(?:.*\.)?(?:{pattern})$")).size_limit(MAX_PATTERN).build();
            let regex =
                regex.map_err(|_| format!("`{key}` has `{}`, which is not a valid pattern", shorten(pattern)))?;
            Ok((regex, number))
        };
        entries.iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    fn of(&self, module: &str) -> Option<f64> {
        self.0.iter().find(|(pattern, _)| pattern.is_match(module)).map(|(_, value)| *value)
    }
}
