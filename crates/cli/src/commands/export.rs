//! `export`: writes an adapter in the format of another program.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{
    AdapterFormat, ExportOptions, FolderSave, HeadFolder, SaveOptions, SaveReport, load_adapter, load_head, model_card,
    save_gguf_adapter, stage_adapter, stage_head, stage_mlx, stage_peft,
};
use burn_adapters_model::AdapterBank;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::model::{checkpoint_error, folder_name, read_spec};
use super::modelfile::modelfile;
use super::output_folder::{Existing, Input, OutputFolder, save_error};
use super::setup::{folder_error, named};
use crate::error::{CliError, CliResult};
use crate::output::{self, bytes, shown, thousands};
use crate::progress::Style;

const HELP: &str = "\
The adapter may be a folder of AdapterHub, PEFT or mlx-lm, or a GGUF file of llama.cpp; its format is recognized. What another \
program does not have is refused, so what is written computes the same there:

  adapterhub  every method
  peft        LoRA, DoRA, VeRA, (IA)³, prompt tuning; heads with the layers of Hugging Face's classes
  gguf        LoRA on Llama, Mistral, Qwen2, Qwen3, GPT-2 and BERT, for llama.cpp and Ollama, with a Modelfile
  mlx         LoRA on decoders, for mlx-lm

Only the configuration of the model is read.

Examples:
  burn-adapters export --model SmolLM2-135M --adapter tuned --to peft --output tuned-peft
  burn-adapters export --model SmolLM2.gguf --adapter tuned --to gguf --output tuned-gguf
  burn-adapters export --model bert --adapter peft-folder --to adapterhub --output reviews";

/// The file of a GGUF adapter in its folder.
const GGUF: &str = "adapter.gguf";

/// The format to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A folder of AdapterHub's library.
    Adapterhub,
    /// A folder of PEFT.
    Peft,
    /// LoRA in a GGUF file, for llama.cpp and Ollama.
    Gguf,
    /// A folder of mlx-lm.
    Mlx,
}

