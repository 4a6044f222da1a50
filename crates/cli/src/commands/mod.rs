//! The commands: a file each, with its arguments and what it does.

mod answers;
mod config;
mod data;
mod devices;
mod evaluate;
mod feed;
mod given;
mod inspect;
mod job;
mod merge;
mod merge_into;
mod methods;
mod model;
mod output_folder;
mod plan;
mod predict;
mod predictions;
mod quickstart;
mod ready;
mod report;
mod routes;
mod setup;
mod train;
mod train_options;

use std::path::Path;

use burn::tensor::Device;
use burn_adapters_transformers::WeightFormat;
use clap::{Args, Parser, Subcommand};

use self::model::Model;
use crate::device::{Choice, Found};
use crate::error::CliResult;
use crate::progress::Style;

/// Adapters for pre-trained Transformer models: train a few parameters beside a frozen model, and use them.
///
/// A model is a folder as Hugging Face stores it (config.json, tokenizer.json, model.safetensors). An adapter is a
/// folder as AdapterHub stores it, and goes to and from its Python library unchanged.
#[derive(Debug, Parser)]
#[command(name = "burn-adapters", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start with `burn-adapters quickstart`: it fetches a small model and data, and trains on them in \
    minutes.\n\nExit codes: 0 done, 1 something failed, 2 the command, a configuration or a file is wrong,\n130 a training \
    was interrupted (143 by SIGTERM).\nResults go \
    to standard output, everything else to standard error."
)]
pub(crate) struct Cli {
    /// No progress on standard error. Errors stay, and so do warnings, such as what was changed in an adapter to load it.
    #[arg(long, short, global = true)]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::Arguments),
    Train(Box<train::Arguments>),
    Evaluate(evaluate::Arguments),
    Predict(predict::Arguments),
    Merge(merge::Arguments),
    MergeInto(merge_into::Arguments),
    Inspect(inspect::Arguments),
    Methods(methods::Arguments),
    Config(config::Arguments),
    Devices(devices::Arguments),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> CliResult {
        let style = Style::detect(self.quiet);
        match self.command {
            Command::Quickstart(arguments) => arguments.run(style),
            Command::Train(arguments) => arguments.run(style),
            Command::Evaluate(arguments) => arguments.run(style),
            Command::Predict(arguments) => arguments.run(style),
            Command::Merge(arguments) => arguments.run(style),
            Command::MergeInto(arguments) => arguments.run(style),
            Command::Inspect(arguments) => arguments.run(),
            Command::Methods(arguments) => arguments.run(),
            Command::Config(arguments) => arguments.run(),
            Command::Devices(arguments) => arguments.run(),
        }
    }
}

/// Where to compute, and in which numbers.
#[derive(Debug, Clone, Args)]
struct DeviceArguments {
    /// Where to compute: auto, cpu, flex, ndarray, or wgpu, vulkan, metal, cuda or rocm (with `:N` the one of this
    /// number), as far as they are compiled in; `burn-adapters devices` lists them.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Choice,

    /// Keep the frozen weights of linear layers in bf16: half the memory for them, and products at twice the rate
    /// where the processor has AVX-512 BF16. Results change by the rounding; adapters stay f32. A training that is
    /// resumed needs it again.
    #[arg(long)]
    bf16: bool,
}

impl DeviceArguments {
    fn open(&self, style: Style) -> CliResult<Found> {
        let found = crate::device::open(self.device)?;
        style.say(format_args!("computing on {found}"));
        Ok(found)
    }

    fn load(&self, dir: &Path, device: &Device, style: Style) -> CliResult<Model> {
        let format = if self.bf16 { WeightFormat::Bf16 } else { WeightFormat::F32 };
        let model = Model::load(dir, format, device, style)?;
        if self.bf16 {
            style.say(format_args!("its linear layers in bf16"));
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
