//! `config`: explains a configuration.

use clap::Args;

use crate::error::CliResult;
use crate::{input, output};

/// Explain a configuration: its shortest form, and every attribute under its name in AdapterHub's library.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  burn-adapters config 'seq_bn[reduction_factor=8]'\n  burn-adapters config 'lora[r=16]|par_bn' \
    --json > adapter.json\n  burn-adapters config adapter.json"
)]
pub(super) struct Arguments {
    /// Configuration such as `lora[r=16]`, or a JSON file that contains one.
    #[arg(value_name = "STRING|FILE")]
    config: String,

    /// Print only JSON, which --config FILE reads.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> CliResult {
        let config = input::adapter_config(&self.config)?;
        if !self.json {
            output::line(output::shown(&config))?;
        }
        output::json(&config.to_json_value())
    }
}
