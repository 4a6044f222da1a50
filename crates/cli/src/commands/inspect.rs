//! `inspect`: the parameters that an adapter adds to a model, site by site, and what is learned of conversations.

use std::fs;
use std::path::{Path, PathBuf};

use burn_adapters_checkpoint::load_adapter;
use burn_adapters_core::ModelSpec;
use burn_adapters_model::{AdapterBank, AddReport};
use clap::Args;
use serde_json::{Map, Value, json};

use super::inspect_data::DataArguments;
use super::model::{bank_error, checkpoint_error, folder_name, read_spec};
use crate::error::{CliError, CliResult};
use crate::output::{self, Align, Table, bytes, shown, thousands};
use crate::{draw, input};

/// Show a model's sites, and what a configuration or an adapter adds at each; or what a model learns of conversations.
///
/// Only the model's config.json is read, no weights.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  burn-adapters inspect --model all-MiniLM-L6-v2\n  burn-adapters inspect --model all-MiniLM-L6-v2 \
    --config 'lora[r=16]'\n  burn-adapters inspect --model all-MiniLM-L6-v2 --adapter my-adapter --json\n  burn-adapters inspect --model SmolLM2-135M-Instruct.gguf --data \
    chats.jsonl"
)]
pub(super) struct Arguments {
    /// Model folder.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,

    /// Configuration such as `lora[r=16]`, or a JSON file that contains one.
    #[arg(long, value_name = "STRING|FILE", conflicts_with = "adapter")]
    config: Option<String>,

    /// Adapter folder.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,

    #[command(flatten)]
    data: DataArguments,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Information about an adapter.
struct Inspected {
    config: String,
    report: AddReport,
    /// Bytes on disk, and whether they were counted or estimated.
    bytes: (u64, bool),
}

impl Arguments {
    pub(super) fn run(self) -> CliResult {
        if let Some(done) = self.data.run(&self.model, self.json) {
            return done;
        }
        let spec = read_spec(&self.model)?;
        let inspected = match (&self.config, &self.adapter) {
            (Some(config), _) => Some(of_config(config, &spec)?),
            (None, Some(dir)) => Some(of_adapter(dir, &spec)?),
            (None, None) => None,
        };
        if let Some(inspected) = &inspected {
            inspected.report.notes.iter().for_each(|note| draw::warning(note));
        }
        if self.json { self.print_json(&spec, inspected.as_ref()) } else { self.print(&spec, inspected.as_ref()) }
    }

    fn print(&self, spec: &ModelSpec, inspected: Option<&Inspected>) -> CliResult {
        output::line(format_args!(
            "{}: {}, {} layers, hidden size {}, {} parameters",
            shown(folder_name(&self.model)),
            shown(&spec.model_type),
            spec.layers(),
            spec.hidden_size,
            thousands(spec.parameters)
        ))?;
        let Some(inspected) = inspected else { return print_sites(spec) };
        let report = &inspected.report;
        output::line(format_args!("{}\n", shown(&inspected.config)))?;
        let mut table = Table::new(&[("site", Align::Left), ("method", Align::Left), ("parameters", Align::Right)]);
        for entry in &report.entries {
            table.row(vec![entry.place(), entry.method.into(), thousands(entry.parameters)]);
        }
        table.row(vec!["in all".into(), String::new(), thousands(report.parameters())]);
        output::line(table)?;
        let (size, counted) = inspected.bytes;
        let percent = report.percent().map(|percent| format!(" ({percent:.3} % of the model's)")).unwrap_or_default();
        output::line(format_args!(
            "\n{} parameters are trained{percent}, heads not counted",
            thousands(report.parameters())
        ))?;
        output::line(format_args!("{}{} on disk", if counted { "" } else { "about " }, bytes(size)))
    }

    fn print_json(&self, spec: &ModelSpec, inspected: Option<&Inspected>) -> CliResult {
        let mut object = Map::new();
        object.insert("model".into(), json!({
            "path": self.model, "model_type": spec.model_type, "layers": spec.layers(), "hidden_size": spec.hidden_size,
        }));
        object.insert("base".into(), spec.parameters.into());
        match inspected {
            None => {
                let matrices = spec.matrices().map(|(site, size)| json!({"site": site.to_string(), "matrix": size}));
                let sublayers =
                    spec.sublayers().map(|(site, width)| json!({"site": site.to_string(), "sublayer": width}));
                object.insert("sites".into(), Value::Array(matrices.chain(sublayers).collect()));
            }
            Some(Inspected { config, report, bytes: (size, counted) }) => {
                let entry = |entry: &burn_adapters_model::ReportEntry| json!({"site": entry.site.map(|site| site.to_string()), "part": entry.part, "method": entry.method, "parameters": entry.parameters});
                object.insert("config".into(), config.clone().into());
                object.insert("trainable".into(), report.parameters().into());
                object.insert("percent".into(), report.percent().into());
                object.insert("sites".into(), Value::Array(report.entries.iter().map(entry).collect()));
                object.insert("bytes".into(), (*size).into());
                object.insert("bytes_are_estimated".into(), (!counted).into());
                object.insert("notes".into(), json!(report.notes));
            }
        }
        output::json(&object)
    }
}

fn print_sites(spec: &ModelSpec) -> CliResult {
    let mut table = Table::new(&[("site", Align::Left), ("what is there", Align::Left), ("size", Align::Right)]);
    for (site, [d_input, d_output]) in spec.matrices() {
        table.row(vec![site.to_string(), "matrix".into(), format!("{d_input} x {d_output}")]);
    }
    for (site, width) in spec.sublayers() {
        table.row(vec![site.to_string(), "end of a sublayer".into(), width.to_string()]);
    }
    output::line(format_args!("\n{table}"))?;
    output::line("\nWith --config or --adapter: what it adds at each.")
}

fn of_config(config: &str, spec: &ModelSpec) -> CliResult<Inspected> {
    let config = input::adapter_config(config)?;
    let text = config.to_string();
    let report = plan("inspected", config, spec)?;
    // Each parameter is an f32; the header of the file names each tensor.
    let size = 4 * report.parameters() as u64 + 150 * 4 * report.entries.len() as u64;
    Ok(Inspected { config: text, report, bytes: (size, false) })
}

fn of_adapter(dir: &Path, spec: &ModelSpec) -> CliResult<Inspected> {
    let mut bank = AdapterBank::new(spec.clone(), &plain_device());
    let loaded = load_adapter(dir, &mut bank, None).map_err(|error| checkpoint_error(&error))?;
    let adapter = bank.adapter(&loaded.name).map_err(|error| bank_error(&error))?;
    let (name, config) = (loaded.name.clone(), adapter.config().clone());
    let mut size = 0;
    for path in &loaded.files {
        size += fs::metadata(path).map_err(|error| CliError::io("read", path, &error))?.len();
    }
    let text = config.to_string();
    let mut report = plan(&name, config, spec)?;
    report.notes = loaded.notes;
    Ok(Inspected { config: text, report, bytes: (size, true) })
}

fn plan(name: &str, config: burn_adapters_config::AdapterConfig, spec: &ModelSpec) -> CliResult<AddReport> {
    let bank = AdapterBank::new(spec.clone(), &plain_device());
    Ok(bank.plan(name, config).map_err(|error| bank_error(&error))?.1)
}

fn plain_device() -> burn::tensor::Device {
    burn::tensor::Device::default()
}