/// Write an adapter in the format of PEFT, llama.cpp, mlx-lm or AdapterHub.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Model folder or GGUF file.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: PathBuf,

    /// Adapter folder or GGUF file.
    #[arg(long, value_name = "[NAME=]DIR|FILE.gguf")]
    adapter: String,

    /// Format to write.
    #[arg(long, value_name = "FORMAT")]
    to: Format,

    /// Output folder.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Name of the base model, where the reader finds it: a name at Hugging Face, or a path. Default: the name of --model.
    #[arg(long, value_name = "NAME")]
    base_model: Option<String>,

    /// Leave out the prediction head.
    #[arg(long)]
    without_head: bool,

    /// Replace the results in the output folder.
    #[arg(long)]
    overwrite: bool,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let (name, path) = named(&self.adapter);
        let existing = if self.overwrite { Existing::Replace } else { Existing::Refuse };
        let inputs = [Input { option: "--adapter", path }, Input { option: "--model", path: &self.model }];
        let output = OutputFolder::open("--output", &self.output, existing, &inputs)?;
        let mut bank = AdapterBank::new(read_spec(&self.model)?, &Device::default());
        let report = load_adapter(path, &mut bank, name).map_err(|error| folder_error(&error))?;
        super::model::report_loaded(&report, style);
        let name = report.name;
        let head = self.load_head(path, &name, &mut bank)?;
        let base_model = self.base_model.clone().unwrap_or_else(|| folder_name(&self.model));
        let mut save = output.save()?;
        let from = AdapterFormat::of(path);
        let reports = self.stage(&mut save, &bank, &name, head.then_some(name.as_str()), base_model)?;
        save.commit().map_err(|error| save_error(&error))?;
        let card = self.output.join("README.md");
        let card = (self.to != Format::Peft).then_some(&card);
        let files: Vec<&PathBuf> = reports.iter().flat_map(|report| &report.files).chain(card).collect();
        let parameters: usize = reports.iter().map(|report| report.parameters).sum();
        let size: u64 = reports.iter().map(|report| report.bytes).sum();
        for report in &reports {
            super::model::warn_notes(&name, &report.notes);
        }
        if self.json {
            return output::json(&json!({
                "output": self.output, "adapter": name, "from": described(from), "to": self.to.described(),
                "head": head, "parameters": parameters, "bytes": size, "files": files,
            }));
        }
        output::line(format_args!(
            "wrote {} for {}: {} parameters, {}",
            shown(&name),
            self.to.described(),
            thousands(parameters),
            bytes(size)
        ))?;
        output::line(format_args!("saved to {}", shown(self.output.display())))
    }

    /// Loads the head beside the adapter, if it is to be written; whether there is one.
    fn load_head(&self, path: &Path, name: &str, bank: &mut AdapterBank) -> CliResult<bool> {
        if self.without_head || !HeadFolder::exists(path) {
            return Ok(false);
        }
        load_head(path, bank, Some(name))
            .map_err(|error| checkpoint_error(&error).with_help("--without-head exports the adapter alone"))?;
        if matches!(self.to, Format::Gguf | Format::Mlx) {
            let message = format!("{} has no prediction heads, but `{name}` has one", self.to.described());
            return Err(CliError::mistake(message).with_help("--without-head exports the adapter alone"));
        }
        Ok(true)
    }

    fn stage(
        &self,
        save: &mut FolderSave,
        bank: &AdapterBank,
        name: &str,
        head: Option<&str>,
        base_model: String,
    ) -> CliResult<Vec<SaveReport>> {
        let failed = |error| checkpoint_error(&error);
        if self.to != Format::Peft {
            // PEFT's has the method and the task, too.
            let card = model_card(self.to.format(), bank.spec(), &base_model, name);
            save.write("README.md", card.as_bytes()).map_err(|error| save_error(&error))?;
        }
        Ok(match self.to {
            Format::Adapterhub => {
                let options = SaveOptions::new(base_model);
                let adapter = stage_adapter(save, bank, name, &options).map_err(failed)?;
                let head = head.map(|head| stage_head(save, bank, head, &options)).transpose().map_err(failed)?;
                [adapter].into_iter().chain(head).collect()
            }
            Format::Peft => {
                let options = ExportOptions { base_model, head: head.map(str::to_owned) };
                vec![stage_peft(save, bank, name, &options).map_err(failed)?]
            }
            Format::Mlx => vec![stage_mlx(save, bank, name).map_err(failed)?],
            Format::Gguf => {
                let mut report = None;
                save.write_with(GGUF, |path| -> Result<(), CliError> {
                    report = Some(save_gguf_adapter(path, bank, name).map_err(failed)?);
                    Ok(())
                })?;
                let model = std::path::absolute(&self.model).unwrap_or_else(|_| self.model.clone());
                let adapter = format!("./{GGUF}");
                let modelfile = modelfile(&model.display().to_string(), Some(&adapter), &self.model);
                save.write("Modelfile", modelfile.as_bytes()).map_err(|error| save_error(&error))?;
                let files = [GGUF, "Modelfile"].map(|file| self.output.join(file)).into();
                report.map(|report| vec![SaveReport { files, ..report }]).unwrap_or_default()
            }
        })
    }
}

impl Format {
    /// The program that reads it.
    fn described(self) -> &'static str {
        described(self.format())
    }

    fn format(self) -> AdapterFormat {
        match self {
            Self::Adapterhub => AdapterFormat::AdapterHub,
            Self::Peft => AdapterFormat::Peft,
            Self::Gguf => AdapterFormat::Gguf,
            Self::Mlx => AdapterFormat::Mlx,
        }
    }
}

fn described(format: AdapterFormat) -> &'static str {
    match format {
        AdapterFormat::Peft => "PEFT",
        AdapterFormat::Gguf => "llama.cpp",
        AdapterFormat::Mlx => "mlx-lm",
        _ => "AdapterHub",
    }
}
