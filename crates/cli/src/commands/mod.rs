//! The commands, one file each.

mod answers;
mod chat;
mod chat_data;
mod chosen_head;
mod config;
mod continuing;
mod data;
mod devices;
mod evaluate;
mod export;
mod feed;
mod generate;
mod generated;
mod given;
mod inspect;
mod inspect_data;
mod job;
mod lengths;
mod masks;
mod merge;
mod merge_check;
mod merge_into;
mod methods;
mod model;
mod model_heads;
mod modelfile;
mod output_folder;
mod plan;
mod predict;
mod predictions;
mod preference;
mod processes;
mod quickstart;
mod quickstart_chat;
mod report;
mod routes;
mod sampling;
mod score;
#[cfg(feature = "serve")]
mod serve;
mod setup;
mod template;
mod texts;
mod train;
mod train_options;
mod training;

use std::path::Path;

use burn::tensor::Device;
use burn_adapters_transformers::{WeightFormat, is_gguf};
use clap::{Args, Parser, Subcommand, ValueEnum};

use self::model::Model;
use crate::device::{Choice, Found};
use crate::draw;
use crate::error::{CliError, CliResult};
use crate::progress::Style;

/// Train and run adapters for pre-trained Transformer models: a few trained parameters beside a frozen model.
///
/// A model is a folder in Hugging Face's format (config.json, tokenizer.json, model.safetensors). An adapter is a folder in
/// AdapterHub's format, which its Python library reads and writes too.
#[derive(Debug, Parser)]
#[command(name = "burn-adapters", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Start with `burn-adapters quickstart`. It fetches a small model and data and trains an adapter in \
    minutes.\n\nExit codes: 0 success, 1 failure, 2 error in the command, a configuration or a file,\n130 training \
    interrupted (143 by SIGTERM).\nResults go to standard output, everything else to standard error."
)]
pub(crate) struct Cli {
    /// Hide progress. Errors and warnings are still printed.
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
    Generate(Box<generate::Arguments>),
    Chat(Box<chat::Arguments>),
    Score(score::Arguments),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Arguments>),
    Merge(merge::Arguments),
    MergeInto(merge_into::Arguments),
    Export(export::Arguments),
    Inspect(inspect::Arguments),
    Methods(methods::Arguments),
    Config(config::Arguments),
    Devices(devices::Arguments),
}

impl Cli {
    /// Whether the command runs its kernels on threads of its own choice.
    pub(crate) fn is_server(&self) -> bool {
        #[cfg(feature = "serve")]
        return matches!(self.command, Command::Serve(_));
        #[cfg(not(feature = "serve"))]
        false
    }

    /// Runs the requested command.
    pub(crate) fn run(self) -> CliResult {
        let style = Style::detect(self.quiet);
        match self.command {
            Command::Quickstart(arguments) => arguments.run(style),
            Command::Train(arguments) => arguments.run(style),
            Command::Evaluate(arguments) => arguments.run(style),
            Command::Predict(arguments) => arguments.run(style),
            Command::Generate(arguments) => arguments.run(style),
            Command::Chat(arguments) => arguments.run(style),
            Command::Score(arguments) => arguments.run(style),
            #[cfg(feature = "serve")]
            Command::Serve(arguments) => arguments.run(style),
            Command::Merge(arguments) => arguments.run(style),
            Command::MergeInto(arguments) => arguments.run(style),
            Command::Export(arguments) => arguments.run(style),
            Command::Inspect(arguments) => arguments.run(),
            Command::Methods(arguments) => arguments.run(),
            Command::Config(arguments) => arguments.run(),
            Command::Devices(arguments) => arguments.run(),
        }
    }
}

/// The device and the number format.
#[derive(Debug, Clone, Args)]
struct DeviceArguments {
    /// Device: auto, cpu, flex, ndarray, wgpu, vulkan, metal, cuda or rocm, if compiled in; `wgpu:1` selects the second
    /// device of wgpu. `burn-adapters devices` lists all.
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Choice,

    /// Number format of the frozen weights: none (f32), bf16, int8 or int4. Quantized weights take less memory, and results
    /// differ by rounding; adapters stay in f32. AMD CPUs with AVX-512 BF16 multiply bf16 about twice as fast as f32, those with AMX several times. Without
    /// the option, a GGUF file is kept as it is quantized, and any other model is f32. Pass it again when you resume a
    /// training.
    #[arg(long, value_enum, value_name = "FORMAT")]
    quantize: Option<Quantize>,

    /// The same as `--quantize bf16`.
    #[arg(long, conflicts_with = "quantize")]
    bf16: bool,

    /// bf16 for the matrices of the first N layers only. Useful where only the layers above them have adapters
    /// (`leave_out`): the lower ones are then computed forward only, at the rate of bf16.
    #[arg(long, value_name = "N", conflicts_with_all = ["quantize", "bf16"])]
    bf16_below: Option<usize>,

    /// Keep the frozen weights of a GGUF file in the pages of the file (memory-mapped) instead of copies, so that processes
    /// share them. The file must not be changed meanwhile: a process whose file is cut short is killed.
    #[arg(long, conflicts_with_all = ["bf16", "bf16_below"])]
    mmap: bool,
}

/// The values of `--quantize`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Quantize {
    /// f32, also from GGUF files.
    None,
    /// bf16: half the memory of f32.
    Bf16,
    /// 8 bits: a quarter, as GGUF's Q8_0. What a GGUF file has in blocks stays in these.
    Int8,
    /// 4 bits: a sixth, as GGUF's Q4_1. What a GGUF file has in blocks stays in these.
    Int4,
}

impl DeviceArguments {
    fn open(&self, style: Style) -> CliResult<Found> {
        let found = crate::device::open(self.device)?;
        style.say(format_args!("computing on {found}"));
        Ok(found)
    }

    fn load(&self, dir: &Path, device: &Device, style: Style) -> CliResult<Model> {
        let format = match self.quantize() {
            Some(Quantize::None) => WeightFormat::F32,
            Some(Quantize::Bf16) => WeightFormat::Bf16,
            Some(Quantize::Int8) => WeightFormat::Int8,
            Some(Quantize::Int4) => WeightFormat::Int4,
            // Blocks are not converted to bf16.
            None if is_gguf(dir) && self.bf16_below.is_none() => WeightFormat::AsStored,
            None => WeightFormat::F32,
        };
        if self.mmap && !is_gguf(dir) {
            let message = format!("--mmap takes a model in a GGUF file, and {} is none", dir.display());
            return Err(CliError::mistake(message).with_help("leave --mmap out"));
        }
        let (model, formats) = Model::load(dir, format, self.mmap, device, style)?;
        if let Some(layers) = self.bf16_below {
            let model = model.in_bf16_below(layers)?;
            style.say(format_args!("the weights of the first {layers} layers are bf16"));
            return Ok(model);
        }
        if format == WeightFormat::Bf16 {
            style.say(format_args!("the weights of its linear layers are bf16"));
        } else if formats.dequantized || !formats.not_quantized.is_empty() {
            // Less memory was asked for, or expected of the file, than is saved.
            draw::warning(&formats.to_string());
        } else if formats.is_quantized() {
            style.say(format_args!("frozen weights: {formats}"));
        }
        Ok(model)
    }

    /// The requested format of frozen weights.
    fn quantize(&self) -> Option<Quantize> {
        if self.bf16 { Some(Quantize::Bf16) } else { self.quantize }
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
