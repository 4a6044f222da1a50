//! `merge-into`: merges adapters into the weights of a model and writes a model folder.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use burn_adapters_checkpoint::{FolderSave, HeadFolder, SaveError, load_adapter};
use burn_adapters_core::ModelSpec;
use burn_adapters_model::{AdapterBank, BankError, MergedModel};
use burn_adapters_tensors::FloatType;
use burn_adapters_transformers::{AutoModel, GgufFormat, LoadError, ModelSaveReport, is_gguf};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::merge_check::{Checked, Probe};
use super::model::{bank_error, checkpoint_error, model_config_error, read_spec, report_loaded};
use super::modelfile::modelfile;
use super::output_folder::{Existing, Input, OutputFile, OutputFolder, save_error};
use super::setup::named;
use crate::draw;
use crate::error::{CliError, CliResult, chain};
use crate::output::{self, bytes, shown, thousands};
use crate::progress::Style;

const HELP: &str = "\
LoRA, DoRA, VeRA, MTL-LoRA and (IA)³ can be merged. Bottlenecks, prefixes, prompts, ReFT and gates cannot, because they \
are not changes of weights. Several adapters are merged one after the other, as `Stack` runs them.

The output is a model folder in Hugging Face's format, with the input's configuration, tokenizer and weight names, or a GGUF \
file for llama.cpp (Llama, Qwen2 and Qwen3), with a `Modelfile` for Ollama beside it. Before it is put in place, it is read \
back, and its outputs are compared with those of the model with its adapter. A prediction head is not part of a base model, so \
each adapter's head is saved to `heads/NAME` of the output folder.

Examples:
  burn-adapters merge-into --model all-MiniLM-L6-v2 --adapter reviews --output merged
  burn-adapters merge-into --model all-MiniLM-L6-v2 --adapter german --adapter reviews \\
    --output merged --overwrite
  burn-adapters merge-into --model SmolLM2.gguf --adapter tuned --output tuned.gguf --format q8_0";

/// The files of a model folder that are copied: the files of its tokenizer, the chat template, and what ends a text.
const COPIED: [&str; 17] = [
    "generation_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
];

/// Where the weights are written.
const WEIGHTS: &str = "model.safetensors";
const HEADS: &str = "heads";
const POOLING: &str = "1_Pooling/config.json";

