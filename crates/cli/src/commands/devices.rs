//! `devices`: the devices to compute on.

use clap::Args;
use serde_json::json;

use crate::device::{Backend, Choice, Found, list, open};
use crate::error::CliResult;
use crate::output::{self, Align, Table};

/// List the devices of this build, and the one that `--device auto` selects.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> CliResult {
        let devices = list();
        let auto = open(Choice::Auto)?.name();
        let missing = || Backend::ALL.into_iter().filter(|backend| !backend.is_compiled()).map(Backend::name);
        if self.json {
            let devices: Vec<_> = devices
                .iter()
                .map(|found| {
                    json!({"name": found.name(), "backend": found.backend.name(), "hardware": found.hardware,
                           "gpu": found.is_gpu, "auto": found.name() == auto})
                })
                .collect();
            return output::json(&json!({"devices": devices, "not_compiled": missing().collect::<Vec<_>>()}));
        }
        let mut table = Table::new(&[("device", Align::Left), ("hardware", Align::Left), ("auto", Align::Left)]);
        for found in &devices {
            let mark = if found.name() == auto { "picked" } else { "" };
            table.row(vec![found.name(), hardware(found), mark.into()]);
        }
        output::line(table)?;
        let missing: Vec<&str> = missing().collect();
        if !missing.is_empty() {
            output::line(format_args!(
                "\nnot compiled in: {} (cargo features of these names add them)",
                missing.join(", ")
            ))?;
        }
        Ok(())
    }
}

fn hardware(found: &Found) -> String {
    match &found.hardware {
        Some(hardware) if found.is_gpu => hardware.clone(),
        Some(hardware) => format!("{hardware} (not a graphics card)"),
        None if found.backend.is_cpu() => "the processor".into(),
        None => "unknown".into(),
    }
}
