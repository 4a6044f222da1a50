//! `methods`: lists the methods.

use burn_adapters_config::AdapterConfig;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::error::CliResult;
use crate::output::{self, Align, Table};

/// List the adapter methods, with their defaults.
#[derive(Debug, Args)]
#[command(after_help = "Change defaults in brackets; join methods with a bar:\n  \
    seq_bn[reduction_factor=8]\n  lora[r=16,alpha=32]\n  prefix_tuning|par_bn\n`burn-adapters config CONFIG` explains \
    a configuration.")]
pub(super) struct Arguments {
    /// Print JSON: one object per method, with all defaults.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> CliResult {
        let methods = burn_adapters_config::identifiers();
        if self.json {
            let methods: Vec<Value> = methods
                .iter()
                .map(|method| {
                    json!({"name": method.name, "aliases": method.aliases, "summary": method.summary,
                           "kind": method.kind.name(), "paper": method.paper, "config": method.config().to_json_value()})
                })
                .collect();
            return output::json(&methods);
        }
        let mut table = Table::new(&[
            ("method", Align::Left),
            ("also", Align::Left),
            ("what it is", Align::Left),
            ("defaults", Align::Left),
        ]);
        for method in methods {
            let defaults = defaults(&method.config());
            table.row(vec![method.name.into(), method.aliases.join(", "), method.summary.into(), defaults]);
        }
        output::line(table)
    }
}

/// The keys that are most often changed; a method may lack some.
const SHOWN: [&str; 11] = [
    "reduction_factor",
    "non_linearity",
    "phm_dim",
    "r",
    "alpha",
    "attn_matrices",
    "prefix_length",
    "bottleneck_size",
    "prompt_length",
    "layers",
    "use_gating",
];

fn defaults(config: &AdapterConfig) -> String {
    let value = config.to_json_value();
    let members: Vec<&Map<String, Value>> = match value.get("configs").and_then(Value::as_array) {
        Some(members) => members.iter().filter_map(Value::as_object).collect(),
        None => value.as_object().into_iter().collect(),
    };
    let member = |object: &Map<String, Value>| {
        let shown = SHOWN.iter().filter_map(|key| Some((*key, object.get(*key)?)));
        let telling = shown.filter(|(key, value)| match *key {
            "use_gating" => **value == Value::Bool(true),
            "phm_dim" => object.get("phm_layer") == Some(&Value::Bool(true)),
            _ => !value.is_null(),
        });
        telling.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    members.into_iter().map(member).collect::<Vec<_>>().join(" | ")
}