/// Merge adapters into the weights of a model and write the result as a new model folder.
///
/// The result needs no adapter code. Any program that reads Hugging Face folders runs it, as fast as the base model.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Model folder or GGUF file.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    model: PathBuf,

    /// Adapter folder. Repeat the option for several adapters.
    #[arg(long, value_name = "[NAME=]DIR", required = true)]
    adapter: Vec<String>,

    /// Output folder for the merged model, or a GGUF file if the path ends with `.gguf`.
    #[arg(long, value_name = "DIR|FILE.gguf")]
    output: PathBuf,

    /// Number format of the weights. `q8_0` (8 bits with a factor for 32 weights) is for GGUF files.
    #[arg(long, value_enum, default_value_t = Format::F32)]
    format: Format,

    /// Replace the model or the results in the output folder.
    #[arg(long)]
    overwrite: bool,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self, style: Style) -> CliResult {
        let to_gguf = is_gguf(&self.output);
        self.check_formats(to_gguf)?;
        let existing = if self.overwrite { Existing::Replace } else { Existing::Refuse };
        let adapters = self.adapter.iter().map(|text| Input { option: "--adapter", path: named(text).1 });
        let inputs: Vec<_> = adapters.chain([Input { option: "--model", path: &self.model }]).collect();
        let output = match to_gguf {
            true => Output::File(OutputFile::open("--output", &self.output, existing, &inputs)?),
            false => Output::Folder(OutputFolder::open("--output", &self.output, existing, &inputs)?),
        };
        let mut bank = AdapterBank::new(read_spec(&self.model)?, &Device::default());
        let mut names = Vec::new();
        for text in &self.adapter {
            let (name, dir) = named(text);
            let report = load_adapter(dir, &mut bank, name).map_err(|error| checkpoint_error(&error))?;
            report_loaded(&report, style);
            names.push((report.name, dir));
        }
        let device = Device::default();
        let (mut base, report) =
            AutoModel::from_dir(&self.model, &device).map_err(|error| load_error(&self.model, &error))?;
        style.say(format_args!("loaded {} parameters", thousands(report.parameters)));
        let probe = Probe::new(&base, &bank, names.iter().map(|(name, _)| name.as_str()))?;
        for (name, _) in &names {
            let adapter = bank.adapter(name).map_err(|error| bank_error(&error))?;
            let merged = MergedModel::merge(base, adapter).map_err(|failure| merge_error(&failure.error))?;
            base = AutoModel::clone(&merged);
        }
        let done = match output {
            Output::File(file) => self.write_file(&base, &names, &probe, file)?,
            Output::Folder(folder) => self.write_folder(&base, &names, bank.spec(), &probe, &folder)?,
        };
        self.report(&names, &done)
    }

    /// Where Ollama's description of a GGUF file is put.
    fn modelfile(&self) -> PathBuf {
        self.output.with_extension("Modelfile")
    }

    fn check_formats(&self, to_gguf: bool) -> CliResult {
        let modelfile = self.modelfile();
        if to_gguf && !self.overwrite && modelfile.exists() {
            let message = format!("{} already exists", modelfile.display());
            return Err(CliError::mistake(message).with_help("--overwrite replaces it"));
        }
        if is_gguf(&self.model) && !to_gguf {
            let message = format!("--model {} is a GGUF file, and --output is a folder", self.model.display());
            return Err(CliError::mistake(message)
                .with_help("write a GGUF file (--output FILE.gguf), or give the model as a Hugging Face folder"));
        }
        if self.format == Format::Q8_0 && !to_gguf {
            return Err(CliError::mistake("--format q8_0 is one of GGUF files, and --output is a folder")
                .with_help("write a GGUF file (--output FILE.gguf), or choose f32 or bf16"));
        }
        Ok(())
    }

    fn write_folder(
        &self,
        base: &AutoModel,
        names: &[(String, &Path)],
        spec: &ModelSpec,
        probe: &Probe,
        output: &OutputFolder,
    ) -> CliResult<Done> {
        let mut save = output.save()?;
        remove_model(&mut save);
        let mut saved = None;
        save.write_with(WEIGHTS, |path| -> Result<(), CliError> {
            let report = base.save_as(&self.model, path, self.format.float_type());
            saved = Some(report.map_err(|error| CliError::failure(chain(&error)))?);
            Ok(())
        })?;
        let saved = saved.unwrap_or_default();
        self.copy_files(&mut save)?;
        let heads = copy_heads(names, spec, &mut save)?;
        let check = probe.check(save.staged(), self.format)?;
        save.commit().map_err(|error| save_error(&error))?;
        if saved.converted > 0 && self.format == Format::F32 {
            draw::warning(&format!(
                "{} tensors of the model are not f32; the merged model is f32 throughout (--format bf16 writes bf16)",
                saved.converted
            ));
        }
        Ok(Done { saved, heads, check })
    }

    fn write_file(
        &self,
        base: &AutoModel,
        names: &[(String, &Path)],
        probe: &Probe,
        output: OutputFile,
    ) -> CliResult<Done> {
        let saved = base
            .save_gguf(&self.model, output.staged(), self.format.gguf())
            .map_err(|error| CliError::failure(chain(&error)))?;
        let check = probe.check(output.staged(), self.format)?;
        output.commit()?;
        let name = self.output.file_name().unwrap_or_default().to_string_lossy();
        let text = modelfile(&format!("./{name}"), None, &self.output);
        burn_adapters_files::save_file(self.modelfile(), text.as_bytes()).map_err(|error| save_error(&error))?;
        if !saved.left_out.is_empty() {
            let left_out = shown(saved.left_out.join(", "));
            draw::warning(&format!("a GGUF file has no place for some weights, which are not written: {left_out}"));
        }
        let with_heads = names.iter().filter(|(_, dir)| HeadFolder::exists(dir));
        for (name, _) in with_heads {
            draw::warning(&format!("the prediction head of {} is not written: GGUF files have none", shown(name)));
        }
        Ok(Done { saved, heads: Vec::new(), check })
    }

    fn report(&self, names: &[(String, &Path)], done: &Done) -> CliResult {
        let Done { saved, heads, check } = done;
        if self.json {
            let adapters: Vec<Value> = names.iter().map(|(name, dir)| json!({"name": name, "folder": dir})).collect();
            return output::json(&json!({
                "output": self.output, "model": self.model, "adapters": adapters, "tensors": saved.tensors,
                "changed": (!is_gguf(&self.output)).then_some(saved.changed), "parameters": saved.parameters, "bytes": saved.bytes, "heads": heads,
                "check": { "largest_difference": check.difference, "effect": check.effect },
            }));
        }
        let tensors = match is_gguf(&self.output) {
            true => format!("{} tensors", saved.tensors),
            false => format!("{} of {} tensors changed", saved.changed, saved.tensors),
        };
        output::line(format_args!(
            "merged {} into {}: {tensors}, {} parameters, {}",
            shown(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")),
            shown(super::model::folder_name(&self.model)),
            thousands(saved.parameters),
            bytes(saved.bytes)
        ))?;
        output::line(format_args!(
            "checked: its outputs differ by at most {:.1e} from those with the adapter, which changes them by {:.1e}",
            check.difference, check.effect
        ))?;
        for head in heads {
            output::line(format_args!(
                "its prediction head is not part of the model: saved to {}",
                shown(self.output.join(head).display())
            ))?;
        }
        output::line(format_args!("saved to {}", shown(self.output.display())))
    }

    fn copy_files(&self, save: &mut FolderSave) -> CliResult {
        for name in COPIED.into_iter().chain([POOLING]) {
            let from = self.model.join(name);
            if from.is_file() {
                save.write_with(name, |to| -> Result<(), CliError> {
                    fs::copy(&from, to).map(drop).map_err(|error| CliError::io("copy", &from, &error))
                })?;
            }
        }
        let from = self.model.join("config.json");
        let text = burn_adapters_files::read_text(&from, burn_adapters_files::MAX_CONFIG)
            .map_err(|error| CliError::mistake(error.to_string()))?;
        save.write("config.json", with_type(&text, self.format).as_bytes()).map_err(|error| save_error(&error))
    }
}

/// The number format of the merged weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    F32,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
}

impl Format {
    fn float_type(self) -> FloatType {
        if self == Self::F32 { FloatType::F32 } else { FloatType::Bf16 }
    }

    fn gguf(self) -> GgufFormat {
        match self {
            Self::F32 => GgufFormat::F32,
            Self::Bf16 => GgufFormat::Bf16,
            Self::Q8_0 => GgufFormat::Q8_0,
        }
    }
}

/// Where the merged model is written to.
enum Output {
    File(OutputFile),
    Folder(OutputFolder),
}

/// What was written.
struct Done {
    saved: ModelSaveReport,
    heads: Vec<PathBuf>,
    check: Checked,
}

impl From<SaveError> for CliError {
    fn from(error: SaveError) -> Self {
        save_error(&error)
    }
}

/// Removes the model that the folder holds from a save: an old shard, tokenizer or head must not be taken for a new
/// one.
fn remove_model(save: &mut FolderSave) {
    let entries = fs::read_dir(save.dir()).into_iter().flatten().flatten();
    let weights = entries.map(|entry| entry.file_name()).filter(|name| {
        let name = name.to_string_lossy();
        ["model", "pytorch_model"].iter().any(|stem| name.starts_with(stem))
            && [".safetensors", ".bin", ".index.json"].iter().any(|end| name.ends_with(end))
    });
    for name in weights.collect::<Vec<_>>() {
        save.remove(name);
    }
    for name in COPIED.into_iter().chain(["config.json", POOLING, HEADS]) {
        save.remove(name);
    }
}

/// The configuration, with the type that the weights now have.
fn with_type(config: &str, format: Format) -> String {
    let name = if format == Format::F32 { "float32" } else { "bfloat16" };
    let Ok(Value::Object(mut map)) = serde_json::from_str(config) else { return config.to_owned() };
    let mut changed = false;
    for key in ["torch_dtype", "dtype"] {
        if let Some(value) = map.get_mut(key).filter(|value| value.as_str() != Some(name)) {
            *value = name.into();
            changed = true;
        }
    }
    if changed { format!("{:#}\n", Value::Object(map)) } else { config.to_owned() }
}

/// Copies the adapters' prediction heads and returns their folders.
fn copy_heads(names: &[(String, &Path)], spec: &ModelSpec, save: &mut FolderSave) -> CliResult<Vec<PathBuf>> {
    let mut copied = Vec::new();
    for (name, dir) in names.iter().filter(|(_, dir)| HeadFolder::exists(dir)) {
        let head = match HeadFolder::read_for(dir, spec) {
            Ok(head) => head,
            Err(error) => {
                draw::warning(&format!("the prediction head of {name} is left out: {}", chain(&error)));
                continue;
            }
        };
        // A name may hold what a path must not.
        let plain: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_ ".contains(c) { c } else { '_' }).collect();
        let path = Path::new(HEADS).join(plain);
        head.stage_in(save, &path).map_err(|error| checkpoint_error(&error))?;
        copied.push(path);
    }
    Ok(copied)
}

fn load_error(dir: &Path, error: &LoadError) -> CliError {
    match error {
        LoadError::Config(error) => model_config_error(dir, error),
        error => CliError::mistake(chain(error)),
    }
}

fn merge_error(error: &BankError) -> CliError {
    match error {
        BankError::NotMergeable { .. } => bank_error(error).with_help(
            "LoRA, DoRA, VeRA, MTL-LoRA and (IA)³ can be merged into weights; use other adapters beside the model",
        ),
        error => bank_error(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_the_weights_is_that_of_the_file() {
        assert!(with_type(r#"{"torch_dtype": "float16"}"#, Format::F32).contains("float32"));
        assert_eq!(with_type(r#"{ "torch_dtype":"float32" }"#, Format::F32), r#"{ "torch_dtype":"float32" }"#);
    }
}
